"""Runs ft-client at a terminal that the test holds the other end of."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

from programs import COMMAND, DEADLINE_SECONDS, make_environment

# So that Ctrl-C at this terminal reaches it.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios;"
    "fcntl.ioctl(0, termios.TIOCSCTTY, 0);"
    "os.execv(sys.argv[1], sys.argv[1:])"
)


class Screen:
    """A terminal with ft-client at it.

    Attributes:
        process: ft-client.
        text: all that it wrote, without what moves the cursor and sets colours.
    """

    def __init__(self, process: subprocess.Popen[bytes], descriptor: int) -> None:
        self.process = process
        self._descriptor = descriptor
        self._octets = b""
        self._seen = 0

    @property
    def text(self) -> str:
        text = self._octets.decode(errors="replace")
        return re.sub(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|[=>]|\][^\x07]*\x07)", "", text)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._descriptor, text.encode())

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until what was written since the last match holds this."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while True:
            found = re.compile(pattern).search(self.text, self._seen)
            if found:
                self._seen = found.end()
                return found
            assert self._read(deadline), f"{pattern} is not in {self.text[self._seen :]!r}"

    def wait_for_end(self) -> int:
        """Give the exit status."""
        deadline = time.monotonic() + DEADLINE_SECONDS
        while self._read(deadline):
            pass
        return self.process.wait(DEADLINE_SECONDS)

    def _read(self, deadline: float) -> bool:
        ready, _, _ = select.select([self._descriptor], [], [], max(deadline - time.monotonic(), 0))
        if not ready:
            return False
        try:
            octets = os.read(self._descriptor, 65536)
        except OSError:
            # How Linux says that nobody has the other end open any more.
            return False
        self._octets += octets
        return bool(octets)


@contextlib.contextmanager
def open_screen(
    *arguments: str, cwd: Path, columns: int = 100, **variables: str
) -> Iterator[Screen]:
    """Start ft-client at a terminal."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", _TAKE_TERMINAL, *COMMAND, *arguments],
        cwd=cwd,
        env=make_environment(
            TERM="xterm",
            # Nobody here answers where the cursor is.
            PROMPT_TOOLKIT_NO_CPR="1",
            XDG_STATE_HOME=str(cwd / ".state"),
            **variables,
        ),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    try:
        yield Screen(process, ours)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
