"""SUMMARY of a file of numbers, against the article's server and against commands that people would type."""

from __future__ import annotations

import contextlib
import math
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.peers.article import ArticlePeer
from benchmarks.peers.ours import FileTransferPeer
from benchmarks.peers.peer import Peer, find_program
from benchmarks.processes import Failed, run_command
from benchmarks.report import Report, Table, format_spread
from benchmarks.runs import ratios, spread_of

NAME = "numbers"
BLOCK = 100_000
MOST_RUNS = 3

_AWK = (
    "NR == 1 { min = max = $1 } { if ($1 > max) max = $1; if ($1 < min) min = $1; sum += $1 } "
    'END { printf "%.6f\\n%.6f\\n%.6f\\n", max, min, sum / NR }'
)
_POLARS = """
import sys
import polars as pl
column = pl.col("column_1")
print(
    pl.scan_csv(sys.argv[1], has_header=False, schema={"column_1": pl.Float64})
    .select(a=column.max(), b=column.min(), c=column.mean())
    .collect(engine="streaming")
)
"""


def measure(bench: Bench) -> Report:
    """Measure in the first area."""
    area = bench.areas[0]
    numbers = area.path / NAME
    expected = _write_numbers(numbers, bench.amounts.numbers)
    runs: dict[str, Callable[[], float]] = {}
    with contextlib.ExitStack() as stack:
        for kind in bench.choose(FileTransferPeer, ArticlePeer):
            peer = stack.enter_context(kind(bench.make_place(area)))
            (peer.root / NAME).hardlink_to(numbers)
            runs[peer.name] = _ask_by(peer, expected)
        if find_program("awk"):
            runs["awk, the command"] = lambda: run_command(["awk", _AWK, numbers])
        else:
            bench.left_out.append("awk (install mawk)")
        try:
            import polars  # noqa: F401
        except ImportError:
            bench.left_out.append("polars (install polars from PyPI)")
        else:
            runs["polars streaming, the command"] = lambda: run_command(
                [sys.executable, "-c", _POLARS, numbers]
            )
        results = bench.interleave(runs, most_runs=MOST_RUNS)
    size = numbers.stat().st_size / 1e6
    ours = results[FileTransferPeer.name]
    rows = [
        [
            name,
            format_spread(spread_of(seconds)),
            format_spread(ratios(seconds, ours)),
        ]
        for name, seconds in results.items()
    ]
    return Report(
        [
            Table(
                f"SUMMARY of {bench.amounts.numbers:,} numbers, one a line, {size:.0f} MB, {area.name}, "
                f"{bench.count_runs(MOST_RUNS)} runs: seconds, median (least–greatest)",
                ["who", "seconds", "of ours"],
                rows,
            )
        ]
    )


def _write_numbers(path: Path, count: int) -> tuple[float, float, float]:
    """Write integers and decimals of 17 digits, mixed, and give the greatest, the least and the mean."""
    source = random.Random(1)
    greatest, least, total = float("-inf"), float("inf"), 0.0
    with path.open("w") as file:
        for start in range(0, count, BLOCK):
            block = [
                float(source.randint(-(10**6), 10**9))
                if source.random() < 0.5
                else source.uniform(-1000, 1000)
                for _ in range(min(BLOCK, count - start))
            ]
            file.write("".join(f"{number:.17g}\n" for number in block))
            greatest, least = max(greatest, *block), min(least, *block)
            total += sum(block)
    return greatest, least, total / count


def _ask_by(peer: Peer, expected: tuple[float, float, float]) -> Callable[[], float]:
    is_bare = isinstance(peer, ArticlePeer)

    def run() -> float:
        wire = peer.open_wire()
        assert hasattr(wire, "ask_summary")
        started = time.perf_counter()
        text: str = wire.ask_summary(NAME, is_bare=is_bare)
        seconds = time.perf_counter() - started
        wire.close()
        found = [float(line.partition(":")[2]) for line in text.splitlines()]
        # Sums differ in their last digits by the order of the additions.
        if not all(math.isclose(a, b) for a, b in zip(found, expected, strict=True)):
            raise Failed(f"{peer.name} says {text!r}, expected {expected}")
        return seconds

    return run
