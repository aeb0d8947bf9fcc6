"""A blocking client that speaks version 1, one request at a time."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from daemons import DaemonProcess
from uploads import encode_change, encode_put

DONE, REFUSED = b"\0", b"\xa0"


@dataclass
class Client:
    """A connection on which things are asked one at a time."""

    connection: socket.socket

    def put(self, name: str, octets: bytes) -> bytes:
        """Give the answer, one octet."""
        return self._ask(encode_put(name, octets))

    def change(self, name: str, to: str) -> bytes:
        return self._ask(encode_change(name, to))

    def get(self, name: str) -> bytes:
        """Give what is in the file."""
        self.begin_get(name)
        return self.end_get(name)

    def begin_get(self, name: str) -> None:
        self.connection.sendall(bytes([0x20 | len(name)]) + name.encode())

    def end_get(self, name: str) -> bytes:
        head = self._receive(1 + len(name) + 4)
        assert head[0] == 0x20 | len(name), head
        return self._receive(int.from_bytes(head[-4:]))

    def ask_help(self) -> bytes:
        """Give the text."""
        self.connection.sendall(b"\x80")
        return self._receive(self._receive(1)[0] & 0x1F)

    def hear(self) -> bytes:
        """Give one octet."""
        return self._receive(1)

    def _ask(self, octets: bytes) -> bytes:
        self.connection.sendall(octets)
        return self.hear()

    def _receive(self, count: int) -> bytes:
        octets = b""
        while len(octets) < count:
            more = self.connection.recv(count - len(octets))
            assert more, "the connection was cut"
            octets += more
        return octets


@contextmanager
def connect(daemon: DaemonProcess) -> Iterator[Client]:
    with socket.create_connection(daemon.address, timeout=60) as connection:
        yield Client(connection)
