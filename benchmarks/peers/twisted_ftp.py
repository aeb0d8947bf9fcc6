"""twisted.protocols.ftp, the file server that comes with Twisted (programs/twisted_ftp_server.py)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import PROGRAMS, Peer
from benchmarks.wires.ftp import FtpWire

_USER, _PASSWORD = "benchmark", "benchmark"


class TwistedFtpPeer(Peer):
    """One user who may write."""

    name = "twisted.protocols.ftp"
    modules = ("twisted",)

    def list_arguments(self) -> Sequence[str | Path]:
        program = PROGRAMS / "twisted_ftp_server.py"
        return [sys.executable, program, str(self.port), self.root, _USER, _PASSWORD]

    def open_wire(self) -> FtpWire:
        return FtpWire(self.port, _USER, _PASSWORD)
