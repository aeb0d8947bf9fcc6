"""Version 1 of our protocol."""

from __future__ import annotations

import struct

from benchmarks.processes import Failed
from benchmarks.wires.wire import Wire, receive_exactly

_GET, _SUMMARY = 1, 3


class Version1Wire(Wire):
    """One connection of version 1."""

    def begin_get(self, name: str) -> tuple[int, int]:
        self.socket.sendall(self.make_get(name))
        return self.socket.fileno(), self._read_head(1)

    def begin_put(self, name: str, size: int) -> int:
        self.socket.sendall(_head(0, name) + struct.pack("!I", size))
        return self.socket.fileno()

    def end_put(self) -> None:
        answer = receive_exactly(self.socket, 1)
        if answer != b"\0":
            raise Failed(f"PUT was answered {answer!r}")

    def make_get(self, name: str) -> bytes:
        return _head(_GET, name)

    def make_put(self, name: str, body: bytes) -> bytes:
        return _head(0, name) + struct.pack("!I", len(body)) + body

    def read_response(self, request: bytes) -> bytes:
        if request[0] >> 5 == 0:
            self.end_put()
            return b"\0"
        header = receive_exactly(self.socket, 1)
        if header[0] >> 5 != 1:
            raise Failed(f"GET was answered {header!r}")
        rest = receive_exactly(self.socket, (header[0] & 31) + 4)
        (size,) = struct.unpack("!I", rest[-4:])
        return header + rest + receive_exactly(self.socket, size)

    def ask_summary(self, name: str, *, is_bare: bool) -> str:
        """Ask for a summary and give its text; ``is_bare``: as the article's server answers."""
        self.socket.sendall(_head(_SUMMARY, name))
        if is_bare:
            text = b""
            while text.count(b"\n") < 3:
                text += receive_exactly(self.socket, 1)
            return text.decode()
        return receive_exactly(self.socket, self._read_head(2)).decode()

    def _read_head(self, code: int) -> int:
        header = receive_exactly(self.socket, 1)[0]
        if header >> 5 != code:
            raise Failed(f"the answer is {header:#x}")
        size: int = struct.unpack("!I", receive_exactly(self.socket, (header & 31) + 4)[-4:])[0]
        return size


def _head(code: int, name: str) -> bytes:
    octets = name.encode()
    return bytes([code << 5 | len(octets)]) + octets
