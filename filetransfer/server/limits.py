"""What one peer, and all of them together, may take: connections, time, and the pace of bodies.

Who may connect is decided when somebody does. Time is looked at by one sweep, about once a second for each connection:
a timer for each would double the memory of an idle one. What a connection waits for is its *phase*; in each there is
something that the peer must do:

    HANDSHAKE            end the handshake of TLS                               in handshake_seconds
    FIRST, IDLE          send the first octet of a request                      in idle_seconds
    FIRST, when crowded  the same, when few connections are left                in crowded_seconds
    HEAD                 send the rest of a request's header, head and size     in head_seconds
    RECEIVING, SENDING   send, or take, min_rate octets a second                on average of rate_seconds
    BUSY                 nothing: it waits for us

The average is of windows that follow one another, and only the time counts in which this side was ready to move octets:
a disk that hangs is no fault of the peer's.

Source: protocol, section 5.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from filetransfer.server.addresses import NOWHERE


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits; every one is above 0.

    Attributes:
        max_connections: in all.
        max_connections_per_address: of one address (see :func:`~filetransfer.server.addresses.group_address`).
        max_handshakes: of TLS that one address may begin in a second.
        max_requests: of one connection under way; beyond, it is not read from.
        max_held_octets: of one connection, of bodies and answers in memory; the same.
        max_held_octets_in_all: the same of all connections.
        max_upload_octets: of a file that is uploaded; None: as many as the disk has room for.
        handshake_seconds: see above, as for the others.
        head_seconds: the same.
        idle_seconds: the same.
        crowded_seconds: the same.
        crowded_share: of max_connections; when more are taken it is crowded.
        min_rate: octets a second.
        rate_seconds: for which min_rate is averaged.
    """

    max_connections: int = 8192
    max_connections_per_address: int = 256
    max_handshakes: int = 100
    max_requests: int = 256
    max_held_octets: int = 1024 * 1024
    max_held_octets_in_all: int = 64 * 1024 * 1024
    max_upload_octets: int | None = None
    handshake_seconds: float = 20.0
    head_seconds: float = 20.0
    idle_seconds: float = 300.0
    crowded_seconds: float = 20.0
    crowded_share: float = 0.75
    min_rate: int = 1024
    rate_seconds: float = 60.0


RESERVED_DESCRIPTORS = 256
"""For what is neither a connection nor of one: Python's and the store's own, pipes of threads and children."""

DESCRIPTORS_A_BODY = 2
"""The file, and a duplicate of the socket for the kernel route."""


