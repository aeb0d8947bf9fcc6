"""filetransfer itself: ``twistd filetransfer`` and ``ft-client``."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.peers.peer import REPOSITORY, Command, CommandPeer, make_certificate
from benchmarks.wires.tls import Version1TlsWire
from benchmarks.wires.version1 import Version1Wire

_ENVIRONMENT = {
    "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")]).rstrip(":")
}


class FileTransferPeer(CommandPeer):
    """The daemon of this tree, without fsyncs: the peers make none either."""

    name = "filetransfer"
    tool = "ft-client"
    batch_tool = "ft-client put -r, get -r"
    durability = "none"

    def list_arguments(self) -> Sequence[str | Path]:
        return [
            sys.executable,
            "-c",
            "from twisted.scripts.twistd import run; run()",
            "--nodaemon",
            "--pidfile=",
            "filetransfer",
            *self.list_listening(),
            "--interface=127.0.0.1",
            f"--root={self.root}",
            f"--durability={self.durability}",
            # All of the load comes from one address.
            "--max-connections-per-address=100000",
        ]

    def list_listening(self) -> Sequence[str]:
        """Give the options that say where it listens."""
        return [f"--port={self.port}"]

    def list_environment(self) -> Mapping[str, str]:
        return _ENVIRONMENT

    def open_wire(self) -> Version1Wire:
        return Version1Wire(self.port)

    def fetch_one(self, name: str, destination: Path) -> Command:
        return self._run("get", f"--durability={self.durability}", name, "--output", destination)

    def store_one(self, source: Path, name: str) -> Command:
        return self._run("put", source, "--as", name)

    def fetch_many(self, names: Sequence[str], destination: Path) -> Command:
        return self._run(
            "get", "-r", f"--durability={self.durability}", "--output", destination, ""
        )

    def store_many(self, source: Path, names: Sequence[str]) -> Command:
        return self._run("put", "-r", ".", directory=source)

    def show_version(self) -> Command:
        """Do the least that the client can do."""
        return self._run("--version")

    def _run(self, *words: str | Path, directory: Path | None = None) -> Command:
        server = f"--server=127.0.0.1:{self.port}"
        return Command(
            [sys.executable, "-m", "filetransfer.cli", server, *words], directory, _ENVIRONMENT
        )


class DurableFileTransferPeer(FileTransferPeer):
    """The daemon as it is by default: an answer means that the file is on disk. The client fsyncs, too."""

    name = "filetransfer, durable"
    durability = "full"


class FileTransferTlsPeer(FileTransferPeer):
    """The daemon over TLS."""

    def list_listening(self) -> Sequence[str]:
        certificate, key = make_certificate(self.scratch)
        return [f"--tls-port={self.port}", f"--certificate={certificate}", f"--private-key={key}"]

    def open_wire(self) -> Version1TlsWire:
        return Version1TlsWire(self.port)
