"""A server without sockets, disks, threads or children: all that it waits for, the test does.

rig = Rig(threads)          a factory above a store in memory
peer = rig.connect()        somebody who connected
peer.send(octets)           in reads of at most 64 KiB, and only while the server reads
rig.store.commit()          the disk is done with what was submitted
rig.settle()                threads are done, and the turns of the reactor that this brings
peer.received               all that was sent to the peer;  peer.writes: as it was written
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from reactors import HeldThreads
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, eventAsText
from twisted.python.failure import Failure

from filetransfer.errors import Exists, NotFound, RequestRefused, refusal_from_os_error
from filetransfer.names import Path
from filetransfer.server.factory import FileTransferFactory
from filetransfer.server.limits import Limits
from filetransfer.server.protocol import FileTransferProtocol
from filetransfer.store.interface import Commit, Digests, Publish, PublishOctets, Rename
from filetransfer.store.terms import Terms
from filetransfer.wire.messages import Statistics, Summary

READ_OCTETS = 64 * 1024
"""What Twisted reads at a time, and what may wait to be written before it asks the producer to pause."""

DONE, NOT_FOUND, UNKNOWN, REFUSED = b"\x00", b"\x60", b"\x80", b"\xa0"
HELP = b"\x80"
HELP_REPLY = b"\xdfbye change get help put summary"


def put(name: str, body: bytes = b"", size: int | None = None) -> bytes:
    """Say PUT, with a body that may be shorter than its ``size``."""
    octets = name.encode()
    claimed = len(body) if size is None else size
    return bytes([len(octets)]) + octets + claimed.to_bytes(4, "big") + body


def get(name: str) -> bytes:
    """Say GET."""
    octets = name.encode("utf-8", "surrogateescape")
    return bytes([1 << 5 | len(octets)]) + octets


def change(name: str, to: str) -> bytes:
    """Say CHANGE."""
    return bytes([2 << 5 | len(name)]) + name.encode() + bytes([len(to)]) + to.encode()


def summary(name: str) -> bytes:
    """Say SUMMARY."""
    return bytes([3 << 5 | len(name)]) + name.encode()


def content(name: str, body: bytes) -> bytes:
    """Give the answer to a GET."""
    return bytes([1 << 5 | len(name)]) + name.encode() + len(body).to_bytes(4, "big") + body


class MemoryDownload:
    """A file of a :class:`MemoryStore`, opened."""

    etag = "etag"
    modified = 0
    mode = 0o640
    digest = b""

    def __init__(self, store: MemoryStore, octets: bytes) -> None:
        self.size = len(octets)
        self._store = store
        self._octets = octets
        self._descriptor = os.memfd_create("download")
        os.truncate(self._descriptor, self.size)
        os.pwrite(self._descriptor, octets, 0)
        store.open_downloads.add(self)

    def fileno(self) -> int:
        assert self in self._store.open_downloads
        return self._descriptor

    def read(self, offset: int, count: int) -> bytes:
        self._store.fail("read")
        return self._octets[offset : offset + count]

    def read_cached(self, limit: int) -> bytes | None:
        self._store.fail("read_cached")
        if self.size > limit or not self._store.has_cached_octets:
            return None
        return self._octets

    def close(self) -> None:
        if self in self._store.open_downloads:
            self._store.open_downloads.remove(self)
            os.close(self._descriptor)


class MemoryUpload:
    """A file that is being written to a :class:`MemoryStore`."""

    def __init__(self, store: MemoryStore, path: Path) -> None:
        self.path = path
        self.octets = bytearray()
        self._store = store
        store.open_uploads.add(self)

    @property
    def received(self) -> int:
        return len(self.octets)

    @property
    def undigested(self) -> int:
        raise AssertionError("nothing else moves octets")

    def fileno(self) -> int:
        raise AssertionError("no descriptor is needed to receive from a peer in memory")

    def write(self, octets: bytes | memoryview) -> None:
        assert self in self._store.open_uploads
        self._store.fail("write")
        self.octets += octets

    def advance(self, count: int) -> None:
        raise AssertionError("nothing else moves octets")

    def digest_behind(self) -> None:
        raise AssertionError("nothing else moves octets")

    def prepare(self, terms: Terms, digests: Digests) -> None:
        self._store.fail("prepare")

    def keep(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._store.open_uploads.discard(self)


class MemoryStore:
    """Keeps files in memory; commits take effect when the test says so.

    Attributes:
        files: what is visible.
        submitted: calls of ``submit`` whose commits were not done yet.
        is_cached: whether files can be opened without asking a disk.
        has_cached_octets: whether they can be read so.
        failures: what is raised by the next call of that name, once.
        open_downloads: those that were not closed.
        open_uploads: those that were neither published nor aborted.
    """

    is_read_only = False

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.submitted: deque[Sequence[Commit]] = deque()
        self.is_cached = True
        self.has_cached_octets = True
        self.failures: dict[str, Exception] = {}
        self.open_downloads: set[MemoryDownload] = set()
        self.open_uploads: set[MemoryUpload] = set()

    def fail(self, call: str) -> None:
        error = self.failures.pop(call, None)
        if error is not None:
            raise error

    def open_download(self, path: Path) -> MemoryDownload:
        self.fail("open_download")
        if path not in self.files:
            raise NotFound("not found", about="path")
        return MemoryDownload(self, self.files[path])

    def open_cached_download(self, path: Path) -> MemoryDownload | None:
        return self.open_download(path) if self.is_cached else None

    def check_writable(self) -> None:
        self.fail("check_writable")

    def open_upload(self, path: Path, size: int, resumption: object, terms: Terms) -> MemoryUpload:
        self.fail("open_upload")
        return MemoryUpload(self, path)

    def submit(self, commits: Sequence[Commit]) -> None:
        self.submitted.append(commits)

    def close(self) -> None:
        raise AssertionError("nobody closes it")

    @property
    def waiting(self) -> list[Commit]:
        """The commits that are not done yet, in order."""
        return [commit for commits in self.submitted for commit in commits]

    def commit(self) -> None:
        """Do what was submitted, but not what that brings."""
        commits = self.waiting
        self.submitted.clear()
        for commit in commits:
            try:
                self._apply(commit)
            except RequestRefused as refusal:
                commit.error = refusal
            commit.done(commit)

    def _apply(self, commit: Commit) -> None:
        self.fail("commit")
        if isinstance(commit, PublishOctets):
            self.files[commit.path] = bytes(commit.octets)
        elif isinstance(commit, Publish):
            assert isinstance(commit.upload, MemoryUpload)
            self.open_uploads.remove(commit.upload)
            self.files[commit.upload.path] = bytes(commit.upload.octets)
        elif isinstance(commit, Rename):
            if commit.path not in self.files:
                raise NotFound("not found", about="path")
            if commit.to in self.files:
                raise Exists("exists already", about="to")
            self.files[commit.to] = self.files.pop(commit.path)


class HeldSummaries:
    """Takes the place of the child processes: the test gives their results.

    Attributes:
        waiting: the results that were asked for, and neither given nor cancelled.
        cancelled: how many were.
    """

    def __init__(self) -> None:
        self.waiting: list[Deferred[Statistics]] = []
        self.cancelled = 0

    def summarise(self, descriptor: int, request: Summary) -> Deferred[Statistics]:
        os.fstat(descriptor)
        result: Deferred[Statistics] = Deferred(self._cancel)
        self.waiting.append(result)
        return result

    def _cancel(self, result: Deferred[Statistics]) -> None:
        self.waiting.remove(result)
        self.cancelled += 1


class Wire(StringTransport):
    """A transport in memory that asks its producer to pause as Twisted's do.

    Attributes:
        writes: what was written, call by call.
        is_stuck: whether the peer reads nothing.
        is_aborted: whether the server failed the connection.
    """

    def __init__(self, read_more: Callable[[], None], peer_address: object) -> None:
        # Lenient: Twisted's own transports may be paused and resumed when they are closing.
        super().__init__(peerAddress=peer_address, lenient=True)
        self.writes: list[bytes] = []
        self.is_stuck = False
        self.is_aborted = False
        self._unsent_octets = 0
        self._is_producer_paused = False
        self._read_more = read_more

    @property
    def is_closing(self) -> bool:
        """Whether the server wants the connection to end, once all was written."""
        return self.disconnecting and self.producer is None

    def write(self, data: bytes) -> None:
        if not self.connected:
            return
        super().write(data)
        self.writes.append(data)
        self._unsent_octets += len(data)
        if self.producer is not None and self._unsent_octets > READ_OCTETS:
            self._is_producer_paused = True
            self.producer.pauseProducing()
        if not self.is_stuck:
            self._read_more()

    def drain(self) -> None:
        """Let the peer read all that was written."""
        if self.is_stuck or not self.connected:
            return
        self._unsent_octets = 0
        if self._is_producer_paused and self.producer is not None:
            self._is_producer_paused = False
            self.producer.resumeProducing()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        if not self.connected:
            producer.stopProducing()
            return
        super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.producer = None

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._read_more()

    def abortConnection(self) -> None:
        self.is_aborted = True
        super().abortConnection()

    def break_off(self) -> None:
        """Tell the producer that the connection is lost."""
        producer, self.producer = self.producer, None
        self.connected = False
        if producer is not None:
            producer.stopProducing()


class Peer:
    """Somebody at the other end of a connection."""

    def __init__(self, rig: Rig, protocol: FileTransferProtocol, address: object) -> None:
        self._rig = rig
        self._protocol = protocol
        self._unread = b""
        self._has_ended = False
        self.wire = Wire(self._read_later, address)
        protocol.makeConnection(self.wire)

    @property
    def received(self) -> bytes:
        """All that was sent to this peer."""
        return self.wire.value()  # type: ignore[no-any-return]

    @property
    def writes(self) -> list[bytes]:
        """The same, as it was written."""
        return self.wire.writes

    @property
    def unread_octets(self) -> int:
        """How much of what this peer sent the server has not read."""
        return len(self._unread)

    def send(self, octets: bytes) -> None:
        """Send octets, and let the server read what it wants of them."""
        self._unread += octets
        self._be_read()

    def end(self) -> None:
        """Close the peer's half of the connection."""
        self._has_ended = True
        self._be_read()

    def lose(self) -> None:
        """Break off."""
        self.wire.break_off()
        self._protocol.connectionLost(Failure(ConnectionDone()))

    def _read_later(self) -> None:
        self._rig.clock.callLater(0, self._be_read)

    def _be_read(self) -> None:
        self.wire.drain()
        while self._unread and self._is_read:
            octets, self._unread = self._unread[:READ_OCTETS], self._unread[READ_OCTETS:]
            self._protocol.dataReceived(octets)
        if self._has_ended and not self._unread and self._is_read:
            self._has_ended = False
            self._protocol.readConnectionLost()

    @property
    def _is_read(self) -> bool:
        return bool(self.wire.connected) and self.wire.producerState == "producing"


