"""What every peer can do."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from benchmarks.processes import ServerProcess, find_free_port
from benchmarks.wires.wire import Wire

PROGRAMS = Path(__file__).with_name("programs")
REPOSITORY = Path(__file__).parents[2]

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server runs.

    Attributes:
        root: the directory that it serves.
        scratch: for its settings and what it says.
        processors: it may run on; None for all.
    """

    root: Path
    scratch: Path
    processors: frozenset[int] | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A whole command of a client.

    Attributes:
        arguments: the program first.
        directory: where it runs.
        environment: what is added to ours.
    """

    arguments: Sequence[str | Path]
    directory: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)


class Peer(ABC):
    """One server, from :meth:`__enter__` to :meth:`__exit__`."""

    name: ClassVar[str]
    package: ClassVar[str] = ""
    """What to install when it is missing."""
    programs: ClassVar[tuple[str, ...]] = ()
    modules: ClassVar[tuple[str, ...]] = ()
    has_process_for_each: ClassVar[bool] = False
    """Whether each connection costs a process: fewer of them are opened."""

    def __init__(self, place: Place) -> None:
        self.root = place.root
        self.scratch = place.scratch / f"{next(_numbers)}-{type(self).__name__}"
        self.scratch.mkdir(parents=True)
        self.port = find_free_port()
        self._processors = place.processors
        self.process: ServerProcess

    @classmethod
    def list_missing(cls) -> list[str]:
        """Give what has to be installed first; empty when nothing has."""
        missing = [program for program in cls.programs if find_program(program) is None]
        missing += [name for name in cls.modules if importlib.util.find_spec(name) is None]
        return missing

    @abstractmethod
    def list_arguments(self) -> Sequence[str | Path]:
        """Write what it needs into ``scratch`` and give its command, in the foreground."""

    def list_environment(self) -> Mapping[str, str]:
        """Give what its environment needs."""
        return {}

    @abstractmethod
    def open_wire(self) -> Wire:
        """Connect to it."""

    def __enter__(self) -> Self:
        self.process = ServerProcess(
            self.list_arguments(),
            self.scratch / "log",
            environment=self.list_environment(),
            directory=self.scratch,
            processors=self._processors,
        )
        self.process.wait_for_port(self.port)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.process.end()


class CommandPeer(Peer):
    """A peer with a client program, whose whole commands are measured."""

    tool: ClassVar[str]
    """The client, for the tables."""
    batch_tool: ClassVar[str]
    """The client for many files."""
    tool_programs: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def fetch_one(self, name: str, destination: Path) -> Command:
        """Fetch a file of the root to ``destination``."""

    @abstractmethod
    def store_one(self, source: Path, name: str) -> Command:
        """Store ``source`` in the root."""

    @abstractmethod
    def fetch_many(self, names: Sequence[str], destination: Path) -> Command:
        """Fetch all files of the root, which are ``names``, into the directory ``destination``."""

    @abstractmethod
    def store_many(self, source: Path, names: Sequence[str]) -> Command:
        """Store all files of the directory ``source``, which are ``names``, in the root."""


def find_versions(peer: type[Peer]) -> dict[str, str]:
    """Give the versions of what a peer and its client are made of, as far as they can be found."""
    versions = {name: importlib.metadata.version(name) for name in peer.modules}
    programs = {peer.package} if peer.programs else set()
    for name in sorted(programs | set(getattr(peer, "tool_programs", ()))):
        # A Debian package mostly has the name of its program.
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            versions[name] = subprocess.run(
                ["dpkg-query", "-W", "-f", "${Version}", name],
                check=True,
                capture_output=True,
                text=True,
            ).stdout
    return versions


def find_program(name: str) -> str | None:
    """Find a program where Debian puts it, on PATH or not."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def require_program(name: str) -> str:
    """Find a program that is there, as :meth:`Peer.list_missing` said."""
    found = find_program(name)
    assert found is not None, name
    return found


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate for localhost, by the program that comes with the package; gives it and its key."""
    program = "from filetransfer.cli.certificate import main; main()"
    subprocess.run(
        [sys.executable, "-c", program, "make", "--host=localhost", f"--directory={directory}"],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
    )
    return directory / "server.pem", directory / "server.key"
