"""The daemon as a process of its own, as it is or with a broken recipe."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PROJECT = Path(__file__).parents[2]
_LISTENING = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")


class DaemonProcess:
    """A running daemon.

    Args:
        root: the served directory.
        options: more options of the daemon.
        recipe: ``whole``, or one of those that ``broken_recipe.py`` knows.

    Attributes:
        address: where it listens.
        process: it.
    """

    def __init__(self, root: Path, *options: str, recipe: str = "whole") -> None:
        # Coverage of what is killed would be lost, and would slow all of it down.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
        environment["PYTHONPATH"] = str(_PROJECT)
        program = Path(__file__).with_name("broken_recipe.py")
        self.process = subprocess.Popen(
            [
                *(sys.executable, str(program), recipe, "--nodaemon", "--pidfile="),
                *("filetransfer", "--port", "0", "--root", str(root), *options),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=root.parent,
        )
        self._lines: list[bytes] = []
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        try:
            self.address = ("127.0.0.1", self._read_port())
        except BaseException:
            self.kill()
            raise
        self._reader.start()

    @property
    def log(self) -> str:
        """What it has written so far."""
        return b"".join(self._lines).decode()

    def list_descriptors(self) -> list[str]:
        """Give what it has open."""
        paths = []
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            # One may be closed while they are listed.
            with suppress(FileNotFoundError):
                paths.append(os.readlink(link))
        return sorted(paths)

    def count_descriptors(self) -> int:
        """Give how many it has open, but for the pipe that each thread may keep."""
        descriptors = self.list_descriptors()
        pipes = sum(descriptor.startswith("pipe:") for descriptor in descriptors)
        threads = len(os.listdir(f"/proc/{self.process.pid}/task"))
        # One pipe more wakes the reactor.
        return len(descriptors) - pipes + max(pipes - 2 * (threads + 1), 0)

    def kill(self) -> None:
        """End it at once, by SIGKILL, and wait until it is gone."""
        self.process.kill()
        self._end()

    def stop(self) -> None:
        """End it as a service manager does."""
        self.process.send_signal(signal.SIGTERM)
        self._end()

    def _end(self) -> None:
        self.process.wait()
        if self._reader.ident is not None:
            self._reader.join()
        self.process.stdout.close()

    def _read_port(self) -> int:
        for line in self.process.stdout:
            self._lines.append(line)
            if match := _LISTENING.search(line):
                return int(match[1])
        raise AssertionError(f"the daemon did not start:\n{self.log}")

    def _read_log(self) -> None:
        for line in self.process.stdout:
            self._lines.append(line)


@contextmanager
def run_daemon(root: Path, *options: str, recipe: str = "whole") -> Iterator[DaemonProcess]:
    """Run a daemon, and end it in any case."""
    daemon = DaemonProcess(root, *options, recipe=recipe)
    try:
        yield daemon
    finally:
        daemon.kill()
