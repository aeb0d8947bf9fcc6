"""Exchanges of the client: one request, its response, and what becomes of the bodies.

An exchange waits in its session until its turn has come. Then a connection asks it for its request
(:meth:`Exchange.open`, which opens the local file), writes it, and hands it the response. When the connection is lost
in between, the session lets it be opened again on the next one, or tells its caller why not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, Literal, Protocol, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread

from filetransfer.bodies.incoming import IncomingBody
from filetransfer.client.destinations import (
    Attributes,
    Delivery,
    PathDestination,
    Publisher,
    Stream,
    check_digest,
    explain_locally,
)
from filetransfer.client.sources import Body, Source, StreamBody
from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.errors import (
    DigestMismatch,
    OutcomeUnknown,
    RemoteProtocolError,
    RequestRefused,
    TransferInterrupted,
)
from filetransfer.store.upload import LocalUpload
from filetransfer.wire.connection import ClientEnd
from filetransfer.wire.listing import EntryDecoder
from filetransfer.wire.messages import (
    BodyEnd,
    Content,
    Digests,
    Done,
    Entry,
    Get,
    List,
    Put,
    Refused,
    Request,
    Response,
)

Progress = Callable[[int, int], None]
"""Told how many octets of a file have moved, and how many it has, of a stream how many that are so far; from the start
again when the transfer is repeated."""

Preserve = bool | Literal["modified"]
"""What a file keeps of what it is where it comes from: True for its time of modification and its mode, ``"modified"``
for the time only."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Transferred:
    """What became of a file that was sent, fetched or copied.

    Attributes:
        size: octets of the file, or of the range of it that was asked for.
        etag: that the file has on the server; None where the server does not say.
        digest: of the octets, by algorithm.
        is_verified: whether both ends found the same digest.
        is_durable: whether it is on stable storage, where it was written.
        offset: where the transfer went on that was cut off before, in octets; 0 when it was not.
    """

    size: int
    etag: str | None = None
    digest: Digests = field(default_factory=dict)
    is_verified: bool = False
    is_durable: bool = False
    offset: int = 0


