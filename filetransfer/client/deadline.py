"""How long nothing may move on a connection while something is unanswered.

There is one timer. Whatever moves only notes the time; when the timer rings, it looks how long that is ago.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """Watches a connection.

    Args:
        clock: for the timer.
        seconds: how long nothing may move, > 0.
        is_awaited: tells whether something is unanswered; else there is nothing to watch.
        awaits_us: tells whether it is for want of our disk, or of what we read, that nothing moves.
        miss: told when nothing has moved for too long.
    """

    def __init__(
        self,
        clock: IReactorTime,
        seconds: float,
        *,
        is_awaited: Callable[[], bool],
        awaits_us: Callable[[], bool],
        miss: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._seconds = seconds
        self._is_awaited = is_awaited
        self._awaits_us = awaits_us
        self._miss = miss
        self._moved_at = 0.0
        self._has_last_turn = True
        self._timer: IDelayedCall | None = None

    def note_move(self) -> None:
        """Take note that something moves."""
        self._moved_at = self._clock.seconds()

    def watch(self) -> None:
        """Begin to watch; nothing happens when that has begun."""
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._check)

    def stop(self) -> None:
        """Watch no more."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()

    def _check(self) -> None:
        self._timer = None
        if not self._is_awaited():
            return
        if self._awaits_us():
            self.note_move()
        left = self._moved_at + self._seconds - self._clock.seconds()
        if left > 0:
            self._has_last_turn = True
            self._timer = self._clock.callLater(left, self._check)
        elif self._has_last_turn:
            # It may be this thread that waited, for a disk: what has come meanwhile is looked at first.
            self._has_last_turn = False
            self._timer = self._clock.callLater(0, self._check)
        else:
            self._miss()
