"""Exchanges: one request and its response; what each request does, one function a request, and the table of them.

A function is given the exchange and the request, and answers in one of three ways: it returns the response, it returns
a coroutine whose result is the response, or it leaves the answer to the exchange's own methods (a commit, a download).
Raising :class:`~filetransfer.errors.RequestRefused` refuses the request.

Nothing here blocks: what might is done in a thread, and what is known not to (a small file in the page cache) needs
none.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from filetransfer.bodies.incoming import HeldBody, IncomingBody
from filetransfer.errors import Internal, RequestRefused, TooLarge, TransferInterrupted, Unsupported
from filetransfer.names import Path, check_path
from filetransfer.server.order import list_written_paths
from filetransfer.store.interface import Commit, Download, Publish, PublishOctets, Rename
from filetransfer.wire.messages import (
    Change,
    Content,
    Done,
    Get,
    Help,
    HelpText,
    Put,
    Refused,
    Request,
    Response,
    Statistics,
    Summary,
    Unknown,
)

if TYPE_CHECKING:
    from filetransfer.server.protocol import FileTransferProtocol

MAX_SMALL_OCTETS = 64 * 1024
"""Bodies up to this size are held in memory, and go out in one write with their head.

Source: protocol, section 1, rule 2, and section 5.
"""

HELP_TEXT = "bye change get help put summary"

Answer = Response | Coroutine[Deferred[Any], Any, Response | None] | None

_log = Logger()


class Exchange:
    """One request, on its way to its response.

    Attributes:
        request: what was asked.
        paths: of the files that it writes; requests that come later and name one of them wait.
        body: the request's body while it is received; None when there is none, or when nobody wants it.
        reply: the octets of the response, but for a bulk body; None until it is answered.
        download: the bulk body of the response.
    """

    __slots__ = (
        "_held_octets",
        "_summary",
        "_work",
        "body",
        "download",
        "paths",
        "protocol",
        "reply",
        "request",
    )

    def __init__(self, protocol: FileTransferProtocol, request: Request) -> None:
        self.protocol = protocol
        self.request = request
        self.paths = list_written_paths(request)
        self.body: HeldBody | IncomingBody | None = None
        self.reply: bytes | None = None
        self.download: Download | None = None
        self._held_octets = 0
        self._work: Deferred[Response | None] | None = None
        self._summary: Deferred[Any] | None = None

    def start(self) -> None:
        """Do what the request asks."""
        try:
            answer = EXCHANGES[type(self.request)](self, self.request)
        except Exception:  # noqa: BLE001 - whatever it is, it is this request's alone
            self._fail(Failure())
            return
        if isinstance(answer, Coroutine):
            works = self.protocol.factory.works
            self._work = work = Deferred.fromCoroutine(answer)
            works.add(work)
            work.addCallbacks(self._answer_result, self._fail)
            work.addBoth(lambda _: works.discard(work))
        elif answer is not None:
            self.answer(answer)

    @property
    def is_working(self) -> bool:
        """Whether a coroutine of its own will answer it, rather than a commit."""
        return self._work is not None and self.reply is None

    def interrupt(self) -> None:
        """The peer broke off inside the request's body."""
        if self.is_working and self.body is not None:
            self.body.fail(TransferInterrupted("the peer broke off"))
        else:
            self.protocol.exchange_abandoned(self)

    def cancel(self) -> None:
        """Stop working for a peer that is gone. What was handed to the store goes on: it was asked for, whole."""
        if self.body is not None:
            self.body.fail(TransferInterrupted("the connection was lost"))
        if self._summary is not None:
            self._summary.cancel()
        self._close_download()

    def answer(self, response: Response, octets: bytes = b"") -> None:
        """Answer, with a small body or none."""
        try:
            self.reply = self.protocol.connection.encode(response, self.request) + octets
        except TooLarge as refusal:
            self.refuse(refusal)
            return
        self._hold(len(self.reply))
        self.protocol.exchange_answered(self)

    def answer_with_download(self, content: Content, download: Download) -> None:
        """Answer with a file that is sent when the response's turn has come, and then closed."""
        self.download = download
        if self.protocol.is_lost:
            self._close_download()
        self.answer(content)

    def refuse(self, refusal: RequestRefused) -> None:
        """Answer that it cannot be done."""
        self._close_download()
        _log.info(
            "{peer}: {request} refused, {word}: {reason}",
            peer=self.protocol.peer,
            request=self.request,
            word=refusal.word,
            reason=str(refusal),
        )
        self.answer(Refused(refusal))

    def hold_body(self, take: Callable[[bytes, Any], None], size: int) -> None:
        """Collect the request's body in memory and give it to ``take``."""
        self._hold(size)
        self.body = HeldBody(self.protocol.connection, take)

    def receive_body(self) -> IncomingBody:
        """Give the request's body, to be received into a file."""
        protocol = self.protocol
        self.body = IncomingBody(
            protocol.connection,
            protocol.set_body_paused,
            protocol.body_moved,
            protocol.transport,
            protocol.body_passed,
        )
        return self.body

    def commit(self, commit: Commit) -> None:
        """Hand a change to the store; the exchange is answered when it is durable."""
        commit.done = self._committed
        self.protocol.submit(commit)

    async def summarise(self, download: Download) -> Statistics:
        """Give the statistics of an open file of numbers."""
        if self.protocol.is_lost:
            raise TransferInterrupted("the connection was lost before the file was open")
        self._summary = self.protocol.factory.summaries.summarise(download.fileno())
        try:
            return await self._summary
        finally:
            self._summary = None

    def release(self) -> None:
        """Give back the memory that it was counted for: its reply has left, or never will."""
        self._hold(0)

    def _committed(self, commit: Commit) -> None:
        if commit.error is None:
            self.answer(Done())
        else:
            self.refuse(commit.error)

    def _hold(self, octets: int) -> None:
        self.protocol.held_octets += octets - self._held_octets
        self._held_octets = octets

    def _close_download(self) -> None:
        download, self.download = self.download, None
        if download is not None:
            download.close()

    def _answer_result(self, response: Response | None) -> None:
        if response is not None:
            self.answer(response)

    def _fail(self, failure: Failure) -> None:
        if isinstance(failure.value, RequestRefused):
            self.refuse(failure.value)
        elif isinstance(failure.value, (TransferInterrupted, CancelledError)):
            self.protocol.exchange_abandoned(self)
        else:
            _log.failure("{request}: a bug; the request is refused", failure, request=self.request)
            self.refuse(Internal("the server failed; its log says why"))