class Exchange(Generic[Result]):
    """One request and its response.

    Attributes:
        result: what the caller waits for.
        size: octets of the body in either direction, once it is known.
    """

    __slots__ = ("_base", "_moved", "_progress", "result", "size")

    def __init__(self, progress: Progress | None = None) -> None:
        self.result: Deferred[Result] = Deferred()
        self.size = 0
        self._base = 0
        self._moved = 0
        self._progress = progress

    @property
    def is_over(self) -> bool:
        """Whether it has its result, or its caller has given it up."""
        return bool(self.result.called)

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent once more when nobody knows what became of it."""
        return True

    @property
    def left(self) -> int:
        """Octets of the body that have not moved yet."""
        return max(self.size - self._moved, 0)

    def open(self, connection: ClientEnd) -> tuple[Request, Body | StreamBody | None]:
        """Give the request and its body, for one attempt.

        Args:
            connection: says what the version can that it will be sent in.

        Raises:
            OSError, FileTransferError: there will be none.
        """
        raise NotImplementedError

    def respond(self, response: Response) -> None:
        """Take the response. One without a body ends the exchange."""
        if isinstance(response, Refused):
            self.fail(response.error)
        else:
            self.succeed(self._find_result(response))

    def _find_result(self, response: Response) -> Result:
        raise NotImplementedError

    def begin_body(self, size: int, base: int = 0) -> None:
        """Take note that a body of ``size`` octets begins to move, that is the file from ``base`` on."""
        self.size = size
        self._base = base
        self._moved = 0
        self._tell_progress()

    def body_moved(self, count: int) -> None:
        """Take note that octets of the body have moved."""
        self._moved += count
        self._tell_progress()

    def _tell_progress(self) -> None:
        if self._progress is not None:
            moved = self._base + self._moved
            self._progress(moved, max(moved, self._base + self.size))

    def succeed(self, result: Result) -> None:
        """End it with a result; nothing happens if it is over."""
        if not self.is_over:
            self.result.callback(result)

    def fail(self, error: BaseException) -> None:
        """End it with an error; nothing happens if it is over."""
        if not self.is_over:
            self.result.errback(error)

    def explain_loss(self, error: TransferInterrupted) -> TransferInterrupted:
        """Give the error for a caller whose request is not repeated after its connection was lost."""
        return error


class PlainExchange(Exchange[Response]):
    """A request without a body, and a response without one.

    Args:
        request: what is asked.
        doubt: what may have been done when the answer is lost; empty where it does no harm to ask once more.
    """

    __slots__ = ("_doubt", "_request")

    def __init__(self, request: Request, doubt: str = "") -> None:
        super().__init__()
        self._request = request
        self._doubt = doubt

    @property
    def is_repeatable(self) -> bool:
        """See :class:`Exchange`."""
        return not self._doubt

    def open(self, connection: ClientEnd) -> tuple[Request, None]:
        """See :meth:`Exchange.open`."""
        return self._request, None

    def _find_result(self, response: Response) -> Response:
        return response

    def explain_loss(self, error: TransferInterrupted) -> TransferInterrupted:
        """See :meth:`Exchange.explain_loss`."""
        return OutcomeUnknown(
            f"{error}; {self._doubt} may have been done: look before you repeat it"
        )


class PutExchange(Exchange[Transferred]):
    """Sends a file.

    Args:
        source: the file.
        request: all that is known before the file is opened.
        preserves: whether the file's time of modification and its mode are sent as well.
        progress: told of what moves.
    """

    __slots__ = ("_preserves", "_request", "_source")

    def __init__(
        self, source: Source, request: Put, preserves: Preserve, progress: Progress | None
    ) -> None:
        super().__init__(progress)
        self._source = source
        self._request = request
        self._preserves = preserves

    @property
    def is_repeatable(self) -> bool:
        """A stream cannot be read twice; and of an upload that can be resumed it is asked first how far it came."""
        return self._source.is_repeatable and self._request.upload is None

    def open(self, connection: ClientEnd) -> tuple[Request, Body | StreamBody | None]:
        """See :meth:`Exchange.open`."""
        body = self._source.open()
        request = replace(self._request)
        if isinstance(body, Body):
            request.offset = body.offset - body.origin
            request.size = request.offset + body.size
            if self._preserves:
                request.modified = request.modified or body.modified
            if self._preserves is True and request.mode is None:
                request.mode = body.mode
            self.begin_body(body.size, request.offset)
        return request, body

    def _find_result(self, response: Response) -> Transferred:
        done = cast(Done, response)
        if done.size is None:
            return Transferred(self._base + self.size)
        return Transferred(
            done.size,
            done.etag,
            done.digest,
            is_verified=True,
            offset=self._base,
        )


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
        preserves: Preserve,
        progress: Progress | None,
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

    def open(self, connection: ClientEnd) -> tuple[Request, None]:
        """See :meth:`Exchange.open`."""
        self._has_digests = connection.has_trailers
        return self._request, None

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
        self._deliver(end, digests, octets=octets)

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
        except (TransferInterrupted, CancelledError):
            if self._part is None:
                part.abort()
            raise
        except BaseException:
            self._part = None
            part.abort()
            raise
        self._part = None
        self._deliver(end, digests, upload=part)

    async def _begin_part(self, destination: PathDestination) -> LocalUpload:
        if self._part is not None:
            return self._part
        part = destination.begin()
        etag = cast(Content, self._content).etag
        if self._keeper is not None and etag is not None and self.size >= self._keeper.min_octets:
            try:
                is_kept = await deferToThread(self._keeper.remember, part, etag)
            except BaseException:
                part.abort()
                raise
            if is_kept:
                self._part = part
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

    def _deliver(self, end: BodyEnd, digests: Sequence[Digests], **what: Any) -> None:
        content = cast(Content, self._content)
        self._trailer = end.digest
        self._publisher.submit(
            Delivery(
                cast(PathDestination, self._destination),
                self._published,
                digests=digests,
                attributes=self._choose_attributes(content),
                **what,
            )
        )

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


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing.

    Attributes:
        entries: in order.
        more: the path to go on after; None when this was the last page.
        hidden: how many entries the server left out.
    """

    entries: list[Entry]
    more: str | None
    hidden: int


class ListExchange(Exchange[Page]):
    """Asks for a page of a listing."""

    __slots__ = ("_decoder", "_entries", "_request")

    def __init__(self, request: List) -> None:
        super().__init__()
        self._request = request
        self._decoder = EntryDecoder()
        self._entries: list[Entry] = []

    def open(self, connection: ClientEnd) -> tuple[Request, None]:
        """See :meth:`Exchange.open`."""
        self._decoder = EntryDecoder()
        self._entries = []
        return self._request, None

    def feed(self, octets: bytes) -> None:
        """Take octets of the body. Raises RemoteProtocolError: they are no entries."""
        self._entries += self._decoder.feed(octets)

    def finish(self, end: BodyEnd) -> None:
        """Take note that the body has ended. Raises RemoteProtocolError: it is not whole."""
        try:
            self._decoder.close()
        except RemoteProtocolError as error:
            self.fail(error)
            raise
        self.succeed(Page(self._entries, end.more, end.hidden))
