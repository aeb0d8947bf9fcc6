"""One large file over TLS, each way, beside nginx."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import xxhash

from benchmarks.bench import Bench
from benchmarks.files import flush, make_file, remove_files
from benchmarks.peers.nginx import NginxTlsPeer
from benchmarks.peers.ours import FileTransferTlsPeer
from benchmarks.peers.peer import Peer
from benchmarks.report import Report, Table, format_number, format_spread
from benchmarks.runs import Sample, ratios, spread_of
from benchmarks.wires import tls
from benchmarks.workloads.moving import put_together, time_together

CONNECTIONS = (1, 4)
NAME = "bulk"


def measure(bench: Bench) -> Report:
    """Measure in memory; what a disk adds is the same as without TLS."""
    area = bench.areas[0]
    source = area.path / NAME
    rows = []
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(peer(bench.make_place(area)))
            for peer in bench.choose(FileTransferTlsPeer, NginxTlsPeer)
        ]
        for connections in CONNECTIONS:
            each = bench.amounts.size // connections
            digest = make_file(source, each, bench.load)
            flush(area.path)
            for peer in peers:
                (peer.root / NAME).hardlink_to(source)
            octets = source.read_bytes()
            for way, make_run in (("GET", _get_by), ("PUT", _put_by)):
                results = bench.interleave(
                    {peer.name: make_run(peer, connections, octets, digest) for peer in peers}
                )
                rows += _make_rows(way, connections, each * connections, results)
            remove_files([source, *(peer.root / NAME for peer in peers)])
    return Report(
        [
            Table(
                f"Bulk bodies over TLS 1.3, {bench.amounts.size >> 20:,} MiB in all, {area.name}, no server fsyncs, "
                f"{bench.amounts.runs} runs: median (least–greatest)",
                ["way", "connections", "server", "GB/s", "of nginx", "CPU s/GB"],
                rows,
            )
        ]
    )


def _make_rows(
    way: str, connections: int, size: int, results: dict[str, list[Sample]]
) -> list[list[str]]:
    gigabytes = size / 1e9
    limit = results.get(NginxTlsPeer.name)
    rows = []
    for name, samples in results.items():
        seconds = [sample.seconds for sample in samples]
        of_limit = "–"
        if limit is not None:
            of_limit = format_spread(ratios([sample.seconds for sample in limit], seconds))
        cpu_seconds = sum(sample.cpu_seconds for sample in samples) / len(samples)
        rates = [gigabytes / taken for taken in seconds]
        rows.append(
            [
                way,
                str(connections),
                name,
                format_spread(spread_of(rates)),
                of_limit,
                format_number(cpu_seconds / gigabytes),
            ]
        )
    return rows


def _get_by(peer: Peer, connections: int, octets: bytes, digest: str) -> Callable[[], Sample]:
    def get(wire: Any, take: Callable[[memoryview], object]) -> None:
        _, size = wire.begin_get(NAME)
        for piece in tls.receive(wire.socket, size):
            take(piece)
        wire.end_get()

    received = xxhash.xxh3_128()
    wire = peer.open_wire()
    get(wire, received.update)
    wire.close()
    if received.hexdigest() != digest:
        raise AssertionError(f"{peer.name} sent something else")
    return lambda: time_together(peer, connections, lambda number, wire: get(wire, len))


def _put_by(peer: Peer, connections: int, octets: bytes, digest: str) -> Callable[[], Sample]:
    def put(wire: Any, name: str) -> None:
        wire.begin_put(name, len(octets))
        wire.socket.sendall(octets)
        wire.end_put()

    return put_together(peer, connections, digest, put)
