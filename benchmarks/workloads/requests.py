"""GET of one octet: how long it takes, and how many a second a server answers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.machine import Area
from benchmarks.peers.article import ArticlePeer
from benchmarks.peers.limit import LimitPeer
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.ours import FileTransferPeer
from benchmarks.peers.peer import Peer
from benchmarks.processes import Failed
from benchmarks.report import Report, Table, format_number, format_spread
from benchmarks.runs import Sample, ratios, spread_of

NAME = "octet"
MICROSECOND = 1e-6


def measure(bench: Bench) -> Report:
    """Measure in the first area: the file is in memory everywhere."""
    area = bench.areas[0]
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(kind(bench.make_place(area)))
            for kind in bench.choose(FileTransferPeer, LimitPeer, NginxPeer, ArticlePeer)
        ]
        for peer in peers:
            (peer.root / NAME).write_bytes(b"x")
            _check(peer)
        tables = [_measure_latency(bench, area, peers)]
        # It serves one connection at a time.
        peers = [peer for peer in peers if not isinstance(peer, ArticlePeer)]
        tables.append(_measure_rates(bench, area, peers))
    return Report(tables)


def _check(peer: Peer) -> None:
    wire = peer.open_wire()
    request = wire.make_get(NAME)
    wire.socket.sendall(request)
    if not wire.read_response(request).endswith(b"x"):
        raise Failed(f"{peer.name} sent something else")
    wire.close()


def _measure_latency(bench: Bench, area: Area, peers: list[Peer]) -> Table:
    results = bench.interleave({peer.name: _ping_by(bench, peer) for peer in peers})
    reference = NginxPeer.name if NginxPeer.name in results else LimitPeer.name
    rows = []
    for name, samples in results.items():
        medians = [sample[0] for sample in samples]
        rows.append(
            [
                name,
                format_spread(spread_of(medians)),
                format_spread(spread_of([sample[1] for sample in samples])),
                format_spread(ratios(medians, [sample[0] for sample in results[reference]])),
            ]
        )
    return Table(
        f"GET of one octet, again and again on one connection, {area.name}, {bench.amounts.runs} runs of "
        f"{bench.amounts.seconds:g} s: µs, median (least–greatest) of the runs",
        ["server", "median, µs", "99th percentile, µs", f"median, of {reference}"],
        rows,
    )


def _ping_by(bench: Bench, peer: Peer) -> Callable[[], tuple[float, float]]:
    def run() -> tuple[float, float]:
        wire = peer.open_wire()
        request = wire.make_get(NAME)
        length = wire.measure_response(request)
        latencies = sorted(
            bench.load.ping(wire.socket.fileno(), request, length, bench.amounts.seconds)
        )
        wire.close()
        return (
            latencies[len(latencies) // 2] / MICROSECOND,
            latencies[len(latencies) * 99 // 100] / MICROSECOND,
        )

    return run


def _measure_rates(bench: Bench, area: Area, peers: list[Peer]) -> Table:
    headings = ["server"]
    columns: dict[str, list[str]] = {peer.name: [peer.name] for peer in peers}
    reference = NginxPeer.name if NginxPeer.name in columns else LimitPeer.name
    for connections in bench.amounts.connections:
        results = bench.interleave(
            {peer.name: _request_by(bench, peer, connections) for peer in peers},
        )
        headings += [f"at {connections}, requests/s", f"of {reference}", "CPU µs"]
        for name, samples in results.items():
            columns[name] += [
                format_spread(spread_of([1 / s.seconds for s in samples])),
                format_spread(
                    ratios([s.seconds for s in results[reference]], [s.seconds for s in samples])
                ),
                format_number(spread_of([s.cpu_seconds for s in samples]).median / MICROSECOND),
            ]
    return Table(
        f"GET of one octet, one request under way on each connection, {area.name}, nginx with one worker, "
        f"{bench.amounts.runs} runs of {bench.amounts.seconds:g} s: median (least–greatest)",
        headings,
        list(columns.values()),
    )


def _request_by(bench: Bench, peer: Peer, connections: int) -> Callable[[], Sample]:
    def run() -> Sample:
        wires = [peer.open_wire() for _ in range(connections)]
        request = wires[0].make_get(NAME)
        length = [wire.measure_response(request) for wire in wires][-1]
        cpu_seconds = peer.process.read_cpu_seconds()
        answered = bench.load.request_all(
            [wire.socket.fileno() for wire in wires],
            [request] * connections,
            length,
            bench.amounts.seconds,
        )
        cpu_seconds = peer.process.read_cpu_seconds() - cpu_seconds
        for wire in wires:
            wire.close()
        return Sample(answered.seconds / answered.count, cpu_seconds / answered.count)

    return run
