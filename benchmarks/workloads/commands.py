"""One large file by whole commands: from starting the client to its end, both sides writing files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.bench import Bench
from benchmarks.files import check_file, empty_directory, flush, make_file, remove_files
from benchmarks.machine import Area
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.openssh import OpensshPeer
from benchmarks.peers.ours import DurableFileTransferPeer, FileTransferPeer
from benchmarks.peers.peer import Command
from benchmarks.peers.rsync import RsyncPeer
from benchmarks.peers.vsftpd import VsftpdPeer
from benchmarks.processes import run_command
from benchmarks.report import Report, Table, format_spread
from benchmarks.runs import ratios, spread_of

MOST_RUNS = 3


def measure(bench: Bench) -> Report:
    """Measure get and put in every area."""
    return Report([_measure_area(bench, area) for area in bench.areas])


def _measure_area(bench: Bench, area: Area) -> Table:
    local = area.path / "local"
    empty_directory(local)
    source, destination = local / "source", local / "destination"
    digest = make_file(source, bench.amounts.size, bench.load)
    flush(area.path)
    gets: dict[str, Callable[[], float]] = {}
    puts: dict[str, Callable[[], float]] = {}
    tools: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for kind in bench.choose(
            FileTransferPeer,
            VsftpdPeer,
            NginxPeer,
            RsyncPeer,
            OpensshPeer,
            *([DurableFileTransferPeer] if bench.has_disk(area) else []),
        ):
            peer = stack.enter_context(kind(bench.make_place(area)))
            (peer.root / "bulk").hardlink_to(source)
            tools[peer.name] = peer.tool
            gets[peer.name] = _make_run(peer.fetch_one("bulk", destination), destination, digest)
            puts[peer.name] = _make_run(
                peer.store_one(source, "stored"), peer.root / "stored", digest
            )
        got = bench.interleave(gets, most_runs=MOST_RUNS)
        put = bench.interleave(puts, most_runs=MOST_RUNS)
    ours = FileTransferPeer.name
    rows = [
        [
            name,
            tools[name],
            format_spread(spread_of(got[name])),
            format_spread(ratios(got[name], got[ours])),
            format_spread(spread_of(put[name])),
            format_spread(ratios(put[name], put[ours])),
        ]
        for name in got
    ]
    return Table(
        f"Whole commands, one file of {bench.amounts.size >> 20:,} MiB, both sides on {area.name}, no fsyncs on "
        f"either side unless it says durable, {bench.count_runs(MOST_RUNS)} runs: seconds, median (least–greatest)",
        ["server", "command", "get, s", "of ours", "put, s", "of ours"],
        rows,
    )


def _make_run(command: Command, result: Path, digest: str) -> Callable[[], float]:
    is_checked = False

    def run() -> float:
        nonlocal is_checked
        seconds = run_command(
            command.arguments, directory=command.directory, environment=command.environment
        )
        if not is_checked:
            check_file(result, digest)
            is_checked = True
        remove_files([result])
        flush(result.parent)
        return seconds

    return run
