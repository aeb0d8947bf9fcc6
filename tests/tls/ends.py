"""The layer in memory: two of them, back to back, and the test moves the octets."""

from __future__ import annotations

from typing import Any

from certificates import Made
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.tls.contexts import make_context
from filetransfer.tls.credentials import read_credentials
from filetransfer.tls.layer import Layer, LayerFactory

ALPN = b"filetransfer/2"


class Wire(StringTransport):
    """One end's transport: the test takes what was written, and ends the connection."""

    disconnected: Failure | None = None
    reactor: Clock

    def abortConnection(self) -> None:
        self.disconnected = Failure(ConnectionAborted())


@implementer(IHandshakeListener)
class Talker(Protocol):
    """Keeps what it hears."""

    transport: Any

    def __init__(self) -> None:
        self.heard = b""
        self.reads = 0
        self.handshakes = 0
        self.lost: Failure | None = None

    def handshakeCompleted(self) -> None:
        self.handshakes += 1

    def dataReceived(self, data: bytes) -> None:
        self.heard += data
        self.reads += 1

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008
        assert self.lost is None
        self.lost = reason


@implementer(IHalfCloseableProtocol)
class HalfTalker(Talker):
    """Knows that the other end may stop talking, and still listen."""

    def __init__(self) -> None:
        super().__init__()
        self.ends = 0

    def readConnectionLost(self) -> None:
        self.ends += 1

    def writeConnectionLost(self) -> None: ...


class Creator:
    """Makes OpenSSL's side of both ends."""

    def __init__(self, made: Made) -> None:
        self.connection: type[SSL.Connection] = SSL.Connection
        self._server = make_context(SSL.TLS_SERVER_METHOD)
        read_credentials(made.file, made.key_file).install(self._server)
        self._server.set_alpn_select_callback(lambda connection, offered: offered[0])
        self.client = make_context(SSL.TLS_CLIENT_METHOD)
        self.client.set_alpn_protos([ALPN])

    def serverConnectionForTLS(self, layer: object) -> SSL.Connection:
        return self.connection(self._server, None)

    def clientConnectionForTLS(self, layer: object) -> SSL.Connection:
        return SSL.Connection(self.client, None)


class End:
    """One end."""

    def __init__(self, creator: Any, talker: Talker, *, is_client: bool) -> None:
        self.talker = talker
        factory = LayerFactory(creator, Factory.forProtocol(lambda: talker), is_client=is_client)
        self.layer: Layer = factory.buildProtocol(None)
        self.wire = Wire()
        self.layer.makeConnection(self.wire)

    def take(self) -> bytes:
        octets = self.wire.value()
        self.wire.clear()
        return octets

    def lose(self, reason: Exception | None = None) -> None:
        self.layer.connectionLost(Failure(reason or ConnectionDone()))


class Pair:
    """A client and a server."""

    def __init__(
        self,
        made: Made,
        server: Talker | None = None,
        client: Talker | None = None,
        creator: Creator | None = None,
    ) -> None:
        creator = creator or Creator(made)
        self.client = End(creator, client or Talker(), is_client=True)
        self.server = End(creator, server or Talker(), is_client=False)

    def pump(self, at_a_time: int = 1 << 30) -> None:
        """Move octets until there are none."""
        while True:
            moved = 0
            for one, other in ((self.client, self.server), (self.server, self.client)):
                octets = one.take()
                moved += len(octets)
                for start in range(0, len(octets), at_a_time):
                    other.layer.dataReceived(octets[start : start + at_a_time])
            if not moved:
                return
