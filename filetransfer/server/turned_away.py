"""Who may not connect now: those that speak version 2 are told why, before they are closed.

Which version it is shows only when the peer has said an octet, or TLS has agreed. So a few of those that are turned
away are let in for a moment, as far as there. Nothing that they ask is looked at. Beyond those few, and in version 1,
which has no word for it, a connection is closed and nothing said.

Source: protocol, section 3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHandshakeListener, INegotiated
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.errors import Busy
from filetransfer.server.addresses import describe_address, group_address
from filetransfer.wire.connection import begin_server
from filetransfer.wire.messages import Unavailable, VersionChosen

if TYPE_CHECKING:
    from filetransfer.server.factory import FileTransferFactory

MAX_TURNED_AWAY = 64
"""That are told at a time. Their descriptors are of those that limits.py reserves."""

PATIENCE_SECONDS = 5.0
"""For the octet, or the handshake of TLS, that says which version is spoken."""

LINGER_SECONDS = 1.0
"""Between the word and the end: octets that come meanwhile are read. Unread ones would reset the connection, and the
word might be lost with it."""

RETRY_SECONDS = 5.0


@implementer(IHandshakeListener)
class TurnedAway(Protocol):
    """Tells one peer that it cannot be served now.

    Attributes:
        peer: where the other end is.
        group: whom it is counted with, by its address.
    """

    factory: FileTransferFactory
    transport: Any

    def __init__(self, reason: str) -> None:
        self.peer = self.group = ""
        self._opening = Unavailable(Busy(f"{reason}: try again later", retry_after=RETRY_SECONDS))
        self._timer: Any = None
        self._has_said = False

    def connectionMade(self) -> None:
        address = self.transport.getPeer()
        self.peer = describe_address(address)
        self.group = group_address(address)
        self._close_after(PATIENCE_SECONDS)
        if not INegotiated.providedBy(self.transport):
            self._begin()
        elif not self.factory.may_shake_hands(self):
            self.transport.abortConnection()

    def handshakeCompleted(self) -> None:
        self._begin(self.transport.negotiatedProtocol)

    def dataReceived(self, data: bytes) -> None:
        if self._has_said:
            return
        self._connection.receive(data)
        event = self._connection.next_event()
        if isinstance(event, VersionChosen) and event.octets:
            self._say(event.octets)
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._timer.active():
            self._timer.cancel()
        self.factory.forget_turned_away(self)

    def _begin(self, alpn: bytes | None = None) -> None:
        self._connection, octets = begin_server(self._opening, alpn=alpn)
        if octets:
            self._say(octets)

    def _say(self, octets: bytes) -> None:
        self._has_said = True
        self.transport.write(octets)
        self._timer.cancel()
        self._close_after(LINGER_SECONDS)

    def _close_after(self, seconds: float) -> None:
        close = self.transport.loseConnection if self._has_said else self.transport.abortConnection
        self._timer = self.factory.reactor.callLater(seconds, close)
