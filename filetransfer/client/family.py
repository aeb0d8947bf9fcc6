"""Connecting to addresses of one family only: IPv4, or IPv6."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import directlyProvides, implementer, providedBy

Family = Literal[4, 6]
"""That of IPv4 addresses, or that of IPv6 addresses."""

_ADDRESSES = {4: IPv4Address, 6: IPv6Address}


@implementer(IHostnameResolver)
class _Resolver:
    """Finds the addresses of one family only.

    Args:
        resolver: finds all of them.
        family: of which they are.
    """

    def __init__(self, resolver: Any, family: Family) -> None:
        self._resolver = resolver
        self._address = _ADDRESSES[family]

    def resolveHostName(  # noqa: N802
        self,
        resolutionReceiver: IResolutionReceiver,  # noqa: N803 - Twisted's names
        hostName: str,  # noqa: N803
        portNumber: int = 0,  # noqa: N803
        addressTypes: Sequence[type[IAddress]] | None = None,  # noqa: N803
        transportSemantics: str = "TCP",  # noqa: N803
    ) -> IHostResolution:
        """See :class:`twisted.internet.interfaces.IHostnameResolver`."""
        found: IHostResolution = self._resolver.resolveHostName(
            resolutionReceiver, hostName, portNumber, [self._address], transportSemantics
        )
        return found


class OneFamily:
    """A reactor, for an endpoint that is to find the addresses of one family only.

    Args:
        reactor: does everything else.
        family: of which they are.
    """

    def __init__(self, reactor: Any, family: Family) -> None:
        directlyProvides(self, providedBy(reactor))
        self.nameResolver = _Resolver(reactor.nameResolver, family)
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)
