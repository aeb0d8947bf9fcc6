"""The octets of an open file, read at explicit offsets: nobody relies on a descriptor's position."""

from __future__ import annotations

import os
from collections.abc import Callable

from filetransfer.digests import start_digest
from filetransfer.errors import Cancelled, Internal, refusal_from_os_error

WINDOW = 1024 * 1024
"""Octets read at a time: large enough for the digest's full rate, small enough to be stopped within a millisecond."""


def go_on() -> bool:
    """Never stop."""
    return False


def compute_digest(
    descriptor: int, size: int, algorithm: str, should_stop: Callable[[], bool] = go_on
) -> bytes:
    """Digest the first octets of a file.

    The reads and, for a window, the digest run without the interpreter's lock.

    Args:
        descriptor: the open file.
        size: octets, >= 0.
        algorithm: a name of section 2 of the protocol.
        should_stop: asked before each window.

    Raises:
        Unsupported: the algorithm is unknown.
        Cancelled: told to stop.
        Internal: the file has fewer octets.
        RequestRefused: the leaf for a failed read.
    """
    digest = start_digest(algorithm)
    buffer = memoryview(bytearray(min(WINDOW, size)))
    offset = 0
    while offset < size:
        if should_stop():
            raise Cancelled("stopped")
        try:
            count = os.preadv(descriptor, [buffer[: size - offset]], offset)
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        if not count:
            raise Internal("the file shrank while it was read", about="path")
        digest.update(buffer[:count])
        offset += count
    return digest.digest()