class Rig:
    """A server in memory."""

    def __init__(
        self,
        threads: HeldThreads,
        *,
        has_bare_summary: bool = False,
        limits: Limits | None = None,
        descriptors: int = 1024,
    ) -> None:
        self.threads = threads
        self.clock = Clock()
        self.store = MemoryStore()
        self.summaries: Any = HeldSummaries()
        self.factory = FileTransferFactory(
            self.summaries,
            self.clock,
            has_bare_summary=has_bare_summary,
            limits=limits,
            descriptors=descriptors,
        )
        self.factory.store = self.store

    def connect(self, address: object = IPv4Address("TCP", "192.0.2.1", 50000)) -> Peer:
        """Give a new peer."""
        protocol = self.factory.buildProtocol(address)
        assert isinstance(protocol, FileTransferProtocol)
        return Peer(self, protocol, address)

    def serves(self, address: object) -> bool:
        """Tell whether somebody who connects now would be served."""
        return isinstance(self.factory.buildProtocol(address), FileTransferProtocol)

    def turn(self) -> None:
        """Let the turns of the reactor pass that are due."""
        while self.clock.getDelayedCalls():
            self.clock.advance(0)

    def settle(self) -> None:
        """Let the threads be done, and all that this brings happen; commits wait."""
        self.turn()
        while self.threads:
            self.threads.run()
            self.turn()

    def finish(self) -> None:
        """Let everything happen, commits too."""
        self.settle()
        while self.store.submitted:
            self.store.commit()
            self.settle()


def os_refusal(number: int) -> RequestRefused:
    """Give the refusal for a failed system call."""
    return refusal_from_os_error(OSError(number, os.strerror(number)))


class Log:
    """What was logged: each event as the lines that a log file would hold, and the exceptions among them."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.failures: list[BaseException] = []

    def __call__(self, event: LogEvent) -> None:
        if event.get("log_failure") is not None:
            self.failures.append(event["log_failure"].value)
        self.lines.append(
            eventAsText(event, includeTimestamp=False, includeSystem=False, includeTraceback=False)
        )
