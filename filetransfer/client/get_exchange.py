"""The exchange that fetches a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from msgspec.structs import replace
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from filetransfer.bodies.incoming import IncomingBody
from filetransfer.client.destinations import PathDestination, Stream, explain_locally
from filetransfer.client.exchanges import Exchange, Preserve, Progress, Transferred
from filetransfer.client.publishing import (
    Attributes,
    Delivery,
    LargeDelivery,
    Publisher,
    SmallDelivery,
    check_digest,
)
from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.errors import Busy, DigestMismatch, RequestRefused, TransferInterrupted
from filetransfer.store.upload import LocalUpload
from filetransfer.wire.connection import ClientEnd
from filetransfer.wire.messages import BodyEnd, Content, Digests, Get


class Keeper(Protocol):
    """Remembers the part of a download; see ``client/resuming.py``.

    Attributes:
        min_octets: from which size on.
    """

    min_octets: int

    def remember(self, part: LocalUpload, etag: str) -> bool:
        """Remember it in a thread; gives whether it is kept when the transfer is cut off."""
        ...

    async def ask_digest(self, etag: str | None) -> Digests: ...


class GetExchange(Exchange[Transferred]):
    """Fetches a file.

    Args:
        request: for what.
        destination: where it goes.
        publisher: publishes it.
        preserves: whether it gets the time of modification and the mode that it has on the server.
        progress: told of what moves.
        keeper: remembers the part of a large file; None lets it be fetched from the start when it was cut off.

    Attributes:
        was_resumed: whether it went on with a part.
    """

    __slots__ = (
        "_content",
        "_destination",
        "_has_digests",
        "_is_receiving",
        "_keeper",
        "_part",
        "_preserves",
        "_publisher",
        "_request",
        "_settled",
        "_trailer",
        "was_resumed",
    )

    def __init__(
        self,
        request: Get,
        destination: PathDestination | Stream,
        publisher: Publisher,
        preserves: Preserve = False,
        progress: Progress | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        super().__init__(progress)
        self._keeper = keeper
        self._part: LocalUpload | None = None
        self.was_resumed = False
        self._is_receiving = False
        self._settled: Deferred[None] | None = None
        self._request = request
        self._destination = destination
        self._publisher = publisher
        self._preserves = preserves
        self._has_digests = False
        self._content: Content | None = None
        self._trailer: Digests = {}

    @property
    def is_repeatable(self) -> bool:
        """What a stream was given cannot be taken back; and with a part that is kept, its keeper goes on."""
        if isinstance(self._destination, Stream):
            return not self._destination.has_begun
        return self._part is None

    @property
    def is_held(self) -> bool:
        """Whether a small body is to be held in memory until it is whole, rather than received as it comes."""
        return isinstance(self._destination, PathDestination) and self._part is None

    @property
    def is_file(self) -> bool:
        """Whether it becomes a file, which leaves a part when it is given up in a hurry."""
        return isinstance(self._destination, PathDestination)

    def open(self, connection: ClientEnd) -> tuple[bytes, None]:
        """See :meth:`Exchange.open`."""
        self._has_digests = connection.has_trailers
        return connection.encode(self._request), None

    def go_on_with(self, part: LocalUpload, etag: str) -> None:
        """Go on with what there is of the file, if it has this etag still."""
        self.was_resumed = True
        self._part = part
        self._request = replace(self._request, offset=part.received, if_match=etag)

    def take_content(self, content: Content) -> None:
        """Take note of what the server says of the file; the body comes next."""
        self._content = content
        size = content.size - content.offset
        if self._request.count is not None:
            size = min(size, self._request.count)
        self.begin_body(size, 0 if self._part is None else self._part.received)

    def body_moved(self, count: int) -> None:
        """See :meth:`Exchange.body_moved`."""
        if isinstance(self._destination, Stream):
            self._destination.has_begun = True
        super().body_moved(count)

    def take(self, octets: bytes, end: BodyEnd) -> None:
        """Take a small body, whole, and what was said behind it."""
        self.body_moved(len(octets))
        digests = self._list_digests(cast(Content, self._content), end)
        self._deliver(SmallDelivery, octets, end, digests)

    async def settle(self) -> None:
        """Return when nothing is written to the part any more, and let go of it."""
        if self._is_receiving:
            self._settled = Deferred()
            await self._settled
        part, self._part = self._part, None
        if part is not None:
            part.keep()

    async def receive(self, body: IncomingBody) -> None:
        """Take a large body as it comes."""
        self._is_receiving = True
        try:
            await self._receive(body)
        finally:
            self._is_receiving = False
            if self._settled is not None:
                self._settled.callback(None)

    async def _receive(self, body: IncomingBody) -> None:
        try:
            if isinstance(self._destination, Stream):
                end = await body.receive_into(self._destination)
                self._trailer = end.digest
                if self._has_digests:
                    check_digest(end.digest, self._destination.digest())
                self.succeed(self._describe(is_durable=False))
            else:
                await self._receive_file(self._destination, body)
        except TransferInterrupted:
            # The session knows, and repeats it or fails it.
            pass
        except DigestMismatch as mismatch:
            self.fail(mismatch)
        except RequestRefused as refusal:
            path = self._destination.path if isinstance(self._destination, PathDestination) else ""
            self.fail(explain_locally(refusal, path))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be told
            self.fail(error)

    async def _receive_file(self, destination: PathDestination, body: IncomingBody) -> None:
        part = await self._begin_part(destination)
        try:
            end = await body.receive_into(part)
            if self.is_over:
                raise CancelledError
            digests = await self._find_digests(end)
        except (TransferInterrupted, CancelledError, Busy):
            # Busy with the digests of others: the octets are here, and the next run asks again.
            if self._part is None:
                part.abort()
            raise
        except BaseException:
            self._part = None
            part.abort()
            raise
        self._part = None
        self._deliver(LargeDelivery, part, end, digests)

    async def _begin_part(self, destination: PathDestination) -> LocalUpload:
        if self._part is not None:
            return self._part
        part = destination.begin()
        etag = cast(Content, self._content).etag
        if self._keeper is not None and etag is not None and self.size >= self._keeper.min_octets:
            # From now on: were the exchange repeated while the thread works, there would be two parts.
            self._part = part
            is_kept = False
            try:
                is_kept = await deferToThread(self._keeper.remember, part, etag)
            except BaseException:
                part.abort()
                raise
            finally:
                if not is_kept:
                    self._part = None
        return part

    async def _find_digests(self, end: BodyEnd) -> Sequence[Digests]:
        """Give all that the server says of the digest of the octets that are there."""
        content = cast(Content, self._content)
        if not self._has_digests:
            return ()
        if not self.was_resumed:
            return self._list_digests(content, end)
        if DEFAULT_ALGORITHM in content.digest or self._keeper is None:
            return (content.digest,)
        try:
            return (await self._keeper.ask_digest(content.etag),)
        except RequestRefused as refusal:
            self.fail(refusal)
            raise

    def _deliver(
        self, kind: Callable[..., Delivery], what: object, end: BodyEnd, digests: Sequence[Digests]
    ) -> None:
        self._trailer = end.digest
        attributes = self._choose_attributes(cast(Content, self._content))
        self._publisher.submit(kind(what, self._destination, self._published, digests, attributes))

    def _choose_attributes(self, content: Content) -> Attributes | None:
        if not self._preserves:
            return None
        return Attributes(content.modified, content.mode if self._preserves is True else None)

    def _list_digests(self, content: Content, end: BodyEnd) -> Sequence[Digests]:
        """Give all that the server says of the digest of what it sent."""
        if not self._has_digests:
            return ()
        is_whole = self.size == content.size
        return (end.digest, content.digest) if is_whole and content.digest else (end.digest,)

    def _published(self, error: BaseException | None) -> None:
        if error is None:
            self.succeed(self._describe(cast(PathDestination, self._destination).is_durable))
        else:
            self.fail(error)

    def _describe(self, is_durable: bool) -> Transferred:
        return Transferred(
            self._base + self.size,
            cast(Content, self._content).etag,
            self._trailer,
            is_verified=self._has_digests,
            is_durable=is_durable,
            offset=self._base,
        )
