"""Going on with a transfer where it was cut off: in this run of the program or, by its journal, in a later one.

An upload has a token. After a lost connection the server is asked for it: it says how far the upload came, and the
digest of that. If that is the beginning of the local file the rest is sent, otherwise all of it; if it says that the
upload was published, nothing is sent any more.

A download has a part beside its destination, and the etag of what it is a part of. The rest is asked for only of a file
that still has that etag, and the whole is compared with the server's digest of the whole before it is published.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

from msgspec.structs import replace
from twisted.internet.interfaces import IReactorTime
from twisted.internet.threads import deferToThread

from filetransfer.client.connecting import Connector, choose_wait, sleep
from filetransfer.client.conversation import Conversation
from filetransfer.client.destinations import PathDestination
from filetransfer.client.exchanges import (
    PlainExchange,
    Preserve,
    Progress,
    Transferred,
)
from filetransfer.client.get_exchange import GetExchange
from filetransfer.client.journal import Claim, DownloadEntry, Journal, UploadEntry
from filetransfer.client.patience import ask_patiently
from filetransfer.client.put_exchange import PutExchange
from filetransfer.client.sources import CHANGED, Body, PathSource
from filetransfer.digests import DEFAULT_ALGORITHM, Digest, start_digest
from filetransfer.errors import (
    Busy,
    ConnectFailed,
    DigestMismatch,
    Invalid,
    NotFound,
    OffsetMismatch,
    PreconditionFailed,
    RequestRefused,
    SizeMismatch,
    SourceChanged,
    TransferInterrupted,
    TransferTimeout,
    UnknownToVersion,
)
from filetransfer.store.upload import LocalUpload
from filetransfer.store.upload import Progress as PartProgress
from filetransfer.wire.messages import Digest as AskDigest
from filetransfer.wire.messages import Digested, Digests, Get, Put, Response, Stat, Status

MIN_OCTETS = 1024 * 1024
"""Files from this size on are resumed; a smaller one is sent again in less than it takes to ask."""

FEATURE = "resume"
"""What a server calls it that can do this."""

_DIGEST_PATIENCE = 20
"""Times the usual number of tries: of many downloads that go on at once, a server reads through a few at a time."""

_TOKEN_OCTETS = 16
_BLOCK_OCTETS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells whether a local file is still the same."""

    size: int
    modified: int
    inode: int


