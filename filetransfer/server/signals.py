"""What an operator's signals do: SIGTERM and SIGINT end the daemon, SIGHUP has it look at its files again.

Twisted's own SIGTERM stops the reactor at once, and twistd then ends by that signal: whoever started it sees a crash.
Ours are put in their place when the reactor runs, since it is only then that Twisted sets its own; and before, because
a signal that comes while the daemon starts is meant for it as well.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

_log = Logger()


class Signals:
    """The signals of this process, and who is told of them, in the reactor's thread.

    Args:
        reactor: whose thread that is.
        end: told of SIGTERM and of SIGINT, each time.
    """

    def __init__(self, reactor: Any, end: Callable[[], object]) -> None:
        self._reactor = reactor
        self._end = end
        self._reload_listeners: list[Callable[[], object]] = []
        self._before: dict[int, Any] = {}

    def on_reload(self, listener: Callable[[], object]) -> None:
        """Call ``listener`` at each SIGHUP; what it raises is logged, and the others are called all the same."""
        self._reload_listeners.append(listener)

    def install(self) -> None:
        """Take the place of whoever hears the signals; to be called again when somebody else may have taken it."""
        for number, act in (
            (signal.SIGTERM, self._end),
            (signal.SIGINT, self._end),
            (signal.SIGHUP, self._reload),
        ):
            before = signal.signal(number, partial(self._tell, act))
            self._before.setdefault(number, before)

    def ignore(self) -> None:
        """Hear nothing more: whoever signals an ending process once more would make it look as if it had crashed."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)
        self._before.clear()

    def restore(self) -> None:
        """Give the signals back; does nothing when they were not taken."""
        while self._before:
            signal.signal(*self._before.popitem())

    def _tell(self, act: Callable[[], object], *_: object) -> None:
        self._reactor.callFromThread(act)

    def _reload(self) -> None:
        for listener in self._reload_listeners:
            try:
                listener()
            except Exception:  # noqa: BLE001 - one file that cannot be read must not keep the others from being read
                _log.failure("a bug in reloading")
