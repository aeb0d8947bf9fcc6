"""Threads that do the same to many items at once, where each of them waits for a disk.

A hop to a thread is most of what it costs, and an executor of ``concurrent.futures`` makes much of it: a Future with a
condition, a semaphore and two queues' worth of locks, each of which may wait for the interpreter's. For an upload of
4 KiB by itself, whose directories are fsynced by two threads, that was 14 switches of threads and 40 calls of
``futex``. Here one queue wakes a thread and another is told, both in C, and whoever calls does a share: 8 switches.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import TypeVar

_Item = TypeVar("_Item")


class Workers:
    """Threads that are started when there is work for them. Used by one thread.

    Args:
        count: of threads that work at the same time, with the one that calls; >= 1.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._threads: list[threading.Thread] = []
        self._work: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._ended: SimpleQueue[None] = SimpleQueue()

    def do_each(self, act: Callable[[_Item], None], items: Sequence[_Item]) -> None:
        """Call ``act`` on each item; return when all are done.

        It must not raise: rather than tell of items as done that are not, this would never return.
        """
        # Each takes the next item when it is done with its last: next() of an iterator is atomic.
        rest = iter(items)
        helpers = min(len(items), self._count) - 1
        self._start(helpers)
        for _ in range(helpers):
            self._work.put(lambda: _do_each(act, rest))
        _do_each(act, rest)
        for _ in range(helpers):
            self._ended.get()

    def _start(self, count: int) -> None:
        while len(self._threads) < count:
            name = f"{self._name}-{len(self._threads)}"
            thread = threading.Thread(target=self._run, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            self._ended.put(None)

    def close(self) -> None:
        """End the threads."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()


def _do_each(act: Callable[[_Item], None], items: Iterator[_Item]) -> None:
    for item in items:
        act(item)
