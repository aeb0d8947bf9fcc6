"""The end of a daemon that a disk keeps from ending.

A thread that waits for a disk cannot be told to stop, and whatever ends in order waits for it: the store, the reactor's
threads, Python. So a thread that waits for nobody ends the process when its time is over. That is safe at any moment,
as SIGKILL is: what was acknowledged is on the disk, and nothing else was promised.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress

from twisted.logger import Logger

_log = Logger()


class LastResort:
    """Ends the process, if it still runs when its time is over.

    Args:
        tidy: called before, in a thread of its own, to remove and write what an end in order would; it may not wait.
    """

    def __init__(self, tidy: Callable[[], object]) -> None:
        self._tidy = tidy
        self._timer: threading.Timer | None = None

    def end_after(self, seconds: float, status: int) -> None:
        """End the process after so many seconds, > 0, with this status; a later call counts in place of this one."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = threading.Timer(seconds, self._end, (status,))
        self._timer.daemon = True
        self._timer.start()

    def _end(self, status: int) -> None:
        with suppress(Exception):
            _log.critical("the disk does not answer: ending without waiting for it")
            self._tidy()
        os._exit(status)
