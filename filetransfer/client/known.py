"""The servers that were reached over TLS before.

A file of text that people may edit, one line a server, and only ever added to::

    nas.example:9001 sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=
    files.example:9001 -

The first has a key that was believed when it was first used. The second was believed for another reason; it is here so
that nobody speaks to that host in the clear without being told to. Of several lines of one server the first with a pin
counts: what is added later cannot take its place.

A key belongs to a host and a port. That TLS was spoken counts for the host: the same server in the clear is on another
port (9000 for 9001), and so is whoever wants to be taken for it. Browsers remember in the same way (RFC 6797, section
8.3). But on loopback nobody is in between, and each port may be a tunnel to a host of its own.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_FILE = "servers"
_NO_PIN = "-"
_LOOPBACK = re.compile(r"localhost|127\.\d+\.\d+\.\d+|\[::1\]")


class KnownServers:
    """Those of one user.

    Args:
        directory: where they are kept; it is made when there is something to keep.

    Attributes:
        file: they are in.
    """

    def __init__(self, directory: Path) -> None:
        self.file = directory / _FILE

    def find_pin(self, host: str, port: int) -> bytes | None:
        """Give the pin of a server's key, if there is one. Raises OSError when the file cannot be read."""
        from filetransfer.tls.pins import read_pin

        server = _name_server(host, port)
        for known, pin in self._list_lines():
            if known == server and pin != _NO_PIN:
                try:
                    return read_pin(pin)
                except ValueError:
                    # A line that is spoilt must not let anybody else in.
                    return b""
        return None

    def forbids_clear(self, host: str, port: int) -> bool:
        """Tell whether a server must not be spoken to in the clear, as its host was reached over TLS on any port.

        On loopback, as it was on this port. Raises OSError when the file cannot be read.
        """
        server, host = _name_server(host, port), _name_host(host)
        if _LOOPBACK.fullmatch(host):
            return any(known == server for known, _ in self._list_lines())
        return any(known.rpartition(":")[0] == host for known, _ in self._list_lines())

    def remember(self, host: str, port: int, pin: bytes | None = None) -> None:
        """Add a server, unless it is there. Raises OSError."""
        from filetransfer.tls.pins import write_pin

        server = _name_server(host, port)
        line = f"{server} {_NO_PIN if pin is None else write_pin(pin)}\n"
        if any(
            known == server and (pin is None or old != _NO_PIN) for known, old in self._list_lines()
        ):
            return
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One write at the end of the file: two clients at once add two lines.
        descriptor = os.open(
            self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600
        )
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def _list_lines(self) -> Iterator[tuple[str, str]]:
        try:
            text = self.file.read_text(errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return
        for line in text.splitlines():
            words = line.split()
            if len(words) > 1 and not words[0].startswith("#"):
                yield words[0], words[1]


def find_state_directory() -> Path:
    """Give the directory of what ``ft-client`` keeps between its runs. Source: the XDG base directory specification."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "ft-client"


def _name_server(host: str, port: int) -> str:
    return f"{_name_host(host)}:{port}"


def _name_host(host: str) -> str:
    host = host.lower().removesuffix(".")
    return f"[{host}]" if ":" in host else host
