"""The child processes that read files of numbers for SUMMARY: as many at a time as there are cores.

A thread would hold the interpreter's lock for a block of numbers at a time, and every other peer would feel it.

A child measures one file and ends. It takes 25 ms until it can begin, which for ten million numbers is a tenth of all,
and for a few is all there is; so behind each summary another child is started and waits for a while, and the next
summary has its answer that much earlier. A waiting child has 8 MiB of memory of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from filetransfer.errors import NotNumeric
from filetransfer.summary.blocks import NotANumber
from filetransfer.summary.process import Selection, child_arguments, parse_result
from filetransfer.wire.messages import Statistics, Summary

# The child's answer is one line; what more it writes is not kept.
_MAX_RESULT_OCTETS = 4096

SPARE_SECONDS = 300.0
"""How long a child waits for a file."""


class Summaries:
    """Runs the children.

    Args:
        reactor: spawns them.
        max_children: how many run at a time, >= 1; None: as many as there are cores. Further ones wait.
    """

    def __init__(self, reactor: Any, max_children: int | None = None) -> None:
        self._reactor = reactor
        self._slots = DeferredSemaphore(max_children or os.cpu_count() or 1)
        self._spare: _Child | None = None
        self._dismissal: IDelayedCall | None = None
        self._is_closed = False

    def summarise(self, descriptor: int, request: Summary) -> Deferred[Statistics]:
        """Give the statistics of an open file.

        Args:
            descriptor: the file, open for reading until the result is there.
            request: says which of its numbers.

        Returns:
            A Deferred; cancelling it ends the child. It fails with NotNumeric (its message says line and octet) when
            what was selected holds anything but numbers, or none; with ChildFailed when the child ended without a
            result.

        Raises:
            Invalid: there is no such selection.
        """
        selection = Selection(request.column, request.delimiter, request.skip)
        return self._slots.run(self._ask_child, descriptor, selection)

    def close(self) -> None:
        """End the child that waits, if there is one, and keep no other."""
        self._is_closed = True
        self._dismiss_spare()

    def _dismiss_spare(self) -> None:
        spare = self._take_spare()
        if spare is not None:
            spare.dismiss()

    def _ask_child(self, descriptor: int, selection: Selection) -> Deferred[Statistics]:
        child = self._take_spare()
        if child is None or child.has_ended:
            child = _Child(self._reactor)
        return child.ask(descriptor, selection).addCallback(self._keep_spare)

    def _keep_spare(self, statistics: Statistics) -> Statistics:
        if self._spare is None and not self._is_closed:
            # If it cannot be started, the next summary will say so.
            with contextlib.suppress(OSError):
                self._spare = _Child(self._reactor)
                self._dismissal = self._reactor.callLater(SPARE_SECONDS, self._dismiss_spare)
        return statistics

    def _take_spare(self) -> _Child | None:
        spare, self._spare = self._spare, None
        if self._dismissal is not None and self._dismissal.active():
            self._dismissal.cancel()
        return spare


class ChildFailed(Exception):
    """A child ended without a result: it was killed, or has a bug."""


class _Child(ProcessProtocol):
    """A process, from its start on. Raises OSError when it cannot be started.

    Attributes:
        has_ended: whether it is of no use any more.
    """

    transport: Any

    def __init__(self, reactor: Any) -> None:
        self.has_ended = False
        self._result: Deferred[Statistics] | None = None
        self._output = b""
        self._complaint = b""
        self._request, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        arguments = child_arguments()
        descriptors = {0: theirs.fileno(), 1: "r", 2: "r"}
        with theirs:
            try:
                reactor.spawnProcess(self, arguments[0], arguments, env={}, childFDs=descriptors)
            except BaseException:
                self._request.close()
                raise

    def ask(self, descriptor: int, selection: Selection) -> Deferred[Statistics]:
        """Have it measure a file; once."""
        self._result = Deferred(self._end)
        # If it has ended just now, processEnded says why.
        with self._request, contextlib.suppress(OSError):
            socket.send_fds(self._request, [selection.pack()], [descriptor])
        return self._result

    def dismiss(self) -> None:
        """Let it end: there will be no file."""
        self._request.close()

    def outReceived(self, data: bytes) -> None:
        self._output = (self._output + data)[:_MAX_RESULT_OCTETS]

    def errReceived(self, data: bytes) -> None:
        self._complaint = (self._complaint + data)[-_MAX_RESULT_OCTETS:]

    def processExited(self, reason: Failure) -> None:
        self.has_ended = True
        self._request.close()

    def processEnded(self, reason: Failure) -> None:
        result = self._result
        if result is None or result.called:
            return
        try:
            statistics = parse_result(self._output)
        except NotANumber as error:
            result.errback(NotNumeric(str(error)))
        except Exception as error:  # noqa: BLE001 - whatever it wrote: else its place would be taken for ever
            complaint = self._complaint.decode("utf-8", "replace")
            result.errback(ChildFailed(f"{error}; {reason.getErrorMessage()}; {complaint!r}"))
        else:
            result.callback(Statistics(**asdict(statistics)))

    def _end(self, _: Deferred[Statistics]) -> None:
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            # Its end is on its way to processEnded.
            return
