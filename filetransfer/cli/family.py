"""``-4`` and ``-6``: one family of internet addresses."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer

_ADDRESSES = {4: IPv4Address, 6: IPv6Address}


@implementer(IHostnameResolver)
class OneFamily:
    """Finds the addresses of one family only.

    Args:
        resolver: finds all of them.
        family: 4 or 6.
    """

    def __init__(self, resolver: Any, family: int) -> None:
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


def use_family(reactor: Any, family: int) -> None:
    """Let a reactor find the addresses of one family only. ``family``: 4 or 6."""
    reactor.installNameResolver(OneFamily(reactor.nameResolver, family))