def fit_connections(max_connections: int, descriptors: int) -> int:
    """Give how many connections there may be, > 0, when so many files may be open: a third of them is for bodies."""
    return max(1, min(max_connections, (descriptors - RESERVED_DESCRIPTORS) * 2 // 3))


def count_bodies(connections: int, descriptors: int) -> int:
    """Give how many bodies, > 0, may be on their way at a time beside so many connections."""
    left = descriptors - RESERVED_DESCRIPTORS - connections
    return max(1, left // DESCRIPTORS_A_BODY)


class Admission:
    """Decides who may connect, and who may begin a handshake.

    Args:
        limits: as above.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._handshakes: dict[str, int] = {}
        self._second = -1
        self.count = 0
        self.counts: dict[str, int] = {}

    @property
    def is_crowded(self) -> bool:
        """Whether few connections are left."""
        return self.count > self._limits.crowded_share * self._limits.max_connections

    def find_objection(self, group: str) -> str:
        """Give why somebody of this group may not connect now; empty when he may."""
        if self.count >= self._limits.max_connections:
            return "there are as many connections as there may be"
        if (
            group != NOWHERE
            and self.counts.get(group, 0) >= self._limits.max_connections_per_address
        ):
            return "its address has as many connections as it may have"
        return ""

    def add(self, group: str) -> None:
        """Take note of a connection."""
        self.count += 1
        self.counts[group] = self.counts.get(group, 0) + 1

    def remove(self, group: str) -> None:
        """Take note of its end."""
        self.count -= 1
        left = self.counts[group] - 1
        if left:
            self.counts[group] = left
        else:
            del self.counts[group]

    def may_shake_hands(self, group: str, now: float) -> bool:
        """Whether somebody of this group may begin one more handshake; if so, it is counted."""
        if int(now) != self._second:
            self._second = int(now)
            self._handshakes.clear()
        count = self._handshakes[group] = self._handshakes.get(group, 0) + 1
        return group == NOWHERE or count <= self._limits.max_handshakes


class Phase(IntEnum):
    """What a connection waits for; see the head of this module."""

    HANDSHAKE = 0
    FIRST = 1
    IDLE = 2
    HEAD = 3
    RECEIVING = 4
    SENDING = 5
    BUSY = 6


class Connection(Protocol):
    """What is looked at of a connection.

    Attributes:
        phase: what it waits for.
        requests: how many have come so far.
        is_ready: in RECEIVING, whether this side would take octets.
        received_octets: of bodies, and of heads that are not whole.
        sent_octets: of bodies, as far as they are known to have gone.
        transport: tells how many octets the peer has acknowledged, if it is one of TCP.
    """

    @property
    def phase(self) -> Phase: ...
    @property
    def is_ready(self) -> bool: ...

    requests: int
    received_octets: int
    sent_octets: int
    transport: Any


class Watch:
    """Looks at one connection again and again.

    Args:
        now: seconds, on the clock of all looks.
    """

    __slots__ = ("_looked_at", "_mark", "_phase", "_requests", "_seconds")

    def __init__(self, now: float) -> None:
        self._looked_at = now
        self._phase = Phase.BUSY
        self._requests = -1
        self._seconds = 0.0
        self._mark = 0

    def find_fault(
        self, connection: Connection, limits: Limits, now: float, *, is_crowded: bool
    ) -> str:
        """Give what the peer has not done in time; empty if all is well."""
        passed, self._looked_at = now - self._looked_at, now
        phase = connection.phase
        if phase is not self._phase or connection.requests != self._requests:
            self._phase, self._requests = phase, connection.requests
            self._begin_window(connection)
            return ""
        if phase is Phase.BUSY:
            return ""
        if phase is Phase.RECEIVING or phase is Phase.SENDING:
            if phase is Phase.SENDING or connection.is_ready:
                self._seconds += passed
            return self._find_slowness(connection, limits)
        self._seconds += passed
        return self._find_lateness(connection, limits, is_crowded=is_crowded)

    def _begin_window(self, connection: Connection) -> None:
        self._seconds = 0.0
        self._mark = count_moved(connection, self._phase)

    def _find_slowness(self, connection: Connection, limits: Limits) -> str:
        if self._seconds < limits.rate_seconds:
            return ""
        moved = count_moved(connection, self._phase) - self._mark
        if moved < limits.min_rate * self._seconds:
            what = "sent" if self._phase is Phase.RECEIVING else "took"
            return f"it {what} {moved} octets in {self._seconds:.0f} s"
        self._begin_window(connection)
        return ""

    def _find_lateness(self, connection: Connection, limits: Limits, *, is_crowded: bool) -> str:
        seconds, what = {
            Phase.HANDSHAKE: (limits.handshake_seconds, "ended no handshake"),
            Phase.FIRST: (limits.idle_seconds, "asked for nothing"),
            Phase.IDLE: (limits.idle_seconds, "asked for nothing more"),
            Phase.HEAD: (limits.head_seconds, "did not end its request"),
        }[self._phase]
        if self._phase is Phase.FIRST and is_crowded:
            seconds = min(seconds, limits.crowded_seconds)
        if self._seconds < seconds:
            return ""
        if self._phase is Phase.IDLE and count_moved(connection, self._phase) > self._mark:
            # An answer that had room in the kernel's buffers is still on its way, to somebody slow.
            self._begin_window(connection)
            return ""
        return f"it {what} in {self._seconds:.0f} s"


def count_moved(connection: Connection, phase: Phase) -> int:
    """Give how many octets have moved, since some moment, in the direction that a phase is about."""
    if phase is Phase.RECEIVING:
        return connection.received_octets
    acknowledged = _count_acknowledged(connection.transport)
    return connection.sent_octets if acknowledged is None else acknowledged


_TCP_INFO = getattr(socket, "TCP_INFO", None)
# struct tcp_info: tcpi_bytes_acked, since Linux 4.1. Source: include/uapi/linux/tcp.h.
_BYTES_ACKED = struct.Struct("=120xQ")


def _count_acknowledged(transport: Any) -> int | None:
    """Give how many octets a peer has acknowledged; None when that cannot be known.

    What was written may wait in the transport, then in the kernel, up to some megabytes: only the peer's word tells
    that it moves.
    """
    try:
        told = _find_socket(transport).getsockopt(socket.IPPROTO_TCP, _TCP_INFO, _BYTES_ACKED.size)
    except (AttributeError, TypeError, OSError):
        return None
    return int(_BYTES_ACKED.unpack(told)[0]) if len(told) == _BYTES_ACKED.size else None


def _find_socket(transport: Any) -> Any:
    # TLS has the transport of TCP below it.
    return getattr(transport, "transport", transport).getHandle()


MAX_UNSENT_OCTETS = 1024 * 1024
"""Octets that may wait in the kernel to be sent: for a peer that reads nothing it would hold 3.8 MiB. A GET of 1 GiB
goes as fast as without it; with half of it, at 0.7 of that."""


def limit_unsent(transport: Any) -> None:
    """Let the kernel hold only so much for a peer that does not read; does nothing where it cannot be told so."""
    with suppress(AttributeError, OSError):
        _find_socket(transport).setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_OCTETS
        )


MAX_LOOKS = 500
"""Connections that are looked at in one turn of the reactor: some 2 ms."""


class Sweep:
    """Looks at all connections, some in each turn, and all of them once a second.

    Args:
        reactor: its clock.
        list_connections: gives those that are open.
        look: looks at one.
    """

    def __init__(
        self,
        reactor: Any,
        list_connections: Callable[[], Collection[Any]],
        look: Callable[[Any, float], None],
    ) -> None:
        self._reactor = reactor
        self._list_connections = list_connections
        self._look = look
        self._left: list[Any] = []

    def begin(self) -> None:
        """Look at all of them, from now on until the last one has been looked at; to be called once a second."""
        if not self._left:
            self._left = list(self._list_connections())
            self._go_on()

    def _go_on(self) -> None:
        now = self._reactor.seconds()
        some, self._left = self._left[-MAX_LOOKS:], self._left[:-MAX_LOOKS]
        for connection in some:
            self._look(connection, now)
        if self._left:
            self._reactor.callLater(0, self._go_on)