def identify(path: str) -> Identity:
    """Look at a local file. Raises OSError."""
    status = os.stat(path)
    return Identity(status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a transfer needs to go on where it was cut off.

    Attributes:
        conversation: with the server.
        connector: makes its connections.
        clock: for waits.
        journal: remembers transfers for later runs.
        server: what the journal calls the server.
        tries: how often in a row one may be lost without having moved, >= 1.
    """

    conversation: Conversation
    connector: Connector
    clock: IReactorTime
    journal: Journal
    server: str
    tries: int

    def was_begun(self, kind: type[UploadEntry | DownloadEntry], *names: str) -> bool:
        """Tell whether an earlier run has begun a transfer; if so, more is expected of the server."""
        has_entry = self.journal.has(kind, *names)
        if has_entry:
            self.connector.expect_greeting()
        return has_entry


class _Rest:
    """The rest of a file, whose beginning the receiver has; a :class:`filetransfer.client.sources.Source`."""

    is_repeatable = True

    def __init__(self, path: str, identity: Identity, offset: int, prefix: Digest | None) -> None:
        self._source = PathSource(path)
        self._path = path
        self._identity = identity
        self._offset = offset
        self._prefix = prefix

    def open(self) -> Body:
        if identify(self._path) != self._identity:
            raise SourceChanged(CHANGED)
        return self._source.open_at(self._offset, self._prefix)

    def close(self) -> None:
        pass


class ResumableUpload:
    """One upload, over as many connections as it takes.

    Args:
        recovery: see there.
        path: of the local file, absolute.
        request: all that is known before the file is opened.
        preserves: see :class:`~filetransfer.client.exchanges.PutExchange`.
        progress: told of what moves.
    """

    def __init__(
        self,
        recovery: Recovery,
        path: str,
        request: Put,
        preserves: Preserve,
        progress: Progress | None,
    ) -> None:
        self._recovery = recovery
        self._path = path
        self._request = request
        self._preserves = preserves
        self._progress = progress
        self._names = (recovery.server, request.path, path)
        self._identity = identify(path)
        self._token = b""
        self._claim: Claim | None = None

    async def run(self) -> Transferred:
        """Send the file. Raises as :meth:`filetransfer.client.session.Session.put`."""
        try:
            return await self._run()
        finally:
            if self._claim is not None:
                self._claim.release()

    async def _run(self) -> Transferred:
        was_begun = await deferToThread(self._find_token)
        failures = 0
        furthest = 0
        while True:
            try:
                result = await self._try_once(was_begun)
            except (SourceChanged, DigestMismatch, SizeMismatch):
                await deferToThread(self._forget)
                raise
            except (ConnectFailed, TransferTimeout):
                # That was tried several times, or long enough.
                raise
            except (TransferInterrupted, OffsetMismatch, Busy) as error:
                was_begun = True
                failures = 1 if self._offset > furthest else failures + 1
                furthest = max(furthest, self._offset)
                if failures >= self._recovery.tries or self._recovery.conversation.is_closed:
                    raise
                wait_seconds = choose_wait(failures)
                if isinstance(error, RequestRefused):
                    wait_seconds += error.retry_after or 0.0
                await sleep(self._recovery.clock, wait_seconds)
            else:
                await deferToThread(self._forget)
                return result

    def _find_token(self) -> bool:
        """Go on with an upload of an earlier run, or begin one; gives whether it was begun. In a thread."""
        self._claim = self._recovery.journal.claim(UploadEntry, *self._names)
        if self._claim is None:
            # Another program sends the same: each would take the upload away from the other.
            self._begin_anew()
            return False
        entry = self._recovery.journal.find(UploadEntry, *self._names)
        identity = self._identity
        if entry is not None and identity == Identity(entry.size, entry.modified, entry.inode):
            self._token = entry.token
            return True
        self._begin_anew()
        return False

    def _begin_anew(self) -> None:
        self._token = secrets.token_bytes(_TOKEN_OCTETS)
        identity = self._identity
        if self._claim is not None:
            entry = UploadEntry(self._token, identity.size, identity.modified, identity.inode)
            self._recovery.journal.write(entry, *self._names)

    def _forget(self) -> None:
        if self._claim is not None:
            self._recovery.journal.remove(UploadEntry, *self._names)

    _offset = 0

    async def _try_once(self, was_begun: bool) -> Transferred:
        status = await self._ask() if was_begun else None
        offset, prefix = 0, None
        if status is not None and status.kind == "published":
            if await self._is_same(status, self._identity.size):
                size = self._identity.size
                return Transferred(
                    size,
                    status.etag,
                    status.digest,
                    is_verified=True,
                    is_durable=self._recovery.conversation.is_durable(),
                    offset=size,
                )
            await deferToThread(self._begin_anew)
        elif status is not None and status.offset:
            prefix = await self._is_same(status, status.offset)
            offset = status.offset if prefix is not None else 0
        self._offset = offset
        source = _Rest(self._path, self._identity, offset, prefix)
        request = replace(self._request, upload=self._token)
        conversation = self._recovery.conversation
        return await conversation.submit(
            PutExchange(source, request, self._preserves, conversation.is_durable, self._progress)
        )

    async def _ask(self) -> Status | None:
        try:
            asking = PlainExchange(Stat(upload=self._token))
            return cast(Status, await self._recovery.conversation.submit(asking))
        except NotFound:
            return None

    async def _is_same(self, status: Status, count: int) -> Digest | None:
        """Give the digest of the beginning of the local file, if it is what the server has; else None."""
        if count > self._identity.size:
            return None
        digest: Digest = await deferToThread(_digest_beginning, self._path, count)
        return digest if status.digest.get(DEFAULT_ALGORITHM) == digest.digest() else None


def _digest_beginning(path: str, count: int) -> Digest:
    with open(path, "rb", buffering=0) as file:
        return _digest_octets(file.fileno(), count)


def _digest_octets(descriptor: int, count: int) -> Digest:
    digest = start_digest()
    buffer = memoryview(bytearray(min(_BLOCK_OCTETS, count)))
    done = 0
    while done < count:
        got = os.preadv(descriptor, [buffer[: count - done]], done)
        if not got:
            break
        digest.update(buffer[:got])
        done += got
    return digest


class ResumableDownload:
    """One download, over as many connections as it takes; the keeper of its part.

    Args:
        recovery: see there.
        request: for the whole file.
        destination: where it goes.
        preserves: see :class:`~filetransfer.client.exchanges.GetExchange`.
        progress: told of what moves.
    """

    min_octets = MIN_OCTETS

    def __init__(
        self,
        recovery: Recovery,
        request: Get,
        destination: PathDestination,
        preserves: Preserve,
        progress: Progress | None,
    ) -> None:
        self._recovery = recovery
        self._request = request
        self._destination = destination
        self._preserves = preserves
        self._progress = progress
        self._names = (recovery.server, request.path, destination.path)
        self._was_remembered = False
        self._claim: Claim | None = None
        self._found: tuple[LocalUpload, str] | None = None
        self._failures = 0
        self._furthest = 0

    async def run(self) -> Transferred:
        """Fetch the file. Raises as :meth:`filetransfer.client.session.Session.get`."""
        try:
            return await self._run()
        finally:
            if self._claim is not None:
                self._claim.release()

    async def _run(self) -> Transferred:
        if self._recovery.was_begun(DownloadEntry, *self._names):
            self._found = await deferToThread(self._find)
        while True:
            exchange = GetExchange(
                self._request,
                self._destination,
                self._recovery.conversation.publisher,
                self._preserves,
                self._progress,
                self,
            )
            if self._found is not None:
                exchange.go_on_with(*self._found)
            try:
                result = await self._recovery.conversation.submit(exchange)
            except BaseException as error:
                await exchange.settle()
                if not await self._can_go_on(error):
                    raise
            else:
                if self._found is not None or self._was_remembered:
                    await deferToThread(self._recovery.journal.remove, DownloadEntry, *self._names)
                return result

    async def _can_go_on(self, error: BaseException) -> bool:
        """Tell whether to try once more, after the wait that it takes."""
        if isinstance(error, PreconditionFailed | DigestMismatch | Invalid | UnknownToVersion):
            # What there was is no part of the file that is there now; or the server has become an old one, or seemed
            # to: it closed without a word, as one does that is being started.
            was_resumed = self._found is not None
            self._found = None
            await deferToThread(self._forget_part)
            return was_resumed
        if (
            not isinstance(error, TransferInterrupted)
            # Of these, each was tried several times, or for long enough.
            or isinstance(error, ConnectFailed | TransferTimeout)
            or (self._found is None and not self._was_remembered)
        ):
            return False
        self._found = await deferToThread(self._find)
        offset = 0 if self._found is None else self._found[0].received
        self._failures = 1 if offset > self._furthest else self._failures + 1
        self._furthest = max(self._furthest, offset)
        if self._failures >= self._recovery.tries or self._recovery.conversation.is_closed:
            if self._found is not None:
                self._found[0].keep()
            return False
        await sleep(self._recovery.clock, choose_wait(self._failures))
        return True

    def remember(self, part: LocalUpload, etag: str) -> bool:
        """See :class:`~filetransfer.client.exchanges.Keeper`."""
        if not self._has_claim():
            return False
        self._was_remembered = True
        path = os.path.join(self._destination.parent, part.part)
        self._recovery.journal.write(DownloadEntry(etag, path), *self._names)
        return True

    def _has_claim(self) -> bool:
        """Have the part to oneself: two who write to it would spoil what one of them has published."""
        if self._claim is None:
            self._claim = self._recovery.journal.claim(DownloadEntry, *self._names)
        return self._claim is not None

    async def ask_digest(self, etag: str | None) -> Digests:
        """See :class:`~filetransfer.client.exchanges.Keeper`."""
        recovery = self._recovery

        def ask() -> Awaitable[Response]:
            asking = PlainExchange(AskDigest(self._request.path, DEFAULT_ALGORITHM, etag))
            return recovery.conversation.submit(asking)

        tries = recovery.tries * _DIGEST_PATIENCE
        return cast(Digested, await ask_patiently(recovery.clock, tries, ask)).digest

    def _forget_part(self) -> None:
        if self._claim is None:
            return
        entry = self._recovery.journal.find(DownloadEntry, *self._names)
        if entry is not None and os.path.dirname(entry.part) == self._destination.parent:
            with suppress(OSError):
                os.unlink(entry.part)
        self._recovery.journal.remove(DownloadEntry, *self._names)

    def _find(self) -> tuple[LocalUpload, str] | None:
        """Give the part that was kept, and the etag of what it is a part of. In a thread."""
        if not self._has_claim():
            return None
        entry = self._recovery.journal.find(DownloadEntry, *self._names)
        if (
            entry is None
            or os.path.dirname(entry.part) != self._destination.parent
            or self._request.if_match not in (None, entry.etag)
        ):
            return None
        try:
            descriptor = os.open(entry.part, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                size = os.fstat(descriptor).st_size
                progress = PartProgress(size, _digest_octets(descriptor, size))
            finally:
                os.close(descriptor)
            part = self._destination.begin(os.path.basename(entry.part), progress)
        except OSError:
            return None
        return part, entry.etag
