"""Small uploads that are on the disk when they are answered: together, and each for itself."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.files import check_small_files, flush, make_small, name_small, remove_files
from benchmarks.peers.limit import DurableLimitPeer
from benchmarks.peers.ours import DurableFileTransferPeer
from benchmarks.peers.peer import Peer
from benchmarks.report import Report, Table, format_spread
from benchmarks.runs import ratios, spread_of

MOST_RUNS = 3
_REFERENCES = ("of plain C", "of plain C one at a time", "of itself one at a time")


def measure(bench: Bench) -> Report:
    """Measure in the last area, which is on a disk."""
    area = bench.areas[-1]
    tables: list[Table] = []
    one_at_a_time: dict[str, list[float]] = {}
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(kind(bench.make_place(area)))
            for kind in bench.choose(DurableFileTransferPeer, DurableLimitPeer)
        ]
        for connections in bench.amounts.connections:
            results = bench.interleave(
                {peer.name: _store_by(bench, peer, connections) for peer in peers},
                most_runs=MOST_RUNS,
            )
            one_at_a_time = one_at_a_time or results
            tables.append(
                Table(
                    f"Durable uploads of 4 KiB, {connections} at once, {area.name}, journaled, every upload fsynced "
                    f"before its answer, {bench.count_runs(MOST_RUNS)} runs: median (least–greatest)",
                    ["server", "µs a file", *_REFERENCES],
                    [_make_row(name, results, one_at_a_time) for name in results],
                )
            )
    return Report(tables)


def _make_row(
    name: str, results: dict[str, list[float]], one_at_a_time: dict[str, list[float]]
) -> list[str]:
    seconds = results[name]
    references = (
        results[DurableLimitPeer.name],
        one_at_a_time[DurableLimitPeer.name],
        one_at_a_time[name],
    )
    return [
        name,
        format_spread(spread_of([s * 1e6 for s in seconds])),
        *(format_spread(ratios(seconds, reference)) for reference in references),
    ]


def _store_by(bench: Bench, peer: Peer, connections: int) -> Callable[[], float]:
    # Few connections wait for the disk most of the time; the same count would take half a minute.
    count = bench.amounts.durable_files // (4 if connections == 1 else 1)
    is_checked = False

    def run() -> float:
        nonlocal is_checked
        wires = [peer.open_wire() for _ in range(connections)]
        # Each connection replaces a file of its own again and again.
        requests = [
            wire.make_put(name_small(number), make_small(number))
            for number, wire in enumerate(wires)
        ]
        for wire, request in zip(wires, requests, strict=True):
            wire.measure_response(request)
        flush(peer.root)
        answered = bench.load.request_all(
            [wire.socket.fileno() for wire in wires], requests, 1, 3600.0, count
        )
        for wire in wires:
            wire.close()
        if not is_checked:
            check_small_files(peer.root, connections)
            is_checked = True
        remove_files([peer.root / name_small(number) for number in range(connections)])
        return answered.seconds / answered.count

    return run
