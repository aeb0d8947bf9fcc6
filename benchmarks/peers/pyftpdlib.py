"""pyftpdlib, an FTP server in Python (programs/pyftpdlib_server.py)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import PROGRAMS, Peer
from benchmarks.wires.ftp import FtpWire


class PyftpdlibPeer(Peer):
    """Its asynchronous server, which uses sendfile."""

    name = "pyftpdlib"
    package = "pyftpdlib from PyPI"
    modules = ("pyftpdlib",)

    def list_arguments(self) -> Sequence[str | Path]:
        return [sys.executable, PROGRAMS / "pyftpdlib_server.py", str(self.port), self.root]

    def open_wire(self) -> FtpWire:
        return FtpWire(self.port)
