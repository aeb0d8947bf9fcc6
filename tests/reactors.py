"""Turns Twisted's reactor in plain tests, and stands in for its threads.

``run(coroutine())`` turns the real reactor until the coroutine is done, as often as you like in one process. The
fixture ``threads`` (see conftest.py) takes the place of the reactor's threads: what was handed to one waits until the
test says :meth:`HeldThreads.run`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

DEADLINE_SECONDS = 60
"""No test needs so long; one that waits for what never comes must not wait for ever."""

_Result = TypeVar("_Result")


def run(coroutine: Coroutine[Deferred[Any], Any, _Result]) -> _Result:
    """Turn the reactor until the coroutine is done; gives its result or raises its exception."""
    # Imported late: whoever collects a test that needs no reactor must not install one.
    from twisted.internet import reactor as installed

    reactor: Any = installed
    results: list[Any] = []
    work = Deferred.fromCoroutine(coroutine)
    work.addBoth(results.append)
    if not results:
        deadline = reactor.callLater(DEADLINE_SECONDS, work.cancel)
        # Unlike stop, crash leaves the reactor fit to run again.
        work.addBoth(lambda _: reactor.callLater(0, reactor.crash))
        reactor.run()
        if not results:
            raise KeyboardInterrupt
        if deadline.active():
            deadline.cancel()
    result = results[0]
    if isinstance(result, Failure):
        result.raiseException()
    return result  # type: ignore[no-any-return]


class HeldThreads:
    """Stands in for the reactor's pool of threads: nothing is done until the test says so, and then at once."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Callable[[bool, Any], None], Callable[[], Any]]] = deque()

    def __len__(self) -> int:
        return len(self._waiting)

    def callInThreadWithCallback(  # noqa: N802
        self,
        tell: Callable[[bool, Any], None],
        act: Callable[..., Any],
        *arguments: Any,
        **options: Any,
    ) -> None:
        """Take work, as Twisted's ThreadPool does."""
        self._waiting.append((tell, lambda: act(*arguments, **options)))

    def run_one(self) -> None:
        """Do what waits longest."""
        tell, act = self._waiting.popleft()
        try:
            result = act()
        except Exception:  # noqa: BLE001 - as a thread does
            tell(False, Failure())
        else:
            tell(True, result)

    def run(self) -> None:
        """Do all that waits, and what that brings."""
        while self._waiting:
            self.run_one()
