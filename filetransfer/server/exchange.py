"""One exchange: a request, on its way to its response, and what it holds meanwhile.

What each request does is in ``exchanges.py``; it answers in one of three ways: it returns the response, it returns a
coroutine whose result is the response, or it leaves the answer to the exchange's own methods (a commit, a body that is
sent when its turn has come). Raising :class:`~filetransfer.errors.RequestRefused` refuses the request.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.failure import Failure

from filetransfer.bodies.incoming import HeldBody, IncomingBody
from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.errors import Internal, RequestRefused, TooLarge, TransferInterrupted
from filetransfer.server.order import list_written_paths
from filetransfer.server.sending import OutgoingBody
from filetransfer.store.interface import Commit, Download, Publication
from filetransfer.wire.messages import (
    BodyEnd,
    Done,
    Refused,
    Request,
    Response,
    Statistics,
    Summary,
)

if TYPE_CHECKING:
    from filetransfer.server.protocol import FileTransferProtocol

MAX_SMALL_OCTETS = 64 * 1024
"""Bodies up to this size are held in memory, and go out in one write with their head.

Source: protocol, section 1, rule 2, and section 5.
"""

Result = TypeVar("Result")
Answer = Response | Coroutine[Deferred[Any], Any, Response | None] | None

TOO_LARGE = "larger than the server takes: ask its operator for more"

_log = Logger()


class Exchange:
    """One request and its response.

    Attributes:
        protocol: of the connection.
        request: what was asked.
        paths: of the files that it writes; requests that come later and name one of them wait.
        body: the request's body while it is received; None when there is none, or when nobody wants it.
        reply: the octets of the response, but for a bulk body; None until it is answered.
        outgoing: the bulk body of the response.
        octets: of the bodies of request and response, as far as they have moved.
        outcome: ``done``, or the word of the refusal.
        began_at: when it began, on the reactor's clock.
        waits_since: when its peer was last told that it is at work, or should first have been; None: not yet.
    """

    __slots__ = (
        "_held_octets",
        "_stop_work",
        "_work",
        "began_at",
        "body",
        "octets",
        "outcome",
        "outgoing",
        "paths",
        "protocol",
        "reply",
        "request",
        "waits_since",
    )

    def __init__(self, protocol: FileTransferProtocol, request: Request) -> None:
        self.protocol = protocol
        self.request = request
        self.paths = list_written_paths(request)
        self.body: HeldBody | IncomingBody | None = None
        self.reply: bytes | None = None
        self.outgoing: OutgoingBody | None = None
        self.octets = 0
        self.outcome = "done"
        self.began_at = 0.0
        self.waits_since: float | None = None
        self._held_octets = 0
        self._work: Deferred[Response | None] | None = None
        self._stop_work: Callable[[], None] | None = None

    def start(self, act: Callable[[Exchange, Any], Answer]) -> None:
        """Do what the request asks."""
        try:
            answer = act(self, self.request)
        except Exception:  # noqa: BLE001 - whatever it is, it is this request's alone
            self._fail(Failure())
            return
        if answer is None:
            return
        if isinstance(answer, Coroutine):
            works = self.protocol.factory.works
            self._work = work = Deferred.fromCoroutine(answer)
            works.add(work)
            work.addCallback(self._answer_result)
            work.addErrback(self._fail)
            work.addBoth(lambda _: works.discard(work))
        else:
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
        if self._stop_work is not None:
            self._stop_work()
        self.close_outgoing()

    def answer(self, response: Response, octets: bytes | None = None) -> None:
        """Answer; with a small body, if its octets are given."""
        connection = self.protocol.connection
        try:
            reply = connection.encode(response, self.request)
        except TooLarge as refusal:
            self.refuse(refusal)
            return
        if octets is None:
            self.reply = reply
        else:
            self.reply = reply + octets
            self.octets += len(octets)
        self._hold(len(self.reply))
        self.protocol.exchange_answered(self)

    def answer_with_body(self, response: Response, outgoing: OutgoingBody) -> None:
        """Answer with a body that is sent when the response's turn has come, and then closed."""
        self.outgoing = outgoing
        if self.protocol.is_lost:
            self.close_outgoing()
        self.answer(response)

    def refuse(self, refusal: RequestRefused) -> None:
        """Answer that it cannot be done."""
        self.close_outgoing()
        self.outcome = refusal.word
        self.protocol.factory.log_peer(
            self.protocol,
            "{peer}: {request} refused, {word}: {reason}",
            request=self.request,
            word=refusal.word,
            reason=str(refusal),
        )
        self.answer(Refused(refusal))

    def hold_body(self, take: Callable[[bytes, BodyEnd], None], size: int) -> None:
        """Collect the request's body in memory and give it to ``take``, whose refusal refuses the request."""
        self._hold(size)
        self.octets = size
        self.body = HeldBody(self.protocol.connection, take)

    def receive_body(self) -> IncomingBody:
        """Give the request's body, to be received into a file; it fails where it becomes larger than allowed."""
        protocol = self.protocol
        left = protocol.factory.limits.max_upload_octets

        def note_moved(count: int) -> None:
            nonlocal left
            self.octets += count
            protocol.body_moved(count)
            if left is not None:
                left -= count
                if left < 0:
                    body.fail(TooLarge(TOO_LARGE))

        self.body = body = IncomingBody(
            protocol.connection,
            protocol.set_body_paused,
            note_moved,
            protocol.transport,
            protocol.body_passed,
        )
        return body

    def end_body(self, end: BodyEnd) -> None:
        """Take note that the request's body has ended."""
        body, self.body = self.body, None
        if body is None:
            return
        if end.refusal is None:
            try:
                body.end(end)
            except RequestRefused as refusal:
                self.refuse(refusal)
        elif self.is_working:
            body.fail(end.refusal)
        else:
            self.refuse(end.refusal)

    def commit(self, commit: Commit) -> None:
        """Hand a change to the store; the exchange is answered when it is durable."""
        commit.done = self._committed
        self.protocol.submit(commit)

    async def run_until_stopped(self, act: Callable[..., Result], *args: Any) -> Result:
        """Call ``act`` in a thread, with a function after ``args`` that tells whether it should stop: nobody waits."""
        should_stop = threading.Event()
        self._stop_work = should_stop.set
        if self.protocol.is_lost:
            should_stop.set()
        try:
            return await deferToThread(act, *args, should_stop.is_set)
        finally:
            self._stop_work = None

    async def summarise(self, download: Download, request: Summary) -> Statistics:
        """Give the statistics of an open file of numbers."""
        if self.protocol.is_lost:
            raise TransferInterrupted("the connection was lost before the file was open")
        summary = self.protocol.factory.summaries.summarise(download.fileno(), request)
        self._stop_work = summary.cancel
        try:
            return await summary
        finally:
            self._stop_work = None

    def log(self, outcome: str = "") -> None:
        """Write a line about it, where there is one for each request; it has ended.

        Args:
            outcome: empty for what it was answered.
        """
        requests = self.protocol.factory.request_log
        if requests is None:
            return
        # Of an upload's token, the only proof of whose it is, nothing is ever logged.
        to = getattr(self.request, "to", None)
        requests.add(
            connection=self.protocol.number,
            peer=self.protocol.peer,
            identity=self.protocol.identity,
            request=type(self.request).__name__.lower(),
            path=getattr(self.request, "path", None) or "",
            **({} if to is None else {"to": to}),
            octets=self.octets,
            seconds=round(self.protocol.factory.reactor.seconds() - self.began_at, 6),
            outcome=outcome or self.outcome,
        )

    def release(self) -> None:
        """Give back the memory that it was counted for: its reply has left, or never will."""
        self._hold(0)

    def close_outgoing(self) -> None:
        """Give up the bulk body of the response, if there is one."""
        outgoing, self.outgoing = self.outgoing, None
        if outgoing is not None:
            outgoing.close()

    def _committed(self, commit: Commit) -> None:
        if commit.error is not None:
            self.refuse(commit.error)
        elif isinstance(commit, Publication):
            digest = {DEFAULT_ALGORITHM: commit.digest} if commit.digest else {}
            self.answer(Done(commit.size, commit.etag, digest))
        else:
            self.answer(Done(etag=commit.etag or None))

    def _hold(self, octets: int) -> None:
        protocol, more = self.protocol, octets - self._held_octets
        protocol.held_octets += more
        protocol.factory.held_octets += more
        self._held_octets = octets

    def _answer_result(self, response: Response | None) -> None:
        if response is not None:
            self.answer(response)

    def _fail(self, failure: Failure) -> None:
        if isinstance(failure.value, RequestRefused):
            self.refuse(failure.value)
        elif isinstance(failure.value, (TransferInterrupted, CancelledError)):
            self.protocol.exchange_abandoned(self)
        elif self.reply is None:
            _log.failure("{request}: a bug; the request is refused", failure, request=self.request)
            self.refuse(Internal("the server failed; its log says why"))
        else:
            _log.failure(
                "{request}: a bug; the connection is failed", failure, request=self.request
            )
            self.protocol.transport.abortConnection()
