"""What everything waits for first: until the daemon accepts, and until the shortest commands have ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.machine import Area
from benchmarks.peers.ours import FileTransferPeer
from benchmarks.peers.peer import Command
from benchmarks.processes import run_command
from benchmarks.report import Report, Table, format_spread
from benchmarks.runs import ratios, spread_of

EMPTY = "an empty Python program"


def measure(bench: Bench) -> Report:
    """Measure in the first area."""
    area = bench.areas[0]
    source = area.path / "small"
    source.write_bytes(b"x")
    with FileTransferPeer(bench.make_place(area)) as peer:
        results = bench.interleave(
            {
                EMPTY: _run_program("pass"),
                "import of Twisted's reactor": _run_program("import twisted.internet.reactor"),
                "ft-client --version": _run(peer.show_version()),
                "ft-client put, one octet": _run(peer.store_one(source, "stored")),
                "twistd filetransfer, until it accepts": _start_by(bench, area),
            }
        )
    rows = [
        [name, format_spread(spread_of(seconds)), format_spread(ratios(seconds, results[EMPTY]))]
        for name, seconds in results.items()
    ]
    title = f"From a start to its end, {bench.count_runs()} runs: seconds, median (least–greatest)"
    return Report([Table(title, ["what", "seconds", "of an empty program"], rows)])


def _run(command: Command) -> Callable[[], float]:
    return lambda: run_command(command.arguments, environment=command.environment)


def _run_program(program: str) -> Callable[[], float]:
    return _run(Command([sys.executable, "-c", program]))


def _start_by(bench: Bench, area: Area) -> Callable[[], float]:
    def start() -> float:
        place = bench.make_place(area)
        started = time.perf_counter()
        with FileTransferPeer(place):
            return time.perf_counter() - started

    return start
