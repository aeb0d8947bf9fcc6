"""vsftpd, with curl for one file and lftp for many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Command, CommandPeer, require_program
from benchmarks.wires.ftp import FtpWire

_SETTINGS = """\
listen=YES
listen_address=127.0.0.1
listen_port={port}
background=NO
run_as_launching_user=YES
anonymous_enable=YES
anon_root={root}
no_anon_password=YES
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_umask=022
allow_writeable_chroot=YES
port_enable=NO
seccomp_sandbox=NO
xferlog_enable=NO
"""


class VsftpdPeer(CommandPeer):
    """Anonymous, allowed to write; a process for each session."""

    name = "vsftpd"
    package = "vsftpd"
    programs = ("vsftpd",)
    has_process_for_each = True
    tool = "curl"
    batch_tool = "lftp mirror -P8"
    tool_programs = ("curl", "lftp")

    def list_arguments(self) -> Sequence[str | Path]:
        settings = self.scratch / "vsftpd.conf"
        settings.write_text(_SETTINGS.format(port=self.port, root=self.root))
        return [require_program("vsftpd"), settings]

    def open_wire(self) -> FtpWire:
        return FtpWire(self.port)

    def fetch_one(self, name: str, destination: Path) -> Command:
        return Command(
            ["curl", "--silent", "--show-error", "-o", destination, f"{self._url}/{name}"]
        )

    def store_one(self, source: Path, name: str) -> Command:
        return Command(["curl", "--silent", "--show-error", "-T", source, f"{self._url}/{name}"])

    def fetch_many(self, names: Sequence[str], destination: Path) -> Command:
        return self._mirror(f"mirror -P8 --no-perms . {destination}")

    def store_many(self, source: Path, names: Sequence[str]) -> Command:
        return self._mirror(f"mirror -R -P8 --no-perms {source} .")

    def _mirror(self, words: str) -> Command:
        settings = "set ftp:use-mdtm no; set ftp:sync-mode no; set cmd:fail-exit yes"
        return Command(["lftp", "-c", f"{settings}; open {self._url}; {words}"])

    @property
    def _url(self) -> str:
        return f"ftp://127.0.0.1:{self.port}"
