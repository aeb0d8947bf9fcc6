"""What a workload is given: how much, where, with whom."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from benchmarks.files import empty_directory
from benchmarks.load import Load
from benchmarks.machine import Area
from benchmarks.peers.peer import Peer, Place, find_program, find_versions
from benchmarks.runs import run_interleaved

_Sample = TypeVar("_Sample")
_Peer = TypeVar("_Peer", bound=Peer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How much is measured.

    Attributes:
        runs: rounds that count.
        has_warm_up: whether a round that does not count goes before them.
        size: of a bulk file, octets.
        files: small files of a whole command.
        pipelined_files: small files of one pipelined connection.
        connections: that request at once, in ascending order.
        idle_connections: that do nothing.
        seconds: of each run that is bounded by time.
        numbers: in the file that is summarised.
        durable_files: stored by each durable run.
    """

    runs: int = 5
    has_warm_up: bool = True
    size: int = 1 << 30
    files: int = 50_000
    pipelined_files: int = 30_000
    connections: tuple[int, ...] = (1, 16, 256)
    idle_connections: int = 5_000
    seconds: float = 2.0
    numbers: int = 10_000_000
    durable_files: int = 4_096


QUICK = Amounts(
    runs=1,
    has_warm_up=False,
    size=3 << 20,
    files=40,
    pipelined_files=100,
    connections=(1, 4),
    idle_connections=20,
    seconds=0.05,
    numbers=2_000,
    durable_files=32,
)


@dataclass(slots=True, kw_only=True)
class Bench:
    """What a workload runs with.

    Attributes:
        amounts: how much.
        load: the client.
        areas: where files are; the first is in memory, if there is such a thing.
        scratch: for everything else.
        is_quick: whether it only has to be seen that everything works: no peers that are Debian packages, no variants.
        processors: the servers may run on; None for all.
        left_out: what was missing, and what to install.
        versions: of the peers that took part.
    """

    amounts: Amounts
    load: Load
    areas: Sequence[Area]
    scratch: Path
    is_quick: bool = False
    processors: frozenset[int] | None = None
    left_out: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    _roots: Iterator[int] = field(default_factory=itertools.count)

    def choose(self, *peers: type[_Peer]) -> list[type[_Peer]]:
        """Give those of the peers that are installed; the others are noted as left out."""
        chosen: list[type[_Peer]] = []
        for peer in peers:
            if peer.programs and self.is_quick:
                continue
            missing = peer.list_missing()
            missing += [
                program
                for program in getattr(peer, "tool_programs", ())
                if find_program(program) is None
            ]
            if missing:
                note = f"{peer.name} ({', '.join(missing)} missing: install {peer.package or 'it'})"
                if note not in self.left_out:
                    self.left_out.append(note)
            else:
                chosen.append(peer)
                self.versions.update(find_versions(peer))
        return chosen

    def has_disk(self, area: Area) -> bool:
        """Tell whether the durable variant is worth a row of its own in an area."""
        return area.name != "tmpfs" and not self.is_quick

    def interleave(
        self,
        contestants: Mapping[str, Callable[[], _Sample]],
        *,
        most_runs: int | None = None,
        is_once: bool = False,
    ) -> dict[str, list[_Sample]]:
        """Let contestants take turns, as often as :attr:`amounts` say; ``is_once``: one round for the slow."""
        return run_interleaved(
            contestants,
            1 if is_once else self.count_runs(most_runs),
            warm_up=self.amounts.has_warm_up and not is_once,
        )

    def count_runs(self, most: int | None = None) -> int:
        """Give how many rounds count, but no more than ``most``."""
        return self.amounts.runs if most is None else min(self.amounts.runs, most)

    def empty(self) -> None:
        """Remove what a workload left in the areas."""
        for area in self.areas:
            for left in area.path.iterdir():
                if left.name != "lost+found":
                    shutil.rmtree(left) if left.is_dir() else left.unlink()

    def make_place(self, area: Area) -> Place:
        """Give a peer an empty directory to serve."""
        root = area.path / f"root-{next(self._roots)}"
        empty_directory(root)
        return Place(root, self.scratch, self.processors)
