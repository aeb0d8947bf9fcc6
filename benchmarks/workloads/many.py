"""Many small files by whole commands, each tool in its best batch mode, both sides writing files."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.files import (
    check_small_files,
    empty_directory,
    flush,
    make_small_files,
    name_small,
)
from benchmarks.machine import Area
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.openssh import OpensshPeer
from benchmarks.peers.ours import DurableFileTransferPeer, FileTransferPeer
from benchmarks.peers.peer import CommandPeer
from benchmarks.peers.rsync import RsyncPeer
from benchmarks.peers.vsftpd import VsftpdPeer
from benchmarks.processes import run_command
from benchmarks.report import Report, Table, format_number, format_spread
from benchmarks.runs import ratios, spread_of

SLOW = (VsftpdPeer, NginxPeer, OpensshPeer)
"""They take tens of seconds: one run, in the first area. So does what waits for the disk, in the others."""

MOST_RUNS = 3


def measure(bench: Bench) -> Report:
    """Measure both ways in every area."""
    return Report([_measure_area(bench, area, number) for number, area in enumerate(bench.areas)])


def _measure_area(bench: Bench, area: Area, number: int) -> Table:
    count = bench.amounts.files
    durable = [DurableFileTransferPeer] if bench.has_disk(area) else []
    quick_peers = bench.choose(FileTransferPeer, RsyncPeer)
    slow_peers = bench.choose(*(SLOW if number == 0 else ()), *durable)
    results: dict[str, tuple[str, list[float], list[float]]] = {}
    for peers, is_slow in ((quick_peers, False), (slow_peers, True)):
        with contextlib.ExitStack() as stack:
            begun = [stack.enter_context(kind(bench.make_place(area))) for kind in peers]
            stores = {peer.name: _store_by(bench, area, peer) for peer in begun}
            fetches = {peer.name: _fetch_by(bench, area, peer) for peer in begun}
            put = bench.interleave(stores, most_runs=MOST_RUNS, is_once=is_slow)
            got = bench.interleave(fetches, most_runs=MOST_RUNS, is_once=is_slow)
            for peer in begun:
                results[peer.name] = (peer.batch_tool, got[peer.name], put[peer.name])
                empty_directory(peer.root)
    ours = results[FileTransferPeer.name]
    rows = []
    for name, (tool, gets, puts) in results.items():
        rows.append([name, tool])
        for seconds, reference in ((gets, ours[1]), (puts, ours[2])):
            rows[-1] += [
                format_spread(spread_of(seconds)),
                format_number(count / spread_of(seconds).median),
                format_spread(ratios(seconds, reference)),
            ]
        rows[-1].append(str(len(gets)))
    return Table(
        f"Whole commands, {count:,} files of 4 KiB, both sides on {area.name}, no fsyncs on either side unless it "
        "says durable: seconds, median (least–greatest)",
        [
            "server",
            "command",
            "get, s",
            "files/s",
            "of ours",
            "put, s",
            "files/s",
            "of ours",
            "runs",
        ],
        rows,
    )


def _list_names(count: int) -> Sequence[str]:
    return [name_small(number) for number in range(count)]


def _store_by(bench: Bench, area: Area, peer: CommandPeer) -> Callable[[], float]:
    count = bench.amounts.files
    source = area.path / "many"
    if not source.exists():
        make_small_files(source, count)
        flush(source)
    is_checked = False

    def run() -> float:
        nonlocal is_checked
        # The server keeps what it holds open in its root; only the files of the last run go.
        _remove_small(peer.root)
        flush(peer.root)
        command = peer.store_many(source, _list_names(count))
        seconds = run_command(
            command.arguments, directory=command.directory, environment=command.environment
        )
        if not is_checked:
            check_small_files(peer.root, count)
            is_checked = True
        return seconds

    return run


def _fetch_by(bench: Bench, area: Area, peer: CommandPeer) -> Callable[[], float]:
    count = bench.amounts.files
    destination = area.path / f"fetched-{peer.port}"
    is_checked = False

    def run() -> float:
        nonlocal is_checked
        empty_directory(destination)
        flush(destination)
        command = peer.fetch_many(_list_names(count), destination)
        seconds = run_command(
            command.arguments, directory=command.directory, environment=command.environment
        )
        if not is_checked:
            check_small_files(destination, count)
            is_checked = True
        empty_directory(destination)
        return seconds

    return run


def _remove_small(directory: os.PathLike[str]) -> None:
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_file() and not entry.name.startswith("."):
                os.unlink(entry.path)