def put(exchange: Exchange, request: Put) -> Answer:
    """Store a file."""
    path = check_path(request.path)
    # A sender that does not know the size claims nothing.
    size = request.size or 0
    exchange.protocol.factory.store.check_upload(path, size)
    if request.size is None or size > MAX_SMALL_OCTETS:
        return _put_bulk(exchange, path, size)
    exchange.hold_body(
        lambda octets, _: exchange.commit(PublishOctets(path=path, octets=octets)), size
    )
    return None


async def _put_bulk(exchange: Exchange, path: Path, size: int) -> None:
    body = exchange.receive_body()
    upload = await deferToThread(exchange.protocol.factory.store.open_upload, path, size)
    try:
        await body.receive_into(upload)
        # Here and not in the commit queue, where every small file of the batch would wait for this one's fsync.
        await deferToThread(upload.prepare)
    except BaseException:
        await deferToThread(upload.abort)
        raise
    exchange.commit(Publish(upload=upload))


def get(exchange: Exchange, request: Get) -> Answer:
    """Send a file."""
    path = check_path(request.path)
    download = exchange.protocol.factory.store.open_cached_download(path)
    if download is None:
        return _get_in_thread(exchange, path)
    try:
        octets = download.read_cached(MAX_SMALL_OCTETS)
    except BaseException:
        download.close()
        raise
    if octets is None and download.size <= MAX_SMALL_OCTETS:
        download.close()
        return _get_in_thread(exchange, path)
    _send(exchange, path, download, octets)
    return None


async def _get_in_thread(exchange: Exchange, path: Path) -> None:
    download, octets = await deferToThread(_open_and_read, exchange, path)
    _send(exchange, path, download, octets)


def _open_and_read(exchange: Exchange, path: Path) -> tuple[Download, bytes | None]:
    download = exchange.protocol.factory.store.open_download(path)
    if download.size > MAX_SMALL_OCTETS:
        return download, None
    try:
        return download, download.read(0, download.size)
    except BaseException:
        download.close()
        raise


def _send(exchange: Exchange, path: Path, download: Download, octets: bytes | None) -> None:
    """Answer with a file: at once where it is small and was read, else when the response's turn has come."""
    content = Content(path, download.size)
    if octets is None:
        exchange.answer_with_download(content, download)
    else:
        download.close()
        exchange.answer(content, octets)


def change(exchange: Exchange, request: Change) -> Answer:
    """Give a file another name."""
    path = check_path(request.path)
    try:
        to = check_path(request.to, about="to")
    except RequestRefused as refusal:
        return _refuse_change(exchange, path, refusal)
    exchange.commit(Rename(path=path, to=to))
    return None


async def _refuse_change(exchange: Exchange, path: Path, refusal: RequestRefused) -> None:
    """Refuse because of the new name, unless the old one is missing: that is said first (rule 8)."""
    download = await deferToThread(exchange.protocol.factory.store.open_download, path)
    download.close()
    raise refusal


async def summary(exchange: Exchange, request: Summary) -> Response:
    """Summarise a file of numbers."""
    path = check_path(request.path)
    download = await deferToThread(exchange.protocol.factory.store.open_download, path)
    try:
        return await exchange.summarise(download)
    finally:
        download.close()


def help_(exchange: Exchange, request: Help) -> Answer:
    """Say what can be asked."""
    return HelpText(HELP_TEXT)


def unknown(exchange: Exchange, request: Unknown) -> Answer:
    """Say that there is no such request."""
    raise Unsupported(f"there is no request with code {request.code}")


EXCHANGES: dict[type, Callable[[Exchange, Any], Answer]] = {
    Put: put,
    Get: get,
    Change: change,
    Summary: summary,
    Help: help_,
    Unknown: unknown,
}
