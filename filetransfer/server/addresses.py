"""Peers' addresses: as people read them, and as they are counted."""

from __future__ import annotations

import ipaddress
import os

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

NOWHERE = ""
"""The group of those who have no address: peers on a local socket."""


def describe_address(address: object) -> str:
    """Give an address as a person writes it: ``127.0.0.1:9000``, ``[::1]:9000``, or a socket's path."""
    match address:
        case IPv4Address():
            return f"{address.host}:{address.port}"
        case IPv6Address():
            return f"[{address.host}]:{address.port}"
        case UNIXAddress():
            return f"unix:{os.fsdecode(address.name or b'')!r}"
    return str(address)


def group_address(address: object) -> str:
    """Give whom a peer is counted with: its IPv4 address, or its IPv6 network of 64 bits, which is one customer's.

    An IPv4 address that came through an IPv6 socket is an IPv4 address: else all of them would be one network.

    Returns:
        :data:`NOWHERE` for a peer without an address, who is counted with nobody.
    """
    if isinstance(address, IPv4Address):
        return str(address.host)
    if not isinstance(address, IPv6Address):
        return NOWHERE
    whole = ipaddress.IPv6Address(address.host.partition("%")[0])
    if whole.ipv4_mapped is not None:
        return str(whole.ipv4_mapped)
    return f"{ipaddress.IPv6Network((int(whole) >> 64 << 64, 64))}"
