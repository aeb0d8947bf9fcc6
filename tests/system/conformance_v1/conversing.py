"""A client of plain sockets, which knows nothing of the package: octets out, octets in."""

import contextlib
import select
import socket
import struct
from collections.abc import Iterator

from running import DEADLINE_SECONDS

BUFFER_OCTETS = 1 << 20


class Peer:
    """One connection.

    Args:
        port: of the daemon, on loopback.
        is_octetwise: send one octet a segment, else all that there is at once.
        receive_buffer: the kernel's, in octets; None for its default.
    """

    def __init__(
        self, port: int, *, is_octetwise: bool = False, receive_buffer: int | None = None
    ) -> None:
        self._is_octetwise = is_octetwise
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(DEADLINE_SECONDS)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._is_ended = False

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Send octets, and take meanwhile what comes. What the server does not want any more is not sent."""
        unsent = memoryview(octets)
        while unsent and not self._is_ended:
            step = 1 if self._is_octetwise else len(unsent)
            readable, writable, _ = select.select(
                [self._socket], [self._socket], [], DEADLINE_SECONDS
            )
            assert readable or writable, "the server neither reads nor writes"
            if readable:
                self._take()
            elif writable:
                with self._ending_with_the_connection():
                    unsent = unsent[self._socket.send(unsent[:step], socket.MSG_DONTWAIT) :]

    def receive(self, count: int) -> bytes:
        """Wait for so many octets; fewer when the server ends the connection."""
        while len(self._received) < count and not self._is_ended:
            self._take()
        octets = bytes(self._received[:count])
        del self._received[:count]
        return octets

    def receive_once(self) -> bytes:
        """What one recv() returns, as the simplest of clients reads."""
        assert not self._received
        return self._socket.recv(BUFFER_OCTETS)

    def receive_all(self) -> bytes:
        """Wait for the server to end the connection."""
        while not self._is_ended:
            self._take()
        octets = bytes(self._received)
        self._received.clear()
        return octets

    def has_nothing_to_read(self) -> bool:
        """Whether nothing has come."""
        return not self._received and not select.select([self._socket], [], [], 0)[0]

    def half_close(self) -> None:
        """Say that no more octets will come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection as a crash does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _take(self) -> None:
        octets = b""
        with self._ending_with_the_connection():
            octets = self._socket.recv(BUFFER_OCTETS)
        self._received += octets
        self._is_ended = self._is_ended or not octets

    @contextlib.contextmanager
    def _ending_with_the_connection(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionResetError, BrokenPipeError):
            # A server that closes while octets of ours are unread resets the connection: that is its end as well.
            self._is_ended = True


def converse(port: int, octets: bytes, *, is_octetwise: bool = False) -> bytes:
    """Send all, half-close, and give all that the server says until it closes."""
    with Peer(port, is_octetwise=is_octetwise) as peer:
        peer.send(octets)
        peer.half_close()
        return peer.receive_all()


# The octets of requests and responses.


def put(name: bytes, body: bytes) -> bytes:
    return bytes([len(name)]) + name + len(body).to_bytes(4, "big") + body


def get(name: bytes) -> bytes:
    return bytes([0x20 | len(name)]) + name


def change(old: bytes, new: bytes) -> bytes:
    return bytes([0x40 | len(old)]) + old + bytes([len(new)]) + new


def summary(name: bytes) -> bytes:
    return bytes([0x60 | len(name)]) + name


HELP = b"\x80"

DONE = b"\x00"
NOT_FOUND = b"\x60"
UNKNOWN = b"\x80"
REFUSED = b"\xa0"
HELP_TEXT = b"\xdfbye change get help put summary"


def content(name: bytes, body: bytes) -> bytes:
    return bytes([0x20 | len(name)]) + name + len(body).to_bytes(4, "big") + body


def statistics(text: bytes) -> bytes:
    return b"\x4bsummary.txt" + len(text).to_bytes(4, "big") + text
