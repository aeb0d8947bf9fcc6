"""Events of the epoll reactor without a log context around each.

Twisted's reactors enter a log context for each event: a dict is copied twice, so that a line written by the old
``log.msg`` bears the name of the transport. Nothing of ours is written so, and it takes 1.9 of some 30 µs of a small
GET. What reading or writing raises is caught and logged where it ever was, in the reactor's ``_doReadOrWrite``.
"""

from __future__ import annotations

from typing import Any


def poll_plainly(reactor: Any) -> None:
    """Let an epoll reactor call at once whom an event is for; to be called before it runs. Others are left alone."""
    try:
        from twisted.internet.epollreactor import EPollReactor
    except ImportError:  # pragma: no cover - a system without epoll
        return
    if type(reactor) is not EPollReactor:
        return
    epoll: Any = reactor
    try:
        poll, selectables, act = epoll._poller.poll, epoll._selectables, epoll._doReadOrWrite
    except AttributeError:
        # These names are Twisted's own, and may change: then it is a little slower, and that is all.
        return

    def do_iteration(timeout: float | None) -> None:
        # As EPollReactor.doPoll; interrupted by a signal, Python's poll() goes on by itself (PEP 475).
        for descriptor, event in poll(-1 if timeout is None else timeout, len(selectables)):
            selectable = selectables.get(descriptor)
            # An event before this one may have ended it.
            if selectable is not None:
                act(selectable, descriptor, event)

    epoll.doIteration = do_iteration
