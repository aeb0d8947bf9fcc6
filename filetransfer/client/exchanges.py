"""Exchanges of the client: one request, its response, and what becomes of the bodies. One class a request.

An exchange waits in its session until its turn has come. Then a connection asks it for its request
(:meth:`Exchange.open`, which opens the local file), writes it, and hands it the response. When the connection is lost
in between, the session lets it be opened again on the next one, or tells its caller why not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from twisted.internet.defer import CancelledError, Deferred

from filetransfer.bodies.incoming import IncomingBody
from filetransfer.client.destinations import (
    Delivery,
    PathDestination,
    Publisher,
    Stream,
    explain_locally,
)
from filetransfer.client.sources import Body, Source
from filetransfer.errors import OutcomeUnknown, RequestRefused, TransferInterrupted
from filetransfer.wire.messages import (
    Change,
    Get,
    Help,
    HelpText,
    Put,
    Refused,
    Request,
    Response,
    Statistics,
    Summary,
)

Progress = Callable[[int, int], None]
"""Told how many octets of a body have moved, and how many it has; from 0 again when the transfer is repeated."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Transferred:
    """What became of a PUT or a GET.

    Attributes:
        size: octets of the file.
    """

    size: int


class Exchange(Generic[Result]):
    """One request and its response.

    Attributes:
        result: what the caller waits for.
        size: octets of the body in either direction, once it is known.
    """

    __slots__ = ("_moved", "_progress", "result", "size")

    def __init__(self, progress: Progress | None = None) -> None:
        self.result: Deferred[Result] = Deferred()
        self.size = 0
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

    def open(self) -> tuple[Request, Body | None]:
        """Give the request and its body, for one attempt. Raises OSError, FileTransferError."""
        raise NotImplementedError

    def respond(self, response: Response) -> None:
        """Take the response. One without a body ends the exchange."""
        if isinstance(response, Refused):
            self.fail(response.error)
        else:
            self.succeed(self._find_result(response))

    def _find_result(self, response: Response) -> Result:
        raise NotImplementedError

    def begin_body(self, size: int) -> None:
        """Take note that a body of ``size`` octets begins to move."""
        self.size = size
        self._moved = 0
        if self._progress is not None:
            self._progress(0, size)

    def body_moved(self, count: int) -> None:
        """Take note that octets of the body have moved."""
        self._moved += count
        if self._progress is not None:
            self._progress(self._moved, self.size)

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


class PutExchange(Exchange[Transferred]):
    """Sends a file."""

    __slots__ = ("_name", "_source")

    def __init__(self, source: Source, name: str, progress: Progress | None) -> None:
        super().__init__(progress)
        self._source = source
        self._name = name

    def open(self) -> tuple[Request, Body | None]:
        """See :meth:`Exchange.open`."""
        body = self._source.open()
        self.begin_body(body.size)
        return Put(self._name, body.size), body

    def _find_result(self, response: Response) -> Transferred:
        return Transferred(self.size)


class GetExchange(Exchange[Transferred]):
    """Fetches a file.

    Args:
        name: of the file.
        destination: where it goes.
        publisher: publishes it.
        progress: told of what moves.
    """

    __slots__ = ("_destination", "_name", "_publisher")

    def __init__(
        self,
        name: str,
        destination: PathDestination | Stream,
        publisher: Publisher,
        progress: Progress | None,
    ) -> None:
        super().__init__(progress)
        self._name = name
        self._destination = destination
        self._publisher = publisher

    @property
    def is_repeatable(self) -> bool:
        """What a stream was given cannot be taken back."""
        return not (isinstance(self._destination, Stream) and self._destination.has_begun)

    @property
    def is_held(self) -> bool:
        """Whether a small body is to be held in memory until it is whole, rather than received as it comes."""
        return isinstance(self._destination, PathDestination)

    def open(self) -> tuple[Request, Body | None]:
        """See :meth:`Exchange.open`."""
        return Get(self._name), None

    def body_moved(self, count: int) -> None:
        """See :meth:`Exchange.body_moved`."""
        if isinstance(self._destination, Stream):
            self._destination.has_begun = True
        super().body_moved(count)

    def take(self, octets: bytes, end: Any) -> None:
        """Take a small body, whole, and what was said behind it."""
        self.body_moved(len(octets))
        destination = cast(PathDestination, self._destination)
        self._publisher.submit(Delivery(destination, self._published, octets=octets))

    async def receive(self, body: IncomingBody) -> None:
        """Take a large body as it comes."""
        try:
            if isinstance(self._destination, Stream):
                await body.receive_into(self._destination)
                self.succeed(Transferred(self.size))
            else:
                await self._receive_file(self._destination, body)
        except TransferInterrupted:
            # The session knows, and repeats it or fails it.
            pass
        except RequestRefused as refusal:
            path = self._destination.path if isinstance(self._destination, PathDestination) else ""
            self.fail(explain_locally(refusal, path))
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller must be told
            self.fail(error)

    async def _receive_file(self, destination: PathDestination, body: IncomingBody) -> None:
        upload = destination.begin()
        try:
            await body.receive_into(upload)
            if self.is_over:
                raise CancelledError
        except BaseException:
            upload.abort()
            raise
        self._publisher.submit(Delivery(destination, self._published, upload=upload))

    def _published(self, error: BaseException | None) -> None:
        if error is None:
            self.succeed(Transferred(self.size))
        else:
            self.fail(error)


class ChangeExchange(Exchange[None]):
    """Gives a file another name."""

    __slots__ = ("_new_name", "_old_name")

    def __init__(self, old_name: str, new_name: str) -> None:
        super().__init__()
        self._old_name = old_name
        self._new_name = new_name

    @property
    def is_repeatable(self) -> bool:
        """Done twice, it would be refused the second time, or move another file."""
        return False

    def open(self) -> tuple[Request, Body | None]:
        """See :meth:`Exchange.open`."""
        return Change(self._old_name, self._new_name), None

    def _find_result(self, response: Response) -> None:
        return None

    def explain_loss(self, error: TransferInterrupted) -> TransferInterrupted:
        """See :meth:`Exchange.explain_loss`."""
        return OutcomeUnknown(f"{error}; the change may have been done: look before you repeat it")


class SummaryExchange(Exchange[Statistics]):
    """Asks for the statistics of a file of numbers."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def open(self) -> tuple[Request, Body | None]:
        """See :meth:`Exchange.open`."""
        return Summary(self._name), None

    def _find_result(self, response: Response) -> Statistics:
        return cast(Statistics, response)


class HelpExchange(Exchange[str]):
    """Asks what can be asked."""

    __slots__ = ()

    def open(self) -> tuple[Request, Body | None]:
        """See :meth:`Exchange.open`."""
        return Help(), None

    def _find_result(self, response: Response) -> str:
        return cast(HelpText, response).text
