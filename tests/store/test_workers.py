"""Threads that do the same to many items."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from filetransfer.store.workers import Workers

COUNT = 4


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(COUNT, "test-workers")
    yield workers
    workers.close()


def list_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "test-workers" in thread.name]


@pytest.mark.parametrize("count", [0, 1, 2, COUNT, COUNT + 1, 1000])
def test_each_item_is_done_once(workers: Workers, count: int) -> None:
    done: list[int] = []
    for _ in range(3):
        workers.do_each(done.append, range(count))
    assert sorted(done) == sorted([*range(count)] * 3)


def test_as_many_items_wait_at_a_time_as_there_are_threads(workers: Workers) -> None:
    everybody = threading.Barrier(COUNT)
    workers.do_each(lambda item: everybody.wait(60), range(3 * COUNT))
    assert not everybody.broken


def test_it_returns_when_the_last_item_is_done(workers: Workers) -> None:
    caller = threading.current_thread()
    for _ in range(100):
        done: list[int] = []
        both, caller_is_done = threading.Barrier(2), threading.Event()

        def act(
            item: int,
            done: list[int] = done,
            both: threading.Barrier = both,
            caller_is_done: threading.Event = caller_is_done,
        ) -> None:
            both.wait(60)
            if threading.current_thread() is caller:
                caller_is_done.set()
            else:
                caller_is_done.wait(60)
            done.append(item)

        workers.do_each(act, [1, 2])
        assert sorted(done) == [1, 2]


def test_one_item_is_done_by_the_caller(workers: Workers) -> None:
    seen: list[threading.Thread] = []
    workers.do_each(lambda item: seen.append(threading.current_thread()), [1])
    assert seen == [threading.current_thread()]
    assert list_threads() == []


def test_threads_are_named_and_end(workers: Workers) -> None:
    workers.do_each(lambda item: None, range(3))
    assert list_threads() == ["test-workers-0", "test-workers-1"]
    workers.close()
    assert list_threads() == []
