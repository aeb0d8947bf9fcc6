"""The one predicate that picks the way of a body, in both directions, and sending along that way.

Receiving is in ``bodies/incoming.py``, and asks here, too.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection

from filetransfer.bodies.copied import send_copied
from filetransfer.bodies.framing import UNFRAMED, Framing
from filetransfer.bodies.kernel import send_by_kernel

MIN_KERNEL_OCTETS = 256 * 1024
"""Bodies from this size on go by the kernel route. One request after the other on a loopback, kernel / copied, in µs:

    128 KiB    GET  154 / 124    PUT   624 /  572
    256 KiB         241 / 493          705 /  657
    512 KiB         334 / 603         1196 / 1396
"""

_HAS_CALLS = sys.platform == "linux" and hasattr(os, "sendfile") and hasattr(os, "splice")


def goes_by_kernel(transport: Any, count: int) -> bool:
    """Tell whether a body is to go by the kernel route.

    Args:
        transport: the connection's. Only Twisted's own for plain TCP and Unix sockets will do: what wraps one, TLS or
            a limit of the rate, must see the octets.
        count: octets to be moved between the socket and a file that has a descriptor, >= 0.
    """
    return (
        count >= MIN_KERNEL_OCTETS
        and _HAS_CALLS
        and isinstance(transport, Connection)
        and not getattr(transport, "TLS", False)
    )


def is_decrypted_apart(transport: Any, count: int) -> bool:
    """Tell whether a body is to be received, and decrypted, in a mover's thread.

    Args:
        transport: the connection's. Only TLS right above Twisted's own will do, as for the kernel route.
        count: octets of it that are still to come, >= 0.
    """
    # Asked of the class: what wraps a transport gives the names of what it wraps for its own.
    return hasattr(type(transport), "decrypt") and goes_by_kernel(transport.transport, count)


async def send_body(
    transport: Any,
    descriptor: int,
    offset: int,
    count: int,
    moved: Callable[[int], None],
    framing: Framing = UNFRAMED,
) -> None:
    """Send octets of an open file, along the best way there is.

    Args:
        transport: where to; no producer may be registered with it, and nothing be written to it before this returns.
            What was written before leaves first.
        descriptor: the open file.
        offset: of the first octet, >= 0.
        count: how many octets, >= 0; exactly so many are sent.
        moved: told of octets as they go, in the reactor's thread.
        framing: cuts it into runs.

    Raises:
        TransferInterrupted: the connection was lost, or the file ended early (it shrank): the peer has been promised
            more octets, so the connection must be failed.
        OSError: the file cannot be read; the same.
    """
    if goes_by_kernel(transport, count):
        left = await send_by_kernel(transport, descriptor, offset, count, moved, framing)
        if left is None:
            return
        framing = left
    await send_copied(transport, descriptor, offset, count, moved, framing)
