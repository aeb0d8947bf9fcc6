"""Interleaved runs and what is said of them.

Contestants take turns (A B C A B C ...), after a first round that does not count: what disturbs the machine for a
while disturbs all of them, and a ratio is taken within a round before the median is taken over the rounds.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from benchmarks.processes import Failed

_Sample = TypeVar("_Sample")


@dataclass(frozen=True, slots=True)
class Sample:
    """One run.

    Attributes:
        seconds: it took.
        cpu_seconds: of the server.
    """

    seconds: float
    cpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some values, with the least and the greatest of them."""

    median: float
    least: float
    greatest: float


def spread_of(values: list[float]) -> Spread:
    """Give median, least and greatest."""
    return Spread(median(values), min(values), max(values))


def ratios(ours: list[float], theirs: list[float]) -> Spread:
    """Give the spread of the ratios of the rounds, ours to theirs."""
    return spread_of([a / b for a, b in zip(ours, theirs, strict=False)])


def run_interleaved(
    contestants: Mapping[str, Callable[[], _Sample]], runs: int, *, warm_up: bool = True
) -> dict[str, list[_Sample]]:
    """Let the contestants take turns.

    Args:
        contestants: by name, in the order of a round.
        runs: rounds that count, >= 1.
        warm_up: whether a round goes before them.

    Returns:
        The samples of each, in the order of the rounds.
    """
    samples: dict[str, list[_Sample]] = {name: [] for name in contestants}
    for turn in range(runs + warm_up):
        for name, run in contestants.items():
            _show(f"    {name} {turn + (not warm_up)}/{runs}")
            try:
                sample = run()
            except Failed as failure:
                raise Failed(f"{name}: {failure}") from failure
            if turn >= warm_up:
                samples[name].append(sample)
    _show("")
    return samples


def _show(words: str) -> None:
    """Say on a terminal what runs now."""
    if sys.stderr.isatty():
        print(f"\r{words:60}\r", end="", file=sys.stderr, flush=True)
