"""One body over one wire."""

from __future__ import annotations

import socket

import xxhash

from benchmarks.load import Load
from benchmarks.processes import Failed
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
