"""The threads that move large bodies.

They are apart from the reactor's own, which open files and do other small work: a disk that hangs under large bodies
may stop all of these and none of those. There are at most :data:`MAX_MOVERS`, started as they are needed, and no
peer can hold one: a body gets a turn, at most so many octets and no waiting for the peer, and then goes to the end of
the queue.

A hop to a thread and back takes 14 µs of processor time here, through Twisted's thread pool 60.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFromThreads
from twisted.python.failure import Failure

MAX_MOVERS = 8
"""Turns at a time. Two fill the memory bus; the others are for disks that make their readers wait."""

_Result = TypeVar("_Result")


class Movers:
    """A bounded number of threads, and a queue of work for them.

    Args:
        limit: the number of threads, > 0.
    """

    def __init__(self, limit: int = MAX_MOVERS) -> None:
        self._limit = limit
        self._started = 0
        self._busy = 0
        self._work: SimpleQueue[Callable[[], None]] = SimpleQueue()

    def run(
        self, reactor: IReactorFromThreads, act: Callable[..., _Result], *args: Any
    ) -> Deferred[_Result]:
        """Call ``act`` in one of the threads, after what was asked before. Only for the reactor's thread.

        Args:
            reactor: whose thread the result is given in.
            act: what to call; may block.
            *args: for it.

        Returns:
            Fires with what ``act`` returns or raises. It cannot be cancelled.
        """
        done: Deferred[_Result] = Deferred()

        def work() -> None:
            try:
                result = act(*args)
            except BaseException:  # noqa: BLE001 - whoever waits is told
                reactor.callFromThread(self._finish, done, Failure())
            else:
                reactor.callFromThread(self._finish, done, result)

        if self._busy == self._started < self._limit:
            self._started += 1
            # A daemon: a disk that hangs must not keep the program from ending.
            name = f"filetransfer-mover-{self._started}"
            threading.Thread(target=self._run, name=name, daemon=True).start()
        self._busy += 1
        self._work.put(work)
        return done

    def _run(self) -> None:
        while True:
            self._work.get()()

    def _finish(self, done: Deferred[Any], result: Any) -> None:
        self._busy -= 1
        done.callback(result)


movers = Movers()
"""Those of this process."""
