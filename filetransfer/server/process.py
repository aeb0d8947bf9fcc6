"""What is set for the whole process before it serves."""

from __future__ import annotations

import ctypes
import resource
import time
from typing import Any

__all__ = ["raise_descriptor_limit", "return_free_memory", "use_monotonic_clock"]

_malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)


def use_monotonic_clock(reactor: Any) -> None:
    """Let the reactor's timers run on a clock that nobody sets; to be called before the first timer is made.

    Twisted's run on the wall clock: set back by an hour, it stopped every timer for that hour.
    """
    reactor.seconds = time.monotonic


def raise_descriptor_limit() -> int:
    """Allow as many open descriptors as this process may have.

    The soft limit is kept low for programs that call ``select``; the reactor polls.

    Returns:
        How many that is.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def return_free_memory() -> None:
    """Give the kernel back what the C library keeps of memory that is free; does nothing where that cannot be asked.

    By itself it keeps what lies below anything still in use: of a crowd that had cost 24 MiB, all of it; so, 9.
    """
    if _malloc_trim is not None:  # pragma: no branch - musl has none
        _malloc_trim(0)
