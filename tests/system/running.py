"""Runs the daemon in a process of its own, as a user does, and ends it by its id."""

import contextlib
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path

TWISTD = Path(sys.executable).with_name("twistd")
DEADLINE_SECONDS = 30.0
"""How long anything may take before a test gives up; nothing is supposed to take as long."""

_MEASURED = (
    # What is measured is written at the daemon's end, where its sandbox lets it write nothing.
    {"FILETRANSFER_NO_LANDLOCK": "1"}
    if any(name.startswith("COVERAGE_PROCESS") for name in os.environ)
    else {}
)


class Daemon:
    """A running daemon on a free loopback port. Use it as a context manager.

    Args:
        directory: for the root (``root`` below it) and the working directory: empty, or left by a daemon before.
        options: further ones of ``twistd filetransfer``.

    Attributes:
        root: the served directory.
        port: where it listens on 127.0.0.1.
        pid: its process.
    """

    def __init__(self, directory: Path, *options: str) -> None:
        self.root = directory / "root"
        self.root.mkdir(exist_ok=True)
        self.port = 0
        self._log: list[str] = []
        self._has_more = threading.Condition()
        self._has_ended = False
        self._process = subprocess.Popen(
            [
                *(TWISTD, "--nodaemon", "--pidfile=", "filetransfer"),
                *("--port", "0", "--interface", "127.0.0.1", "--root", self.root, *options),
            ],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                name: value
                for name, value in os.environ.items()
                if not name.startswith("FILETRANSFER_")
            }
            | _MEASURED,
        )
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()

    def __enter__(self) -> "Daemon":
        try:
            found = self.wait_for_log(r"listening on 127\.0\.0\.1:([0-9]+)")
        except BaseException:
            self.stop()
            raise
        self.port = int(found[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What it has said so far."""
        with self._has_more:
            return "".join(self._log)

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until the log holds what matches."""
        with self._has_more:
            self._has_more.wait_for(
                lambda: self._has_ended or re.search(pattern, "".join(self._log)), DEADLINE_SECONDS
            )
            found = re.search(pattern, "".join(self._log))
            assert found, f"{pattern} is not in the log:\n{''.join(self._log)}"
            return found

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self) -> int:
        """End it as an operator does; gives its exit status."""
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            return self._process.wait(DEADLINE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise
        finally:
            self._reader.join(DEADLINE_SECONDS)

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self._process.wait(DEADLINE_SECONDS)
        self._reader.join(DEADLINE_SECONDS)

    def clear_root(self) -> None:
        """Remove all that is visible."""
        for entry in self.list_visible():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def list_visible(self) -> list[Path]:
        """What is in the root, the store's own files left out."""
        return sorted(each for each in self.root.iterdir() if not each.name.startswith(".ft-"))

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as log:
            for line in log:
                with self._has_more:
                    self._log.append(line.decode("utf-8", "backslashreplace"))
                    self._has_more.notify_all()
        with self._has_more:
            self._has_ended = True
            self._has_more.notify_all()
