"""TLS as a layer between a transport of Twisted's and a protocol."""

from __future__ import annotations

from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLServerConnectionCreator,
    IProtocolFactory,
    IReactorTime,
)
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol


class Layer(TLSMemoryBIOProtocol):
    """TLS on one connection."""


class LayerFactory(TLSMemoryBIOFactory):
    """Puts TLS below the protocols of another factory.

    Args:
        creator: makes OpenSSL's side of each connection.
        wrapped: makes the protocols.
        clock: Twisted's.
        is_client: whether this end begins.
    """

    protocol = Layer

    def __init__(
        self,
        creator: IOpenSSLClientConnectionCreator | IOpenSSLServerConnectionCreator,
        wrapped: IProtocolFactory,
        clock: IReactorTime,
        *,
        is_client: bool,
    ) -> None:
        super().__init__(creator, is_client, wrapped, clock)
