"""The daemon's side of TLS: its certificate, renewed while it runs, and who is at the other end."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from cryptography import x509
from OpenSSL import SSL, crypto
from twisted.internet.interfaces import (
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
)
from twisted.logger import Logger
from zope.interface import implementer

from filetransfer.errors import CertificateUnusable
from filetransfer.tls.alerts import describe_error
from filetransfer.tls.contexts import believe_only, make_context
from filetransfer.tls.credentials import (
    Credentials,
    read_certificates,
    read_credentials,
)
from filetransfer.tls.layer import LayerFactory
from filetransfer.tls.pins import find_pin, write_pin
from filetransfer.tls.problems import CLIENT, describe_subject, explain_problem, list_names

_ANONYMOUS = "anonymous"
"""What others call a peer that has not said who it is. Source: protocol, section 2, Who."""

_SAID = "certificate verify failed"
"""OpenSSL's last word on a client's certificate; what is wrong with it was said in the log by then."""

_log = Logger()

_Signature = tuple[tuple[int, ...], ...]


@implementer(IOpenSSLServerConnectionCreator)
class ServerTLS:
    """Makes the daemon's side of each connection, with the certificate of the moment.

    A new certificate is for new connections; those that are open go on with what they began with.

    Args:
        certificate: a file of PEM: the certificate, then those that lead to its authority.
        private_key: a file of PEM; None when the key is in the same file.
        client_ca: a file of PEM with the authorities that clients' certificates must come from; None asks for none.
        protocols: what ALPN may choose, best first.

    Raises:
        CertificateUnusable: one of the files cannot be used.
    """

    def __init__(
        self,
        certificate: str,
        private_key: str | None = None,
        client_ca: str | None = None,
        *,
        protocols: Sequence[bytes] = (),
    ) -> None:
        self._certificate = certificate
        self._private_key = private_key
        self._client_ca = client_ca
        self._protocols = tuple(protocols)
        self._signature = self._find_signature()
        self._context, credentials = self._load()
        self._log_warnings(credentials)

    def wrap(self, factory: IProtocolFactory) -> LayerFactory:
        """Give a factory for connections that another's protocols have TLS on."""
        return LayerFactory(self, factory, is_client=False)

    def serverConnectionForTLS(self, layer: Any) -> SSL.Connection:
        """See :class:`IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self._context, None)

    def look(self) -> None:
        """Take a certificate that was renewed, if one of the files has changed since the last look."""
        signature = self._find_signature()
        if signature != self._signature:
            self._signature = signature
            self.reload()

    def reload(self) -> None:
        """Take the files as they are now; if they cannot be used, that is logged, and all stays as it was."""
        try:
            context, credentials = self._load()
            if credentials.is_expired:
                raise CertificateUnusable(f"{self._certificate!r} has expired")
        except CertificateUnusable as error:
            _log.error(
                "TLS: the new certificate is not taken, the old one stays: {reason}",
                reason=str(error),
            )
            return
        self._context = context
        self._log_warnings(credentials)

    def _load(self) -> tuple[SSL.Context, Credentials]:
        context = make_context(SSL.TLS_SERVER_METHOD)
        credentials = read_credentials(self._certificate, self._private_key)
        credentials.install(context)
        if self._client_ca is not None:
            _ask_for_certificates(context, read_certificates(self._client_ca))
        if self._protocols:
            context.set_alpn_select_callback(self._choose_protocol)
        return context, credentials

    def _choose_protocol(self, connection: SSL.Connection, offered: Sequence[bytes]) -> Any:
        for protocol in self._protocols:
            if protocol in offered:
                return protocol
        # Not a failed handshake: they go on as in the clear.
        return SSL.NO_OVERLAPPING_PROTOCOLS

    def _find_signature(self) -> _Signature:
        """Give what differs when one of the files was written, or another took its name."""
        files = (self._certificate, self._private_key, self._client_ca)
        return tuple(_sign(file) for file in files if file is not None)

    def _log_warnings(self, credentials: Credentials) -> None:
        certificate = credentials.certificate
        _log.info(
            "TLS: certificate for {names}, valid until {end}, its key is {pin}",
            names=", ".join(list_names(certificate)) or describe_subject(certificate.subject),
            end=f"{certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC",
            pin=credentials.pin,
        )
        if credentials.is_expired:
            _log.warn(
                "TLS: the certificate has expired: clients refuse it, unless they pin its key"
            )
        if credentials.is_exposed:
            _log.warn(
                "TLS: others on this machine can read the private key, or change it: chmod 600 {file}",
                file=self._private_key or self._certificate,
            )


def identify(transport: Any) -> str:
    """Give the identity of the peer of a connection whose handshake is done; empty when it has shown no certificate.

    It is the common name in the subject of the certificate. Where there is none, or one that could be mistaken for
    another identity, it is the pin of the certificate's key.
    """
    certificate = transport.getPeerCertificate()
    if certificate is None:
        return ""
    found = certificate.to_cryptography()
    return _find_name(found) or write_pin(find_pin(found))


def _find_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    text = names[0].value if len(names) == 1 else ""
    if not isinstance(text, str) or not text.isprintable() or text.strip() != text:
        return ""
    return "" if text == _ANONYMOUS or text.startswith("sha256:") else text


def log_tls_failure(peer: str, error: BaseException | None) -> None:
    """Say in the log, in one line, why a connection over TLS was lost, if TLS was why."""
    if isinstance(error, SSL.Error) and (words := describe_error(error)) != _SAID:
        _log.info("{peer}: TLS failed: {words}", peer=peer, words=words)


def _ask_for_certificates(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    believe_only(context, authorities)
    for authority in authorities:
        context.add_client_ca(authority)
    context.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, _look_at_client)


def _look_at_client(
    connection: SSL.Connection,
    certificate: crypto.X509,
    problem: int,
    depth: int,
    is_fine: int,
) -> bool:
    """Say in the log what is wrong with a client's certificate: OpenSSL's own error does not. Never raises."""
    if problem:
        try:
            words = explain_problem(problem, certificate.to_cryptography(), CLIENT)
        except Exception:  # noqa: BLE001 - whatever a certificate holds, it is the client's fault
            words = "the certificate cannot be read"
        # The layer is there; see filetransfer.tls.layer.
        peer = getattr(connection.get_app_data().wrappedProtocol, "peer", "")
        _log.info("{peer}: TLS failed: {words}", peer=peer, words=words)
    return not problem


def _sign(file: str) -> tuple[int, ...]:
    try:
        found = os.stat(file)
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
