"""OpenSSH: sshd with its sftp server, and sftp. What it moves is encrypted."""

from __future__ import annotations

import getpass
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Command, CommandPeer, require_program
from benchmarks.wires.wire import Wire

_SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {scratch}/host_key
AuthorizedKeysFile {scratch}/key.pub
PidFile none
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
Subsystem sftp internal-sftp -d {root}
"""


class OpensshPeer(CommandPeer):
    """sshd with keys of its own, made when it begins."""

    name = "OpenSSH sftp"
    package = "openssh-server"
    programs = ("sshd", "sftp", "ssh-keygen")
    has_process_for_each = True
    tool = "sftp"
    batch_tool = "sftp -b"

    def list_arguments(self) -> Sequence[str | Path]:
        for name in ("host_key", "key"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.scratch / name],
                check=True,
            )
        settings = self.scratch / "sshd_config"
        settings.write_text(_SETTINGS.format(port=self.port, scratch=self.scratch, root=self.root))
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        return [require_program("sshd"), "-D", "-e", "-f", settings]

    def open_wire(self) -> Wire:
        raise NotImplementedError("sftp is measured by its own commands only")

    def fetch_one(self, name: str, destination: Path) -> Command:
        return self._sftp(f"get {self.root}/{name} {destination}")

    def store_one(self, source: Path, name: str) -> Command:
        return self._sftp(f"put {source} {self.root}/{name}")

    def fetch_many(self, names: Sequence[str], destination: Path) -> Command:
        return self._sftp(f"get {self.root}/* {destination}/")

    def store_many(self, source: Path, names: Sequence[str]) -> Command:
        return self._sftp(f"put {source}/* {self.root}/")

    def _sftp(self, words: str) -> Command:
        batch = self.scratch / f"batch-{words.split(maxsplit=1)[0]}"
        batch.write_text(words + "\n")
        options: list[str | Path] = [
            *("-i", self.scratch / "key"),
            *("-o", "StrictHostKeyChecking=no"),
            *("-o", "UserKnownHostsFile=/dev/null"),
            *("-o", "LogLevel=ERROR"),
        ]
        where = f"sftp://{getpass.getuser()}@127.0.0.1:{self.port}"
        return Command(["sftp", "-q", "-F", "none", "-b", batch, *options, where])
