"""Another client's GET of one octet while a bulk body is moved."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable

from benchmarks.bench import Bench
from benchmarks.files import check_file, flush, forget, make_file
from benchmarks.machine import Area
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.ours import FileTransferPeer
from benchmarks.peers.peer import Peer
from benchmarks.report import Report, Table, format_spread
from benchmarks.runs import spread_of
from benchmarks.workloads.moving import fetch, read_digest, store

NAME = "octet"
PAUSE_SECONDS = 200e-6
"""Between two requests of the other client: it measures, it does not load."""
MICROSECOND = 1e-6
MOST_RUNS = 3


class _Bulk:
    """Moves a body again and again, in a thread, until it is told to stop."""

    def __init__(self, act: Callable[[], None] | None) -> None:
        self._act = act
        self._is_over = False
        self._failure: Exception | None = None
        self.bodies = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> _Bulk:
        self._thread.start()
        return self

    def _run(self) -> None:
        try:
            while self._act is not None and not self._is_over:
                self._act()
                self.bodies += 1
        except Exception as error:  # noqa: BLE001 - raised where it can be
            self._failure = error

    def __exit__(self, *rest: object) -> None:
        self._is_over = True
        self._thread.join()
        if self._failure is not None:
            raise self._failure


def measure(bench: Bench) -> Report:
    """Measure in memory, and with a file that has to come from the disk."""
    return Report([_measure_area(bench, area) for area in bench.areas])


def _measure_area(bench: Bench, area: Area) -> Table:
    with contextlib.ExitStack() as stack:
        peers = [
            stack.enter_context(kind(bench.make_place(area)))
            for kind in bench.choose(FileTransferPeer, NginxPeer)
        ]
        digest = make_file(area.path / "bulk", bench.amounts.size, bench.load)
        for peer in peers:
            (peer.root / NAME).write_bytes(b"x")
            (peer.root / "bulk").hardlink_to(area.path / "bulk")
            _check(bench, peer, digest)
        flush(area.path)
        cases = ["idle", "bulk GET", "bulk PUT"]
        if area.name != "tmpfs":
            cases.append("bulk GET from the disk")
        results = {
            case: bench.interleave(
                {peer.name: _ping_by(bench, area, peer, case) for peer in peers},
                most_runs=MOST_RUNS,
            )
            for case in cases
        }
    rows = []
    for case in cases:
        for name, samples in results[case].items():
            rows.append(
                [
                    case,
                    name,
                    format_spread(spread_of([median for median, _, _ in samples])),
                    format_spread(spread_of([p99 for _, p99, _ in samples])),
                    format_spread(spread_of([rate for _, _, rate in samples]))
                    if case != "idle"
                    else "–",
                ]
            )
    return Table(
        f"GET of one octet on one connection while another one moves a body of {bench.amounts.size >> 20:,} MiB, "
        f"{area.name}, no fsyncs, {bench.count_runs(MOST_RUNS)} runs of {bench.amounts.seconds:g} s: µs, median "
        "(least–greatest) of the runs",
        ["meanwhile", "server", "median, µs", "99th percentile, µs", "bulk, GB/s"],
        rows,
    )


def _check(bench: Bench, peer: Peer, digest: str) -> None:
    wire = peer.open_wire()
    if read_digest(wire, "bulk") != digest:
        raise AssertionError(f"{peer.name} sent something else")
    wire.close()
    wire = peer.open_wire()
    store(wire, bench.load, "stored", bench.amounts.size)
    wire.close()
    check_file(peer.root / "stored", digest)


def _ping_by(
    bench: Bench, area: Area, peer: Peer, case: str
) -> Callable[[], tuple[float, float, float]]:
    size = bench.amounts.size

    def get() -> None:
        wire = peer.open_wire()
        fetch(wire, bench.load, "bulk")
        wire.close()

    def get_from_disk() -> None:
        forget(peer.root / "bulk")
        if area.backing is not None:
            forget(area.backing)
        get()

    def put() -> None:
        wire = peer.open_wire()
        store(wire, bench.load, "stored", size)
        wire.close()

    act = {
        "idle": None,
        "bulk GET": get,
        "bulk PUT": put,
        "bulk GET from the disk": get_from_disk,
    }[case]

    def run() -> tuple[float, float, float]:
        wire = peer.open_wire()
        request = wire.make_get(NAME)
        length = wire.measure_response(request)
        started = time.perf_counter()
        with _Bulk(act) as bulk:
            latencies = sorted(
                bench.load.ping(
                    wire.socket.fileno(), request, length, bench.amounts.seconds, PAUSE_SECONDS
                )
            )
        seconds = time.perf_counter() - started
        wire.close()
        flush(peer.root)
        return (
            latencies[len(latencies) // 2] / MICROSECOND,
            latencies[len(latencies) * 99 // 100] / MICROSECOND,
            bulk.bodies * size / 1e9 / seconds,
        )

    return run
