"""One body over one wire, and several at once."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import xxhash

from benchmarks.files import check_file, flush, remove_files
from benchmarks.load import Load
from benchmarks.peers.article import ArticlePeer
from benchmarks.peers.peer import Peer
from benchmarks.processes import Failed
from benchmarks.runs import Sample
from benchmarks.wires.wire import Wire


def fetch(wire: Wire, load: Load, name: str) -> None:
    """Fetch a file and throw it away."""
    body, size = wire.begin_get(name)
    count = load.discard(body, size)
    if 0 <= size != count:
        raise Failed(f"{count} octets came, {size} were announced")
    wire.end_get()


def store(wire: Wire, load: Load, name: str, size: int) -> None:
    """Store a file of ``size`` octets, those of files.make_file()."""
    load.generate(wire.begin_put(name, size), size)
    wire.end_put()


def read_digest(wire: Wire, name: str) -> str:
    """Fetch a file and give its digest."""
    digest = xxhash.xxh3_128()
    descriptor, size = wire.begin_get(name)
    body = socket.socket(fileno=descriptor)
    try:
        while size and (octets := body.recv(1 << 20 if size < 0 else min(size, 1 << 20))):
            digest.update(octets)
            size -= len(octets) if size > 0 else 0
    finally:
        body.detach()
    wire.end_get()
    return digest.hexdigest()


def time_together(peer: Peer, connections: int, act: Callable[[int, Any], None]) -> Sample:
    """Open the connections; then let all of them act at once."""
    wires = [peer.open_wire() for _ in range(connections)]
    barrier = threading.Barrier(connections + 1)
    failures: list[Exception] = []

    def run(number: int) -> None:
        barrier.wait()
        try:
            act(number, wires[number])
        except Exception as error:  # noqa: BLE001 - raised below, in the thread that can
            failures.append(error)
        if isinstance(peer, ArticlePeer):
            # It serves the next connection when this one is closed.
            wires[number].close()

    threads = [threading.Thread(target=run, args=[number]) for number in range(connections)]
    for thread in threads:
        thread.start()
    cpu_seconds = peer.process.read_cpu_seconds()
    started = time.perf_counter()
    barrier.wait()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - started
    cpu_seconds = peer.process.read_cpu_seconds() - cpu_seconds
    for wire in wires:
        wire.close()
    if failures:
        raise failures[0]
    return Sample(seconds, cpu_seconds)


def put_together(
    peer: Peer, connections: int, digest: str, put: Callable[[Any, str], None]
) -> Callable[[], Sample]:
    """Give a run that stores a file over each connection, all at once, and takes them away again.

    Args:
        peer: where.
        connections: how many.
        digest: of each file; the first run compares it.
        put: stores a file over a wire, under a name.
    """
    paths = [peer.root / f"stored-{number}" for number in range(connections)]
    is_checked = False

    def run() -> Sample:
        nonlocal is_checked
        sample = time_together(
            peer, connections, lambda number, wire: put(wire, paths[number].name)
        )
        if not is_checked:
            for path in paths:
                check_file(path, digest)
            is_checked = True
        remove_files(paths)
        flush(peer.root)
        return sample

    return run
