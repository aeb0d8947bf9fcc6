"""The same protocols over TLS.

The load in C knows no TLS: the client is Python's ``ssl``, which leaves Python for each record that it encrypts or
decrypts. For every server it is the same, and it has a processor to itself.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

from benchmarks.processes import Failed
from benchmarks.wires.http import HttpWire
from benchmarks.wires.version1 import Version1Wire

PIECE_OCTETS = 1 << 20


def receive(source: socket.socket, count: int) -> Iterator[memoryview]:
    """Read ``count`` octets; each piece is good until the next one is asked for."""
    buffer = memoryview(bytearray(PIECE_OCTETS))
    while count:
        got = source.recv_into(buffer, min(PIECE_OCTETS, count))
        if not got:
            raise Failed(f"the server closed the connection {count} octets early")
        count -= got
        yield buffer[:got]


def encrypt(connected: socket.socket) -> ssl.SSLSocket:
    """Speak TLS on a connection, to whoever is at the other end."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(connected)


class Version1TlsWire(Version1Wire):
    """One connection of version 1 over TLS."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.socket = encrypt(self.socket)


class HttpsWire(HttpWire):
    """One connection of HTTP/1.1 over TLS."""

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self.socket = encrypt(self.socket)

    def receive_head(self) -> bytes:
        # TLS lets nobody look before he takes.
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            octet = self.socket.recv(1)
            if not octet:
                raise ConnectionError(f"the server answered {head!r}")
            head += octet
        return head
