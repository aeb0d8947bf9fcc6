"""Where a session connects to, and what stands between it and the network: TLS, and a limit of the rate."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from filetransfer.wire.connection import ALPN

if TYPE_CHECKING:
    from filetransfer.client.family import Family
    from filetransfer.client.trust import Trust

# RFC 8305 advises 0.25 s between the addresses of one name and allows 0.01; "localhost" is often two, of which one
# refuses, and the endpoint waits out the delay even then.
_ATTEMPT_DELAY_SECONDS = 0.05


def name_server(host: str, port: int) -> str:
    """Give what to call a server in messages."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def find_host(
    reactor: Any, host: str, port: int, family: Family | None, timeout_seconds: float
) -> IStreamClientEndpoint:
    """Give the endpoint of a host, whose addresses are of a family if one is said."""
    if family is not None:
        from filetransfer.client.family import OneFamily

        reactor = OneFamily(reactor, family)
    return HostnameEndpoint(
        reactor, host, port, timeout=timeout_seconds, attemptDelay=_ATTEMPT_DELAY_SECONDS
    )


def limit_rate(
    endpoint: IStreamClientEndpoint, max_rate: int | None, reactor: Any
) -> IStreamClientEndpoint:
    """Limit what moves to so many octets a second; None: not at all."""
    if max_rate is None:
        return endpoint
    from filetransfer.client.throttle import ThrottledEndpoint

    return ThrottledEndpoint(endpoint, max_rate, reactor)


def secure(
    endpoint: IStreamClientEndpoint,
    host: str,
    port: int,
    tls: Trust | None,
    versions: Collection[int],
) -> IStreamClientEndpoint:
    """Speak TLS there, and say which versions of the protocol will do; None: speak in the clear.

    Raises:
        CertificateUnusable, LocalProtocolError: what ``tls`` says cannot be used.
    """
    if tls is None:
        return endpoint
    from filetransfer.client.trust import TrustingEndpoint

    protocols = [ALPN] if 2 in versions else []
    return TrustingEndpoint(endpoint, host, port, tls, protocols=protocols)
