"""Small files through one connection that does not wait for answers: what the server alone can do."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence

from benchmarks.bench import Bench
from benchmarks.files import check_small_files, flush, make_small, name_small
from benchmarks.machine import Area
from benchmarks.peers.limit import LimitPeer
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.ours import FileTransferPeer
from benchmarks.peers.peer import Peer
from benchmarks.processes import Failed
from benchmarks.report import Report, Table, format_number, format_spread
from benchmarks.runs import Sample, ratios, spread_of


def measure(bench: Bench) -> Report:
    """Measure PUT and GET in every area."""
    return Report([_measure_area(bench, area) for area in bench.areas])


def _measure_area(bench: Bench, area: Area) -> Table:
    count = bench.amounts.pipelined_files
    results: dict[str, dict[str, list[Sample]]] = {}
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(kind(bench.make_place(area)))
            for kind in bench.choose(FileTransferPeer, LimitPeer, NginxPeer)
        ]
        for way, make_run in (("PUT", _put_by), ("GET", _get_by)):
            results[way] = bench.interleave({peer.name: make_run(bench, peer) for peer in peers})
    rows = []
    for name in results["PUT"]:
        rows.append([name])
        for way in ("PUT", "GET"):
            samples, limit = results[way][name], results[way][LimitPeer.name]
            rows[-1] += [
                format_spread(spread_of([count / s.seconds for s in samples])),
                format_spread(ratios([s.seconds for s in limit], [s.seconds for s in samples])),
                format_number(sum(s.cpu_seconds for s in samples) / len(samples) / count * 1e6),
            ]
    return Table(
        f"{count:,} files of 4 KiB, pipelined on one connection, {area.name}, no fsyncs, {bench.amounts.runs} runs: "
        "median (least–greatest)",
        ["server", "PUT, files/s", "of plain C", "CPU µs", "GET, files/s", "of plain C", "CPU µs"],
        rows,
    )


def _put_by(bench: Bench, peer: Peer) -> Callable[[], Sample]:
    count = bench.amounts.pipelined_files
    wire = peer.open_wire()
    bodies = [(name_small(number), make_small(number)) for number in range(count)]
    requests = [wire.make_put(name, body) for name, body in bodies]
    wire.close()
    is_checked = False

    def run() -> Sample:
        nonlocal is_checked
        for name, _ in bodies:
            (peer.root / name).unlink(missing_ok=True)
        flush(peer.root)
        sample, _ = _time(bench, peer, requests)
        if not is_checked:
            check_small_files(peer.root, count)
            is_checked = True
        return sample

    return run


def _get_by(bench: Bench, peer: Peer) -> Callable[[], Sample]:
    count = bench.amounts.pipelined_files
    wire = peer.open_wire()
    requests = [wire.make_get(name_small(number)) for number in range(count)]
    wire.close()
    is_checked = False

    def run() -> Sample:
        nonlocal is_checked
        sample, responses = _time(bench, peer, requests)
        if not is_checked:
            length = len(responses) // (count - 1)
            for number in range(count - 1):
                if not bytes(responses[number * length : (number + 1) * length]).endswith(
                    make_small(number)
                ):
                    raise Failed(f"{peer.name}: response {number} is not what was asked for")
            is_checked = True
        return sample

    return run


def _time(bench: Bench, peer: Peer, requests: Sequence[bytes]) -> tuple[Sample, bytearray]:
    wire = peer.open_wire()
    try:
        # All responses have one length, but a file that is replaced may be answered otherwise: ask for the last one.
        length = wire.measure_response(requests[-1])
        responses = bytearray(length * (len(requests) - 1))
        octets = b"".join(requests[:-1])
        cpu_seconds = peer.process.read_cpu_seconds()
        started = time.perf_counter()
        bench.load.pipeline(wire.socket.fileno(), octets, responses)
        seconds = time.perf_counter() - started
        cpu_seconds = peer.process.read_cpu_seconds() - cpu_seconds
    finally:
        wire.close()
    # The pages of the responses were touched by bytearray(); what is measured is the server.
    return Sample(seconds, cpu_seconds), responses
