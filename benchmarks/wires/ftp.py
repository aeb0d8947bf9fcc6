"""FTP in passive mode: one connection to talk, one more for each body."""

from __future__ import annotations

import re
import socket

from benchmarks.processes import Failed
from benchmarks.wires.wire import Wire, open_socket

USER, PASSWORD = "anonymous", "benchmark@localhost"

_PORT = re.compile(rb"(\d+),(\d+)\)")


class FtpWire(Wire):
    """One FTP session, logged in, binary."""

    can_keep_alive = False

    def __init__(self, port: int, user: str = USER, password: str = PASSWORD) -> None:
        super().__init__(port)
        self._lines = b""
        self._body: socket.socket | None = None
        self._expect(b"220")
        self._say("USER", user)
        self._expect(b"230", b"331")
        self._say("PASS", password)
        self._expect(b"230")
        self._say("TYPE", "I")
        self._expect(b"200")

    def begin_get(self, name: str) -> tuple[int, int]:
        return self._begin("RETR", name), -1

    def end_get(self) -> None:
        self._end()

    def begin_put(self, name: str, size: int) -> int:
        return self._begin("STOR", name)

    def end_put(self) -> None:
        self._end()

    def _begin(self, command: str, name: str) -> int:
        self._say("PASV")
        found = _PORT.search(self._expect(b"227"))
        if found is None:
            raise Failed("the answer to PASV names no port")
        source: str = self.socket.getsockname()[0]
        self._body = open_socket(int(found[1]) * 256 + int(found[2]), source)
        self._say(command, name)
        self._expect(b"150", b"125")
        return self._body.fileno()

    def _end(self) -> None:
        if self._body is not None:
            self._body.close()
            self._body = None
        self._expect(b"226")

    def _say(self, *words: str) -> None:
        self.socket.sendall(" ".join(words).encode() + b"\r\n")

    def _expect(self, *codes: bytes) -> bytes:
        """Read one reply, of several lines perhaps."""
        while True:
            while b"\n" not in self._lines:
                more = self.socket.recv(4096)
                if not more:
                    raise ConnectionError(f"the server closed the connection after {self._lines!r}")
                self._lines += more
            line, _, self._lines = self._lines.partition(b"\n")
            if line[:3].isdigit() and line[3:4] != b"-":
                break
        if line[:3] not in codes:
            raise Failed(f"the answer is {line!r}")
        return line
