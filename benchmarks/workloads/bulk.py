"""One large file, each way: octets per second, against the limit, and the server's processor time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.files import flush, make_file, remove_files
from benchmarks.machine import Area
from benchmarks.peers.article import ArticlePeer
from benchmarks.peers.limit import LimitPeer
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.ours import DurableFileTransferPeer, FileTransferPeer
from benchmarks.peers.peer import Peer
from benchmarks.peers.pyftpdlib import PyftpdlibPeer
from benchmarks.peers.twisted_ftp import TwistedFtpPeer
from benchmarks.peers.vsftpd import VsftpdPeer
from benchmarks.report import Bars, Report, Table, format_number, format_spread
from benchmarks.runs import Sample, Spread, ratios, spread_of
from benchmarks.workloads.moving import fetch, put_together, read_digest, store, time_together

CONNECTIONS = (1, 4)
GIGABYTE = 1e9

Results = dict[tuple[str, int], dict[str, list[Sample]]]


def measure(bench: Bench) -> Report:
    """Measure GET and PUT in every area."""
    tables, bars = [], []
    for area in bench.areas:
        with contextlib.ExitStack() as stack:
            peers = [
                stack.enter_context(peer(bench.make_place(area)))
                for peer in bench.choose(
                    FileTransferPeer,
                    LimitPeer,
                    NginxPeer,
                    VsftpdPeer,
                    PyftpdlibPeer,
                    TwistedFtpPeer,
                    ArticlePeer,
                    *([DurableFileTransferPeer] if bench.has_disk(area) else []),
                )
            ]
            results = _measure_area(bench, area, peers)
        for way in ("GET", "PUT"):
            tables.append(_make_table(bench, area, way, results))
            bars.append(_make_bars(area, way, results))
    return Report(tables, bars)


def _measure_area(bench: Bench, area: Area, peers: Sequence[Peer]) -> Results:
    size = bench.amounts.size
    results: Results = {}
    for connections in CONNECTIONS:
        each = size // connections
        source = area.path / "bulk"
        digest = make_file(source, each, bench.load)
        flush(area.path)
        for peer in peers:
            (peer.root / "bulk").hardlink_to(source)
            wire = peer.open_wire()
            if read_digest(wire, "bulk") != digest:
                raise AssertionError(f"{peer.name} sent something else")
            wire.close()
        results["GET", connections] = bench.interleave(
            {
                peer.name: _get_by(bench, peer, connections)
                for peer in peers
                if not isinstance(peer, DurableFileTransferPeer)
            },
        )
        remove_files([source, *(peer.root / "bulk" for peer in peers)])
        flush(area.path)
        results["PUT", connections] = bench.interleave(
            {peer.name: _put_by(bench, peer, connections, each, digest) for peer in peers},
        )
    return results


def _get_by(bench: Bench, peer: Peer, connections: int) -> Callable[[], Sample]:
    def run() -> Sample:
        return time_together(
            peer, connections, lambda number, wire: fetch(wire, bench.load, "bulk")
        )

    return run


def _put_by(
    bench: Bench, peer: Peer, connections: int, each: int, digest: str
) -> Callable[[], Sample]:
    return put_together(
        peer, connections, digest, lambda wire, name: store(wire, bench.load, name, each)
    )


def _make_table(bench: Bench, area: Area, way: str, results: Results) -> Table:
    gigabytes = bench.amounts.size / GIGABYTE
    headings = ["server"]
    for connections in CONNECTIONS:
        several = "s" if connections > 1 else ""
        headings += [f"{connections} connection{several}, GB/s", "of plain C", "CPU s/GB"]
    rows = []
    for name in results[way, CONNECTIONS[0]]:
        row = [name]
        for connections in CONNECTIONS:
            samples = results[way, connections][name]
            limit = results[way, connections][LimitPeer.name]
            rates = [gigabytes / sample.seconds for sample in samples]
            row += [
                format_spread(spread_of(rates)),
                format_spread(ratios([s.seconds for s in limit], [s.seconds for s in samples])),
                format_number(sum(s.cpu_seconds for s in samples) / len(samples) / gigabytes),
            ]
        rows.append(row)
    size = bench.amounts.size >> 20
    return Table(
        f"Bulk {way}, {size:,} MiB in all, {area.name}, no server fsyncs unless it says durable, "
        f"{bench.amounts.runs} runs: median (least–greatest)",
        headings,
        rows,
    )


def _make_bars(area: Area, way: str, results: Results) -> Bars:
    groups = list(results[way, CONNECTIONS[0]])
    series: list[tuple[str, list[Spread | None]]] = []
    for connections in CONNECTIONS:
        limit = [sample.seconds for sample in results[way, connections][LimitPeer.name]]
        series.append(
            (
                f"{connections} connection{'s' if connections > 1 else ''}",
                [
                    ratios(limit, [sample.seconds for sample in results[way, connections][name]])
                    for name in groups
                ],
            )
        )
    return Bars(f"{way}, {area.name}", "rate, as a fraction of plain C", groups, series)
