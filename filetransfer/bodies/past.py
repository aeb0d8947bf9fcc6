"""Receiving past the decoder: threads take the octets of a run from the socket, and put them into a file.

It alternates between two places until the run is through::

    a mover thread moves octets until ...  the socket would block  -> the reactor waits until it is ready, then again
                                           its turn is over        -> back into the queue of the movers
                                           the run is through, or something is wrong -> the end

So no thread ever waits for a peer, and the reactor never for a disk; and to the reactor a large body is one event in
several milliseconds. How octets are moved is the affair of ``bodies/kernel.py``, or, over TLS, of
``bodies/decrypting.py``.

Receiving ends with the last octet of the run. The end of the connection in the middle of it is left in the socket, for
the transport to find and tell everybody.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from time import monotonic
from typing import Any, Protocol

from filetransfer.bodies.movers import Movers
from filetransfer.bodies.watch import LOW_WATER_OCTETS, LOW_WATER_SECONDS, Watch


class Next(Enum):
    """What is to be done when a turn has ended."""

    TURN = "another turn"
    WAIT = "wait for the peer, then another turn"
    LEAVE = "leave the rest to the transport: the end of the connection, or a body that cannot be moved so"


class Sink(Protocol):
    """An open file that a body is moved into; see ``store/interface.py``, Upload."""

    received: int

    @property
    def undigested(self) -> int: ...
    def fileno(self) -> int: ...
    def write(self, octets: bytes | memoryview) -> None: ...
    def advance(self, count: int) -> None: ...
    def digest_behind(self) -> None: ...


class Moving(Protocol):
    """Octets of a run on their way from a socket into a sink.

    Attributes:
        left: octets that are still to be moved.
        movers: whose threads move them.
    """

    left: int
    movers: Movers

    @property
    def expected(self) -> int:
        """How many octets the socket must still bring, at least, before ``left`` is 0; >= 0."""

    def take_turn(self) -> Next:
        """Move octets, in a mover's thread. Raises RequestRefused: the file cannot be written."""

    def turn_ended(self) -> None:
        """Do what is due when there is more in the sink; in the reactor's thread."""


class PastReceiver:
    """Moves the rest of one run from a socket into a file.

    Args:
        transport: Twisted's own for TCP or Unix sockets, or what has one below it; its reading is paused, and stays so
            until :meth:`receive` has ended.
        moved: told, in the reactor's thread, how many octets of the run left the socket.

    Attributes:
        watch: of the transport's socket; closed by :meth:`receive`.
        awaits_peer: whether nothing moves because the peer sends nothing.
    """

    def __init__(self, transport: Any, moved: Callable[[int], None]) -> None:
        self.awaits_peer = False
        self.watch = Watch(transport)
        self._moved = moved
        self._since_wait = 0
        self._waited_at = monotonic()

    async def receive(self, sink: Sink, fed: bytes, moving: Moving) -> None:
        """Move octets; ends early when the transport must see to the rest.

        Args:
            sink: the file.
            fed: the octets of the body that come before those in the socket.
            moving: moves those.

        Raises:
            RequestRefused: the file cannot be written.
        """
        try:
            await moving.movers.run(self.watch.reactor, sink.write, fed)
            while moving.left and not self.watch.is_over:
                next_step = await self._take_turn(moving)
                if next_step is Next.LEAVE:
                    break
                moving.turn_ended()
                if next_step is Next.WAIT:
                    await self._wait(moving)
        finally:
            self.watch.close()

    def stop(self) -> None:
        """Let :meth:`receive` end soon."""
        self.watch.stop()

    async def _take_turn(self, moving: Moving) -> Next:
        before = moving.left
        try:
            return await moving.movers.run(self.watch.reactor, moving.take_turn)
        finally:
            moved = before - moving.left
            self._since_wait += moved
            if moved:
                self._moved(moved)

    async def _wait(self, moving: Moving) -> None:
        now = monotonic()
        is_fast = self._since_wait * LOW_WATER_SECONDS >= LOW_WATER_OCTETS * (now - self._waited_at)
        self._waited_at = now
        self._since_wait = 0
        self.awaits_peer = True
        low_water = min(LOW_WATER_OCTETS, moving.expected) if is_fast else 1
        await self.watch.wait_until_readable(low_water)
        self.awaits_peer = False
