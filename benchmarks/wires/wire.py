"""What every wire can do."""

from __future__ import annotations

import itertools
import socket
from abc import ABC, abstractmethod

RECEIVE_SECONDS = 60.0

_sources = itertools.count()


def open_socket(port: int, source: str | None = None) -> socket.socket:
    """Connect over loopback, from the address ``source``.

    A server may allow each address only so many connections: each comes from one of a hundred, if none is named.
    """
    opened = socket.socket()
    opened.setsockopt(
        socket.IPPROTO_IP, 24, 1
    )  # IP_BIND_ADDRESS_NO_PORT: the port is chosen by connect
    opened.bind((source or f"127.0.1.{next(_sources) % 100 + 1}", 0))
    opened.connect(("127.0.0.1", port))
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # For a server that never answers; the kernel's own time-out leaves the socket blocking for the load.
    opened.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVTIMEO, int(RECEIVE_SECONDS).to_bytes(8, "little") + bytes(8)
    )
    return opened


def receive_exactly(source: socket.socket, count: int) -> bytes:
    """Read ``count`` octets; raises ConnectionError when there are fewer."""
    octets = b""
    while len(octets) < count:
        more = source.recv(count - len(octets))
        if not more:
            raise ConnectionError(f"the server closed the connection after {octets!r}")
        octets += more
    return octets


class Wire(ABC):
    """One connection to a server, ready for its first request.

    Args:
        port: on 127.0.0.1.
    """

    can_keep_alive = True
    """Whether a connection carries request after request, so that small ones can be measured on it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = open_socket(port)

    @abstractmethod
    def begin_get(self, name: str) -> tuple[int, int]:
        """Ask for a file and read up to its body; gives the socket of the body and its size (-1: to the end)."""

    def end_get(self) -> None:  # noqa: B027 - most wires have nothing after a body
        """Read what comes after the body."""

    @abstractmethod
    def begin_put(self, name: str, size: int) -> int:
        """Announce a file; gives the socket that its body is to be sent to."""

    @abstractmethod
    def end_put(self) -> None:
        """End the body and wait until the server says that the file is stored."""

    def make_get(self, name: str) -> bytes:
        """Give the octets that ask for a file, for wires that keep connections alive."""
        raise NotImplementedError

    def make_put(self, name: str, body: bytes) -> bytes:
        """Give the octets that store a small file, for wires that keep connections alive."""
        raise NotImplementedError

    def measure_response(self, request: bytes) -> int:
        """Send a request for the first time and give the length of its response, in octets."""
        self.socket.sendall(request)
        return len(self.read_response(request))

    def read_response(self, request: bytes) -> bytes:
        """Read the whole response to a request that was sent."""
        raise NotImplementedError

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()
