"""Exchanges of the client: one request, its response, and what becomes of the bodies.

An exchange waits in its session until its turn has come. Then a connection asks it for its octets
(:meth:`Exchange.open`, which opens the local file), writes them, and hands it the response. When the connection is lost
in between, the session lets it be opened again on the next one, or tells its caller why not.

Those that move files are in ``client/put_exchange.py`` and ``client/get_exchange.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from msgspec import Struct

from filetransfer.client.sources import Body, StreamBody
from filetransfer.errors import (
    OutcomeUnknown,
    RemoteProtocolError,
    TransferInterrupted,
)
from filetransfer.wire.connection import ClientEnd
from filetransfer.wire.listing import EntryDecoder
from filetransfer.wire.messages import (
    BodyEnd,
    Digests,
    Entry,
    List,
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

Ended = Callable[[Result | None, BaseException | None], None]
"""Told what became of an exchange: its result and None, or None and what went wrong."""


class Transferred(Struct, frozen=True):
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
    digest: Digests = {}
    is_verified: bool = False
    is_durable: bool = False
    offset: int = 0


class Exchange(Generic[Result]):
    """One request and its response.

    Attributes:
        is_over: whether it has its outcome, or its caller has given it up.
        size: octets of the body in either direction, once it is known.
    """

    __slots__ = ("_base", "_ended", "_moved", "_progress", "_release", "is_over", "size")

    def __init__(self, progress: Progress | None = None) -> None:
        self.is_over = False
        self.size = 0
        self._base = 0
        self._moved = 0
        self._progress = progress

    def begin(self, release: Callable[[Exchange[Any]], None], ended: Ended[Result]) -> None:
        """Take note of who is told, once, of the outcome: first whoever has the exchange, then who wants the result.

        A function rather than a Deferred: of fifty thousand files, each would wait for its own.
        """
        self._release = release
        self._ended = ended

    @property
    def is_repeatable(self) -> bool:
        """Whether it may be sent once more when nobody knows what became of it."""
        return True

    @property
    def left(self) -> int:
        """Octets of the body that have not moved yet."""
        return max(self.size - self._moved, 0)

    def open(self, connection: ClientEnd) -> tuple[bytes, Body | StreamBody | None]:
        """Begin an attempt.

        Args:
            connection: encodes what is sent.

        Returns:
            The octets to write: the request, with its body if that is small; and the large body that follows them.

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
        if self._progress is not None:
            self._tell_progress(self._progress)

    def body_moved(self, count: int) -> None:
        """Take note that octets of the body have moved."""
        self._moved += count
        if self._progress is not None:
            self._tell_progress(self._progress)

    def _tell_progress(self, progress: Progress) -> None:
        moved = self._base + self._moved
        progress(moved, max(moved, self._base + self.size))

    def succeed(self, result: Result) -> None:
        """End it with a result; nothing happens if it is over."""
        if not self.is_over:
            self.is_over = True
            self._release(self)
            self._ended(result, None)

    def fail(self, error: BaseException) -> None:
        """End it with an error; nothing happens if it is over."""
        if not self.is_over:
            self.is_over = True
            self._release(self)
            self._ended(None, error)

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

    def open(self, connection: ClientEnd) -> tuple[bytes, None]:
        """See :meth:`Exchange.open`."""
        return connection.encode(self._request), None

    def _find_result(self, response: Response) -> Response:
        return response

    def explain_loss(self, error: TransferInterrupted) -> TransferInterrupted:
        """See :meth:`Exchange.explain_loss`."""
        return OutcomeUnknown(
            f"{error}; {self._doubt} may have been done: look before you repeat it"
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

    def open(self, connection: ClientEnd) -> tuple[bytes, None]:
        """See :meth:`Exchange.open`."""
        self._decoder = EntryDecoder()
        self._entries = []
        return connection.encode(self._request), None

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
