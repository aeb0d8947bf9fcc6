"""HTTP/1.1, as much of it as a file server needs."""

from __future__ import annotations

import re
import socket

from benchmarks.processes import Failed
from benchmarks.wires.wire import Wire, receive_exactly

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class HttpWire(Wire):
    """One connection of HTTP/1.1."""

    def begin_get(self, name: str) -> tuple[int, int]:
        self.socket.sendall(self.make_get(name))
        return self.socket.fileno(), _read_length(self._read_head())

    def begin_put(self, name: str, size: int) -> int:
        self.socket.sendall(_put_head(name, size))
        return self.socket.fileno()

    def end_put(self) -> None:
        head = self._read_head()
        receive_exactly(self.socket, _read_length(head))

    def make_get(self, name: str) -> bytes:
        return f"GET /{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

    def make_put(self, name: str, body: bytes) -> bytes:
        return _put_head(name, len(body)) + body

    def read_response(self, request: bytes) -> bytes:
        head = self._read_head()
        return head + receive_exactly(self.socket, _read_length(head))

    def receive_head(self) -> bytes:
        """Receive the head of a response, and nothing of the body."""
        # Looked at before it is taken: the body behind it belongs to the load.
        seen = b""
        while (end := seen.find(b"\r\n\r\n")) < 0:
            wanted = len(seen) + 1
            seen = self.socket.recv(65536, socket.MSG_PEEK)
            if len(seen) < wanted:
                raise ConnectionError(f"the server answered {seen!r}")
        return receive_exactly(self.socket, end + 4)

    def _read_head(self) -> bytes:
        head = self.receive_head()
        if not head.startswith(b"HTTP/1.1 2"):
            raise Failed(f"the answer is {head!r}")
        return head


def _put_head(name: str, size: int) -> bytes:
    return f"PUT /{name} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n".encode()


def _read_length(head: bytes) -> int:
    if b" 204 " in head[:16]:
        return 0
    found = _LENGTH.search(head)
    if found is None:
        raise Failed(f"no Content-Length in {head!r}")
    return int(found[1])
