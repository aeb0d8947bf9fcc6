"""The child processes that read files of numbers for SUMMARY: as many at a time as there are cores.

A thread would hold the interpreter's lock for a block of numbers at a time, and every other peer would feel it.
"""

from __future__ import annotations

import os
from dataclasses import asdict
from typing import Any

from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from filetransfer.errors import NotNumeric
from filetransfer.summary.blocks import NotANumber
from filetransfer.summary.process import Selection, child_arguments, parse_result
from filetransfer.wire.messages import Statistics, Summary

# The child's answer is one line; what more it writes is not kept.
_MAX_RESULT_OCTETS = 4096


class Summaries:
    """Runs the children.

    Args:
        reactor: spawns them.
        max_children: how many run at a time, >= 1; None: as many as there are cores. Further ones wait.
    """

    def __init__(self, reactor: IReactorProcess, max_children: int | None = None) -> None:
        self._reactor = reactor
        self._slots = DeferredSemaphore(max_children or os.cpu_count() or 1)

    def summarise(self, descriptor: int, request: Summary) -> Deferred[Statistics]:
        """Give the statistics of an open file.

        Args:
            descriptor: the file, open for reading until the result is there.
            request: says which of its numbers.

        Returns:
            A Deferred; cancelling it ends the child. It fails with NotNumeric (its message says line and octet) when
            what was
            selected holds anything but numbers, or none; with ChildFailed when the child ended without a result.

        Raises:
            Invalid: there is no such selection.
        """
        selection = Selection(request.column, request.delimiter, request.skip)
        return self._slots.run(self._run_child, descriptor, selection)

    def _run_child(self, descriptor: int, selection: Selection) -> Deferred[Statistics]:
        child = _Child()
        arguments = child_arguments(selection)
        self._reactor.spawnProcess(
            child, arguments[0], arguments, env={}, childFDs={0: descriptor, 1: "r", 2: "r"}
        )
        return child.result


class ChildFailed(Exception):
    """A child ended without a result: it was killed, or has a bug."""


class _Child(ProcessProtocol):
    transport: Any

    def __init__(self) -> None:
        self.result: Deferred[Statistics] = Deferred(self._end)
        self._output = b""
        self._complaint = b""

    def outReceived(self, data: bytes) -> None:
        self._output = (self._output + data)[:_MAX_RESULT_OCTETS]

    def errReceived(self, data: bytes) -> None:
        self._complaint = (self._complaint + data)[-_MAX_RESULT_OCTETS:]

    def processEnded(self, reason: Failure) -> None:
        result, self.result = self.result, Deferred()
        if result.called:
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
