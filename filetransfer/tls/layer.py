"""TLS as a layer between a transport of Twisted's and a protocol."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import (
    IAddress,
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

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make the protocols of a connection; None, which closes it, when the wrapped factory does not want it."""
        wrapped = self.wrappedFactory.buildProtocol(addr)
        return None if wrapped is None else Layer(self, wrapped)  # type: ignore[no-untyped-call]
