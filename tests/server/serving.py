"""The whole daemon in this process, on real sockets and a real directory, and clients of it that tell what happens.

Everything here is awaited in a coroutine that ``reactors.run`` turns the reactor for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from doubles import Log
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure

from filetransfer.server.service import Daemon
from filetransfer.server.settings import Settings

reactor: Any = installed
TURN_SECONDS = 0.005


class Caller(Protocol):
    """A client: what it has received, and how to wait for more.

    Attributes:
        received: all octets so far.
        is_closed: whether the connection is over.
    """

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.is_closed = False
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._tell()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_closed = True
        self._tell()

    def send(self, octets: bytes) -> None:
        """Send octets; the kernel takes what the daemon does not read."""
        self.transport.write(octets)

    def end(self) -> None:
        """Close this half, once all was sent."""
        self.transport.loseWriteConnection()

    def reset(self) -> None:
        """Break off, so that the daemon finds a reset."""
        self.transport.abortConnection()

    async def receive(self, count: int) -> bytes:
        """Wait for so many octets, and give all there are."""
        await self._wait(lambda: len(self.received) >= count)
        return self.received

    async def receive_all(self) -> bytes:
        """Wait until the daemon closes, and give all there was."""
        await self._wait(lambda: False)
        return self.received

    async def _wait(self, is_enough: Callable[[], bool]) -> None:
        if not is_enough() and not self.is_closed:
            self._waiting.append((is_enough, waiting := Deferred()))
            await waiting

    def _tell(self) -> None:
        for is_enough, waiting in self._waiting[:]:
            if is_enough() or self.is_closed:
                self._waiting.remove((is_enough, waiting))
                waiting.callback(None)


class Serving:
    """A daemon that runs.

    Attributes:
        root: what it serves.
        port: where it listens, on 127.0.0.1.
        log: what it has logged.
    """

    def __init__(self, root: Path, log: Log) -> None:
        self.root = root
        self.log = log
        [found] = filter(
            None, (re.search(r"listening on 127\.0\.0\.1:([0-9]+)", line) for line in log.lines)
        )
        self.port = int(found[1])

    async def call(self) -> Caller:
        """Give a new client, connected."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        return await connectProtocol(endpoint, Caller())  # type: ignore[no-any-return]

    async def ask(self, octets: bytes) -> bytes:
        """Send octets on a connection of their own, and give the whole answer."""
        caller = await self.call()
        caller.send(octets)
        caller.end()
        return await caller.receive_all()

    def list_visible(self) -> list[str]:
        """Give the names that clients can see."""
        return sorted(entry.name for entry in self.root.iterdir() if entry.name != ".ft-store")

    def list_parts(self) -> list[str]:
        """Give the uploads that are not finished."""
        return os.listdir(self.root / ".ft-store" / "parts")


@asynccontextmanager
async def serve(root: Path, **settings: Any):  # type: ignore[no-untyped-def]
    """Run the daemon; gives a :class:`Serving`."""
    log = Log()
    globalLogPublisher.addObserver(log)
    everywhere: dict[str, Any] = {"port": 0, "interface": "127.0.0.1", "durability": "none"}
    daemon = Daemon(Settings(root=str(root), **(everywhere | settings)), reactor)
    _strangers.update(_list_all_children())
    try:
        daemon.privilegedStartService()
        daemon.startService()
        try:
            yield Serving(root, log)
        finally:
            await daemon.stopService()
    finally:
        globalLogPublisher.removeObserver(log)


async def until(is_so: Callable[[], bool]) -> None:
    """Let turns of the reactor pass until something is so that nobody tells of."""
    while not is_so():
        await deferLater(reactor, TURN_SECONDS)


def list_descriptors() -> list[str]:
    """Give the files that this process has open below some directory, and its sockets and pipes."""
    opened = []
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            opened.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        except FileNotFoundError:
            continue
    return sorted(opened)


# Children of this process that other tests keep: their daemons.
_strangers: set[int] = set()


def list_children() -> list[int]:
    """Give the children that this process has since :func:`serve`, those included that were not waited for."""
    return [child for child in _list_all_children() if child not in _strangers]


def _list_all_children() -> list[int]:
    children = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                status = Path("/proc", entry, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(status.rpartition(")")[2].split()[1]) == os.getpid():
                children.append(int(entry))
    return children
