"""The rsync daemon, and rsync."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Command, CommandPeer, require_program
from benchmarks.wires.wire import Wire

_SETTINGS = """\
port = {port}
address = 127.0.0.1
use chroot = no
{user}
[files]
    path = {root}
    read only = no
"""


class RsyncPeer(CommandPeer):
    """Whole files, without compression: the best it can do where nothing is there yet."""

    name = "rsync daemon"
    package = "rsync"
    programs = ("rsync",)
    has_process_for_each = True
    tool = "rsync"
    batch_tool = "rsync -r"

    def list_arguments(self) -> Sequence[str | Path]:
        settings = self.scratch / "rsyncd.conf"
        user = "uid = 0\ngid = 0" if os.geteuid() == 0 else ""
        settings.write_text(_SETTINGS.format(port=self.port, root=self.root, user=user))
        return [require_program("rsync"), "--daemon", "--no-detach", f"--config={settings}"]

    def open_wire(self) -> Wire:
        raise NotImplementedError("rsync is measured by its own commands only")

    def fetch_one(self, name: str, destination: Path) -> Command:
        return self._rsync(f"{self._url}/{name}", destination)

    def store_one(self, source: Path, name: str) -> Command:
        return self._rsync(source, f"{self._url}/{name}")

    def fetch_many(self, names: Sequence[str], destination: Path) -> Command:
        return self._rsync("--recursive", f"{self._url}/", destination)

    def store_many(self, source: Path, names: Sequence[str]) -> Command:
        return self._rsync("--recursive", f"{source}/", f"{self._url}/")

    def _rsync(self, *words: str | Path) -> Command:
        return Command(["rsync", "--whole-file", *words])

    @property
    def _url(self) -> str:
        return f"rsync://127.0.0.1:{self.port}/files"
