"""Whom the client believes over TLS, and how it proves itself.

A server is believed for one of these reasons; with several, all must hold:

    its certificate     names the host that was asked for, is valid now, for a server, and leads to an authority: one
                        of ``ca_file``, or one that this machine knows
    its key             is one of ``pins``. Without ``ca_file`` that is enough: the certificate around the key is not
                        looked at, not even its dates. Source: RFC 7671, section 5.1, which does the same
    its key was there   when it was first used, and it said so (``remembered``): that is how ssh does it

The session has its connection only when this is done: :class:`TrustingEndpoint` builds the protocol when the handshake
is over, so ``transport.negotiatedProtocol`` is known from the first moment.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from cryptography import x509
from OpenSSL import SSL, crypto
from service_identity import (
    CertificateError,
    VerificationError,
)
from service_identity.cryptography import extract_patterns
from service_identity.hazmat import DNS_ID, IPAddress_ID, verify_service_identity
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.client.known import KnownServers
from filetransfer.errors import (
    CertificateUnusable,
    ConnectFailed,
    FileTransferError,
    LocalProtocolError,
    Untrusted,
)
from filetransfer.tls.alerts import describe_error, is_about_proofs
from filetransfer.tls.contexts import believe_only, make_context
from filetransfer.tls.credentials import read_certificates, read_credentials
from filetransfer.tls.layer import LayerFactory
from filetransfer.tls.pins import find_pin, write_pin
from filetransfer.tls.problems import SERVER, explain_problem, list_names


def _say_nothing(text: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Whom to believe, and what to prove oneself with.

    Attributes:
        ca_file: certificates of authorities in PEM; None for those that this machine knows.
        pins: digests of public keys, as :func:`filetransfer.tls.pins.read_pin` gives them; one must be the server's.
        certificate: our own, a file of PEM, for a server that asks for one.
        private_key: its key; None when it is in the same file.
        passphrase: of the key, if it is encrypted.
        known: remembers servers; None remembers nothing.
        believes_first_key: whether a server that ``known`` has no pin of is believed, and its pin kept there.
        tell: told what a person should know, in one line.
    """

    ca_file: str | None = None
    pins: Sequence[bytes] = ()
    certificate: str | None = None
    private_key: str | None = None
    passphrase: bytes | None = field(default=None, repr=False)
    known: KnownServers | None = None
    believes_first_key: bool = False
    tell: Callable[[str], None] = field(default=_say_nothing)


@implementer(IStreamClientEndpoint)
class TrustingEndpoint:
    """Connects, and gives a connection only when the server is believed.

    Args:
        endpoint: connects in the clear.
        host: who is asked for: a name, or an address.
        port: of it, for what is remembered.
        trust: whom to believe.
        protocols: what ALPN names, best first; empty for nothing.

    Raises:
        CertificateUnusable: a file that ``trust`` names cannot be used.
        LocalProtocolError: what ``trust`` says does not go together, or the host is none.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        host: str,
        port: int,
        trust: Trust,
        *,
        protocols: Sequence[bytes] = (),
    ) -> None:
        if trust.believes_first_key and trust.known is None:
            raise LocalProtocolError("a key that is believed must be remembered: known is missing")
        self.host = host
        self.port = port
        self.trust = trust
        self._endpoint = endpoint
        self.name = _name_host(host)
        self._context = _make_context(trust, protocols)

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:  # noqa: N803
        """See :class:`IStreamClientEndpoint`.

        Fails also with:
            Untrusted: the server is not believed, or does not believe us.
            ConnectFailed: there is no TLS at the other end, or none that both ends speak.
        """
        return Deferred.fromCoroutine(self._connect(protocolFactory))

    async def _connect(self, factory: IProtocolFactory) -> IProtocol:
        check = _Check(self)
        handshake = _Handshake(factory, check)
        beginning = Factory.forProtocol(lambda: handshake)
        beginning.noisy = False
        await self._endpoint.connect(LayerFactory(check, beginning, is_client=True))
        return await handshake.done

    def make_connection(self) -> SSL.Connection:
        """Give OpenSSL's side of a new connection."""
        connection = SSL.Connection(self._context, None)
        if isinstance(self.name, DNS_ID):
            connection.set_tlsext_host_name(self.name.hostname)
        return connection


