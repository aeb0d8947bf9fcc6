"""The socket of a transport, for those that move octets in its stead: in threads, by turns, and waiting in the reactor.

The socket belongs to the transport, which must neither read nor write it meanwhile. What is moved, and waited for, is a
duplicate of its descriptor: the transport may be lost, and close its own, at any moment, and a thread in the middle of
a call must not find that the number has become somebody else's. The duplicate is closed by the coroutine that made it,
when no thread has a turn any more.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

TURN_SECONDS = 0.02
"""How long one body has a thread while others wait for one; no call begins after that. On a loopback a PUT moves 40 MiB
in it. PUT, to the C loop in the same run: 0.92 to 0.95; with turns of 8 MiB 0.86 to 0.94, of 2 MiB 0.84. The GET of one
octet on another connection takes as long as with short turns: 114 to 149 µs, 140 to 167 when nothing else moves."""

LOW_WATER_OCTETS = 512 * 1024
"""While a peer is fast, its socket is not called readable below this: waking up for every segment of a PUT at 500 MB/s
costs 2.5 s of processor time a gigabyte, this 1.25 (the C loop 0.54)."""

LOW_WATER_SECONDS = 0.1
"""A peer is fast that sends LOW_WATER_OCTETS in this time; nothing is left lying for longer."""


@implementer(IReadDescriptor, IWriteDescriptor)
class Watch:
    """The duplicate of a transport's socket, and the reactor's word on when it is ready.

    Attributes:
        is_over: whether no more octets are to be moved; threads look at it between their calls.
    """

    def __init__(self, transport: Any) -> None:
        self.is_over = False
        self.reactor = transport.reactor
        self._socket: socket.socket = transport.getHandle().dup()
        self._ready: Deferred[None] | None = None

    def fileno(self) -> int:
        return self._socket.fileno()

    def logPrefix(self) -> str:
        return "filetransfer"

    async def wait_until_readable(self, low_water: int) -> None:
        """Wait for at least so many octets, the end of the connection, :meth:`stop` or LOW_WATER_SECONDS."""
        timer = None
        if low_water > 1:
            self._set_low_water(low_water)
            timer = self.reactor.callLater(LOW_WATER_SECONDS, self._wake)
        self.reactor.addReader(self)
        try:
            await self._wait()
        finally:
            self.reactor.removeReader(self)
            if timer is not None:
                if timer.active():
                    timer.cancel()
                # It belongs to the socket, and so to the transport as well.
                self._set_low_water(1)

    async def wait_until_writable(self) -> None:
        """Wait for room, the end of the connection or :meth:`stop`."""
        self.reactor.addWriter(self)
        try:
            await self._wait()
        finally:
            self.reactor.removeWriter(self)

    def receive_into(self, buffer: memoryview) -> int:
        """Take what the socket has; gives how much that is, 0 at its end. Raises OSError."""
        return self._socket.recv_into(buffer)

    def send_more(self, octets: bytes) -> int:
        """Send octets that others follow at once; gives how many went. Raises OSError."""
        return self._socket.send(octets, socket.MSG_MORE)

    def stop(self) -> None:
        """Let no more octets be moved."""
        self.is_over = True
        self._wake()

    def close(self) -> None:
        """Give the duplicate up; no thread may have a turn."""
        self._socket.close()

    def doRead(self) -> None:
        self._wake()

    def doWrite(self) -> None:
        self._wake()

    def connectionLost(self, reason: Failure) -> None:
        # The next call finds out.
        self._wake()

    def _set_low_water(self, octets: int) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, octets)

    async def _wait(self) -> None:
        if not self.is_over:
            self._ready = Deferred()
            await self._ready

    def _wake(self) -> None:
        ready, self._ready = self._ready, None
        if ready is not None:
            ready.callback(None)
