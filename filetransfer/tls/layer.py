"""TLS as a layer between a transport of Twisted's and a protocol.

It takes the place of Twisted's own, :class:`twisted.protocols.tls.TLSMemoryBIOProtocol`, for two reasons.

*Few crossings.* OpenSSL works on memory, and each call into it costs as much as a KiB of AES. A write is encrypted and
taken out in pieces of :data:`PIECE_OCTETS`, not of one record; all that one read brings reaches the protocol at once.

*Ends.* ``close_notify`` is half an end, as a plain connection has it: a protocol that knows of such
(IHalfCloseableProtocol) goes on writing until it has answered, and only then closes. An end without it is no end, be it
of a file or of a connection: the protocol is told :class:`~filetransfer.tls.alerts.Truncated`, never ConnectionDone.

*Large bodies.* While the layer is paused, another thread may take what comes from the socket in its stead, and have it
decrypted (:meth:`Layer.decrypt`). All else is said and heard in the reactor's thread, so that one lock is enough: who
writes meanwhile waits for a quarter of a millisecond at most, until one read is decrypted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    INegotiated,
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocol,
    IProtocolFactory,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.tls.alerts import Truncated
from filetransfer.tls.buffers import decrypt_into, release_buffers

PIECE_OCTETS = 64 * 1024
"""Of what is written, encrypted at a time. OpenSSL keeps room for one as long as the connection lives."""

_RECORD_OCTETS = 16 * 1024
_TAKEN_OCTETS = PIECE_OCTETS + 4 * 1024
"""A piece with what TLS adds to its records, and more."""


@implementer(IHalfCloseableProtocol, INegotiated)
class Layer(ProtocolWrapper):
    """TLS on one connection: a protocol for the transport, a transport for the protocol."""

    factory: LayerFactory
    transport: Any
    wrappedProtocol: Any  # noqa: N815 - Twisted's name

    def __init__(self, factory: LayerFactory, wrapped: IProtocol) -> None:
        super().__init__(factory, wrapped)
        self._unsent: list[bytes] = []
        self._reason: Failure | None = None
        self._has_producer = False
        self._is_open = False
        self._has_peer_ended = False
        # Nothing is said or heard any more.
        self._is_over = False
        # Held for OpenSSL's side of the connection wherever another thread may be at it, too.
        self._lock = threading.Lock()
        self._is_paused = False
        # Another thread has decrypted, and may have left something: octets, an end, or a failure.
        self._has_left = False
        self._left_failure: Failure | None = None

    # What the transport calls.

    def makeConnection(self, transport: Any) -> None:
        self._tls: Any = self.factory.begin(self)
        super().makeConnection(transport)  # type: ignore[no-untyped-call]
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        if self._is_over:
            return
        self._tls.bio_write(data)
        if not self._is_open:
            self._shake_hands()
        if self._is_open:
            self._receive()

    def readConnectionLost(self) -> None:
        """The transport has ended: by now TLS must have."""
        if self._has_left and not self._is_over:
            self._receive()
        if not self._has_peer_ended:
            self._fail(Failure(Truncated()))

    def writeConnectionLost(self) -> None:
        self.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_over = True
        self._tls.set_app_data(None)
        if self._reason is None and not (self._has_peer_ended or self.disconnecting):
            self._reason = Failure(Truncated())
        super().connectionLost(self._reason or reason)  # type: ignore[no-untyped-call]

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        if self._is_over or (self.disconnecting and not self._has_producer):
            return
        if self._is_open:
            self._encrypt(data)
        else:
            self._unsent.append(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def loseConnection(self) -> None:
        """Say close_notify and close, when the producer has ended; before the handshake has, just close."""
        if self.disconnecting or self._is_over:
            return
        self.disconnecting = True
        if not self._is_open:
            self.abortConnection()
        elif not self._has_producer:
            self._end()

    def abortConnection(self) -> None:
        """Close at once."""
        self._is_over = self.disconnecting = True
        self.transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.transport.registerProducer(producer, streaming)
        self._has_producer = True

    def unregisterProducer(self) -> None:
        self.transport.unregisterProducer()
        self._has_producer = False
        if self.disconnecting and not self._is_over:
            self._end()
        elif self._is_open and not self._is_over:
            self._release_buffers()

    def pauseProducing(self) -> None:
        self._is_paused = True
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        self._is_paused = False
        self.transport.resumeProducing()
        if self._has_left:
            # Not at once: who resumes may be in the middle of what it heard before.
            self.transport.reactor.callLater(0, self._receive_left)

    def getPeerCertificate(self) -> crypto.X509 | None:
        """Give the peer's certificate; None when it has shown none."""
        certificate: crypto.X509 | None = self._tls.get_peer_certificate()
        return certificate

    @property
    def negotiatedProtocol(self) -> bytes | None:  # noqa: N802 - Twisted's name
        """What ALPN has agreed on; None for nothing."""
        return self._tls.get_alpn_proto_negotiated() or None

    # What those call that receive in its stead.

    def decrypt(self, octets: memoryview, into: memoryview) -> tuple[int, bool]:
        """Decrypt what another has read from the socket. In any thread, while the layer is paused.

        Args:
            octets: as they came, > 0 of them.
            into: where they go; what finds no room there is the protocol's, when the layer is resumed.

        Returns:
            How many octets there are now, and whether more can come: what ended TLS, or broke it, is left for the
            protocol as well.
        """
        with self._lock:
            self._has_left = True
            count, error = decrypt_into(self._tls, octets, into)
        goes_on = isinstance(error, SSL.WantReadError)
        # After its end, TLS can be asked again; what broke it is said once.
        if not goes_on and not isinstance(error, SSL.ZeroReturnError):
            self._left_failure = Failure(error)
        return count, goes_on

    def send_pending(self) -> None:
        """Send what OpenSSL had to answer to what was decrypted; in the reactor's thread."""
        if not self._is_over:
            self._send()

    # Between OpenSSL and the transport.

    def _shake_hands(self) -> None:
        if self._is_over:
            return
        try:
            self._tls.do_handshake()
        except SSL.WantReadError:
            self._send()
        except SSL.Error:
            self._fail(Failure())
        else:
            self._is_open = True
            if IHandshakeListener.providedBy(self.wrappedProtocol):
                self.wrappedProtocol.handshakeCompleted()
            self._send()
            self._release_buffers()
            unsent, self._unsent = self._unsent, []
            for octets in unsent:
                self.write(octets)

    def _receive(self) -> None:
        """Give the protocol what there is for it."""
        pieces: list[bytes] = []
        has_ended = False
        failure = self._left_failure
        try:
            while failure is None:
                pieces.append(self._tls.recv(_RECORD_OCTETS))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            has_ended = True
        except SSL.Error:
            failure = Failure()
        # What OpenSSL has to answer by itself, such as no to a renegotiation.
        self._send()
        if pieces and not self._is_over:
            self.wrappedProtocol.dataReceived(b"".join(pieces))
        if failure is not None and not self._is_over:
            self._fail(failure)
        elif has_ended and not self._has_peer_ended and not self._is_over:
            self._peer_ended()

    def _receive_left(self) -> None:
        """Give the protocol what another thread has left for it, if that has not come to it by now."""
        if not self._has_left or self._is_paused or self._is_over:
            return
        self._has_left = False
        self._receive()
        if not self._is_over:
            self._release_buffers()

    def _peer_ended(self) -> None:
        self._has_peer_ended = True
        if IHalfCloseableProtocol.providedBy(self.wrappedProtocol):
            self.wrappedProtocol.readConnectionLost()
        else:
            self.disconnecting = True
            self._end()

    def _encrypt(self, octets: bytes) -> None:
        left = memoryview(octets)
        try:
            while left:
                # The context leaves partial writes out: it takes all of it, in as many records as that needs.
                with self._lock:
                    sent = self._tls.send(left[:PIECE_OCTETS])
                left = left[sent:]
                self._send()
        except SSL.Error:
            self._fail(Failure())

    def _send(self) -> None:
        """Hand the transport what OpenSSL has for the peer."""
        with suppress(SSL.WantReadError):
            while True:
                with self._lock:
                    octets = self._tls.bio_read(_TAKEN_OCTETS)
                self.transport.write(octets)
                if len(octets) < _TAKEN_OCTETS:
                    break

    def _release_buffers(self) -> None:
        with self._lock:
            release_buffers(self._tls)

    def _end(self) -> None:
        """Say close_notify, and close when it has left."""
        self._is_over = True
        with suppress(SSL.Error), self._lock:
            self._tls.shutdown()
        self._send()
        self.transport.loseConnection()

    def _fail(self, reason: Failure) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._reason = reason
        # The alert that says why.
        self._send()
        self.transport.loseConnection()


class LayerFactory(WrappingFactory[Layer]):
    """Puts TLS below the protocols of another factory.

    Args:
        creator: makes OpenSSL's side of each connection.
        wrapped: makes the protocols.
        is_client: whether this end begins.
    """

    protocol = Layer
    noisy = False

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator,
        wrapped: IProtocolFactory,
        *,
        is_client: bool,
    ) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self._creator: Any = creator
        self._is_client = is_client

    def begin(self, layer: Layer) -> SSL.Connection:
        """Give OpenSSL's side of a connection; its app data is the layer, until the connection is lost."""
        connection: SSL.Connection
        if self._is_client:
            connection = self._creator.clientConnectionForTLS(layer)
            connection.set_connect_state()
        else:
            connection = self._creator.serverConnectionForTLS(layer)
            connection.set_accept_state()
        connection.set_app_data(layer)
        return connection

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make the protocols of a connection; None, which closes it, when the wrapped factory does not want it."""
        wrapped = self.wrappedFactory.buildProtocol(addr)
        return None if wrapped is None else Layer(self, wrapped)