@implementer(IOpenSSLClientConnectionCreator)
class _Check:
    """Looks at one server's certificates.

    Attributes:
        refusal: why the server is not believed.
        key: the digest of its key, once it is.
    """

    def __init__(self, endpoint: TrustingEndpoint) -> None:
        self.refusal: FileTransferError | None = None
        self.key: bytes | None = None
        self.server = f"{endpoint.host}:{endpoint.port}"
        self._endpoint = endpoint
        trust = endpoint.trust
        self._pins = tuple(trust.pins)
        self._remembered: bytes | None = None
        self._is_first = False
        if trust.ca_file is None and not self._pins and trust.known is not None:
            self._remembered = trust.known.find_pin(endpoint.host, endpoint.port)
            self._is_first = trust.believes_first_key and self._remembered is None
        # Whether the key is all that counts.
        self._has_key_alone = trust.ca_file is None and bool(
            self._pins or self._remembered is not None or self._is_first
        )

    def clientConnectionForTLS(self, layer: Any) -> SSL.Connection:
        """See :class:`IOpenSSLClientConnectionCreator`."""
        connection = self._endpoint.make_connection()
        connection.set_verify(SSL.VERIFY_PEER, self._look)
        return connection

    def remember(self) -> None:
        """Keep in mind that the server was reached."""
        trust, endpoint = self._endpoint.trust, self._endpoint
        if trust.known is None or self.key is None:
            return
        pin = self.key if self._is_first else None
        if pin is not None:
            trust.tell(
                f"{self.server} is believed from now on by its key {write_pin(pin)}: compare that with what the "
                "server's log says, or its owner"
            )
        try:
            trust.known.remember(endpoint.host, endpoint.port, pin)
        except OSError as error:
            text = f"cannot remember {self.server} in {error.filename}: {error.strerror}"
            if pin is not None:
                raise Untrusted(text) from error
            trust.tell(text)

    def _look(
        self,
        connection: SSL.Connection,
        certificate: crypto.X509,
        problem: int,
        depth: int,
        is_fine: int,
    ) -> bool:
        """Look at one certificate of the chain. OpenSSL calls this for each, some twice; never raises."""
        try:
            self._judge(certificate.to_cryptography(), problem, depth)
        except FileTransferError as refusal:
            self.refusal = self.refusal or refusal
        except Exception as error:  # noqa: BLE001 - whatever a certificate holds, it is the server's fault
            self.refusal = self.refusal or Untrusted(
                f"{self.server}: the certificate cannot be read: {error}"
            )
        return self.refusal is None

    def _judge(self, certificate: x509.Certificate, problem: int, depth: int) -> None:
        if problem and not self._has_key_alone:
            raise Untrusted(f"{self.server}: {explain_problem(problem, certificate, SERVER)}")
        if depth:
            return
        key = find_pin(certificate)
        if not self._has_key_alone:
            self._judge_name(certificate)
        if self._pins and key not in self._pins:
            raise Untrusted(f"{self.server}: its key is {write_pin(key)}, which is not pinned")
        if self._remembered is not None and key != self._remembered:
            raise Untrusted(self._shout(key, self._remembered))
        self.key = key

    def _judge_name(self, certificate: x509.Certificate) -> None:
        try:
            verify_service_identity(extract_patterns(certificate), [self._endpoint.name], [])
        except (VerificationError, CertificateError) as error:
            names = ", ".join(list_names(certificate)) or "nobody"
            raise Untrusted(
                f"{self.server}: the certificate is for {names}, not for {self._endpoint.host}"
            ) from error

    def _shout(self, key: bytes, remembered: bytes) -> str:
        known = self._endpoint.trust.known
        assert known is not None  # noqa: S101 - it told us
        return (
            f"THE KEY OF {self.server} HAS CHANGED. It was {write_pin(remembered)} when it was first used, and is "
            f"{write_pin(key)} now: somebody may be listening in between! If its owner says that the new one is right, "
            f"remove the line of {self.server} from {known.file}"
        )


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """What is above TLS until it is agreed on; then the real protocol is.

    Attributes:
        done: fires with the real protocol.
    """

    transport: Any

    def __init__(self, factory: IProtocolFactory, check: _Check) -> None:
        self.done: Deferred[IProtocol] = Deferred(lambda _: self.transport.abortConnection())
        self._factory = factory
        self._check = check

    def handshakeCompleted(self) -> None:
        layer = self.transport
        try:
            if self._check.key is None:
                raise Untrusted(f"{self._check.server} showed no certificate")
            self._check.remember()
        except Untrusted as refusal:
            self._check.refusal = refusal
            layer.abortConnection()
            return
        protocol = cast(IProtocol, self._factory.buildProtocol(layer.getPeer()))
        layer.wrappedProtocol = protocol
        protocol.makeConnection(layer)
        self.done.callback(protocol)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.done.called:
            self.done.errback(self._explain(reason.value))

    def _explain(self, error: BaseException | None) -> FileTransferError:
        if self._check.refusal is not None:
            return self._check.refusal
        server = self._check.server
        if not isinstance(error, SSL.Error):
            return ConnectFailed(
                f"no connection to {server}: it ended during the TLS handshake; is this the port for TLS?"
            )
        if is_about_proofs(error):
            return Untrusted(f"{server} does not accept this client: {describe_error(error)}")
        return ConnectFailed(f"no connection to {server}: no TLS with it: {describe_error(error)}")


def _make_context(trust: Trust, protocols: Sequence[bytes]) -> SSL.Context:
    context = make_context(SSL.TLS_CLIENT_METHOD)
    if trust.ca_file is None:
        context.set_default_verify_paths()
    else:
        believe_only(context, read_certificates(trust.ca_file))
    if trust.certificate is not None:
        read_credentials(trust.certificate, trust.private_key, trust.passphrase).install(context)
    elif trust.private_key is not None:
        raise CertificateUnusable("a private key needs the certificate that goes with it")
    if protocols:
        context.set_alpn_protos(list(protocols))
    return context


def _name_host(host: str) -> DNS_ID | IPAddress_ID:
    address, _, _ = host.partition("%")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        pass
    else:
        return IPAddress_ID(address)
    try:
        return DNS_ID(host.removesuffix("."))
    except ValueError as error:
        raise LocalProtocolError(f"{host!r} is no name that a certificate could hold") from error
