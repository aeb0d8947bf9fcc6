"""Runs ft-client as a process of its own, as a user or a script does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

COMMAND = [sys.executable, "-m", "filetransfer.cli"]
DEADLINE_SECONDS = 60
REPOSITORY = Path(__file__).parents[1]


_SIZE_OF_TERMINAL = ("COLUMNS", "LINES")
"""The readline library puts them into the environment of whoever imports it."""


def make_environment(**variables: str) -> dict[str, str]:
    """Give an environment without anybody's settings."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FT_")}
    for name in _SIZE_OF_TERMINAL:
        environment.pop(name, None)
    environment["PYTHONPATH"] = str(REPOSITORY)
    return environment | variables


class Ran:
    """How it ended, and what it said.

    Attributes:
        status: the exit status.
        output: standard output.
        errors: standard error.
    """

    def __init__(self, status: int, output: bytes, errors: bytes) -> None:
        self.status = status
        self.octets = output
        self.output = output.decode(errors="surrogateescape")
        self.errors = errors.decode()


def begin(
    *arguments: str | Path, cwd: Path, server: str = "", **variables: str
) -> subprocess.Popen[bytes]:
    """Start ft-client, with pipes."""
    return subprocess.Popen(
        [*COMMAND, *(("--server", server) if server else ()), *map(str, arguments)],
        cwd=cwd,
        env=make_environment(**variables),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[bytes], given: bytes = b"") -> Ran:
    """Wait for its end."""
    output, errors = process.communicate(given, DEADLINE_SECONDS)
    # None where a test has closed our end itself.
    ran = Ran(process.returncode, output or b"", errors)
    assert "Traceback" not in ran.errors, ran.errors
    return ran


def ft_client(
    *arguments: str | Path, cwd: Path, server: str = "", given: bytes = b"", **variables: str
) -> Ran:
    """Run ft-client to its end."""
    return finish(begin(*arguments, cwd=cwd, server=server, **variables), given)


def list_names(directory: Path) -> Sequence[str]:
    return sorted(os.listdir(directory))
