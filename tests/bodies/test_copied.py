"""The copied route: octets of a file to a transport, and of a peer to a file, at the pace of the slower one."""

import errno
import os
from collections.abc import Iterator
from typing import Any

import pytest
from reactors import HeldThreads
from twisted.internet.defer import Deferred
from twisted.internet.testing import StringTransport

from filetransfer.bodies import copied
from filetransfer.bodies.copied import (
    BLOCK_OCTETS,
    MAX_PENDING_OCTETS,
    CopiedReceiver,
    read_cached,
    send_copied,
)
from filetransfer.errors import TransferInterrupted

OCTETS = bytes(range(256)) * 4096  # four blocks


@pytest.fixture
def file() -> Iterator[int]:
    """Give a file that holds OCTETS."""
    descriptor = os.memfd_create("file")
    os.write(descriptor, OCTETS)
    yield descriptor
    os.close(descriptor)


class Sending:
    """A body on its way, and how it ended."""

    def __init__(self, transport: StringTransport, file: int, offset: int, count: int) -> None:
        self.moved: list[int] = []
        self.results: list[Any] = []
        work = Deferred.fromCoroutine(
            send_copied(transport, file, offset, count, self.moved.append)
        )
        work.addBoth(self.results.append)


@pytest.mark.parametrize(
    ("offset", "count"),
    [(0, len(OCTETS)), (0, 0), (7, 1), (1000, BLOCK_OCTETS), (0, BLOCK_OCTETS + 1)],
)
def test_sends_exactly_what_it_was_told(file: int, offset: int, count: int) -> None:
    transport = StringTransport()
    sending = Sending(transport, file, offset, count)
    assert sending.results == [None]
    assert transport.value() == OCTETS[offset : offset + count]
    assert sum(sending.moved) == count
    assert max(sending.moved, default=0) <= BLOCK_OCTETS
    assert transport.producer is None


class PausingTransport(StringTransport):
    """Asks its producer to pause after each write."""

    def write(self, data: bytes) -> None:
        super().write(data)
        self.producer.pauseProducing()


def test_sends_a_block_at_a_time_to_a_slow_peer(file: int) -> None:
    transport = PausingTransport()
    sending = Sending(transport, file, 0, len(OCTETS))
    for blocks in range(1, 5):
        assert len(transport.value()) == blocks * BLOCK_OCTETS
        assert not sending.results
        transport.producer.resumeProducing()
    assert sending.results == [None]
    assert transport.value() == OCTETS


def test_returns_when_its_last_octets_have_left(file: int) -> None:
    transport = PausingTransport()
    sending = Sending(transport, file, 0, 1)
    assert transport.value() == OCTETS[:1]
    assert not sending.results
    transport.producer.resumeProducing()
    assert sending.results == [None]


def test_resumed_twice_goes_on_once(file: int) -> None:
    transport = PausingTransport()
    Sending(transport, file, 0, len(OCTETS))
    producer = transport.producer
    producer.resumeProducing()
    assert len(transport.value()) == 2 * BLOCK_OCTETS
    producer.pauseProducing()
    producer.resumeProducing()
    assert len(transport.value()) == 3 * BLOCK_OCTETS


def test_connection_is_lost_while_it_waits_for_the_peer(file: int) -> None:
    transport = PausingTransport()
    sending = Sending(transport, file, 0, len(OCTETS))
    transport.producer.stopProducing()
    [failure] = sending.results
    assert failure.check(TransferInterrupted)
    assert len(transport.value()) == BLOCK_OCTETS


def read_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no octet be in the page cache."""
    monkeypatch.setattr(copied, "read_cached", lambda *_: None)


def test_reads_in_a_thread_what_is_not_in_memory(
    file: int, threads: HeldThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_nothing(monkeypatch)
    transport = StringTransport()
    sending = Sending(transport, file, 0, len(OCTETS))
    assert transport.value() == b""
    threads.run_one()
    assert transport.value() == OCTETS[:BLOCK_OCTETS]
    threads.run()
    assert sending.results == [None]
    assert transport.value() == OCTETS


def test_connection_is_lost_while_a_thread_reads(
    file: int, threads: HeldThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_nothing(monkeypatch)
    transport = StringTransport()
    sending = Sending(transport, file, 0, len(OCTETS))
    transport.producer.stopProducing()
    assert not sending.results  # the descriptor is in use
    threads.run()
    [failure] = sending.results
    assert failure.check(TransferInterrupted)


@pytest.mark.parametrize("is_cached", [True, False])
def test_file_that_shrank(
    file: int, threads: HeldThreads, monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    if not is_cached:
        read_nothing(monkeypatch)
    os.truncate(file, BLOCK_OCTETS + 10)
    transport = StringTransport()
    sending = Sending(transport, file, 0, len(OCTETS))
    threads.run()
    [failure] = sending.results
    assert failure.check(TransferInterrupted)
    assert failure.value.offset == BLOCK_OCTETS + 10
    assert transport.value() == OCTETS[: BLOCK_OCTETS + 10]
    assert transport.producer is None


@pytest.mark.parametrize("is_cached", [True, False])
def test_file_that_cannot_be_read(
    threads: HeldThreads, monkeypatch: pytest.MonkeyPatch, is_cached: bool
) -> None:
    if not is_cached:
        read_nothing(monkeypatch)
    transport = StringTransport()
    sending = Sending(transport, -1, 0, 10)
    threads.run()
    [failure] = sending.results
    assert failure.check(OSError)
    assert transport.producer is None


def test_reads_what_is_in_memory(file: int) -> None:
    assert read_cached(file, 10, 5) == OCTETS[5:15]
    assert read_cached(file, 10, len(OCTETS)) == b""


def fail_to_read(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "preadv", fail)


def test_a_file_system_that_is_memory_does_not_block(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_to_read(monkeypatch, errno.EOPNOTSUPP)
    assert read_cached(file, 10, 5) == OCTETS[5:15]


def test_what_would_block_is_not_read(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_read(monkeypatch, errno.EAGAIN)
    assert read_cached(file, 10, 5) is None


def test_what_fails_fails(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    fail_to_read(monkeypatch, errno.EIO)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        read_cached(file, 10, 5)


def test_where_the_kernel_cannot_be_asked_nothing_is_in_memory(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "RWF_NOWAIT")
    assert read_cached(file, 10, 5) is None


class Receiving:
    """A body that comes in: what was written, and whether the peer may go on."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.error: Exception | None = None
        self.is_paused = False
        self.results: list[Any] = []
        self.receiver = CopiedReceiver(self._write, self._set_paused)

    def finish(self) -> None:
        self.receiver.finish().addBoth(self.results.append)

    def _write(self, octets: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(octets)

    def _set_paused(self, is_paused: bool) -> None:
        self.is_paused = is_paused


@pytest.fixture
def receiving(threads: HeldThreads) -> Receiving:
    return Receiving()


def test_writes_blocks_in_order(receiving: Receiving, threads: HeldThreads) -> None:
    for start in range(0, len(OCTETS), 1000):
        receiving.receiver.receive(OCTETS[start : start + 1000])
        threads.run()
    assert all(len(octets) >= BLOCK_OCTETS for octets in receiving.written)
    receiving.finish()
    threads.run()
    assert receiving.results == [None]
    assert b"".join(receiving.written) == OCTETS


def test_one_write_at_a_time(receiving: Receiving, threads: HeldThreads) -> None:
    for start in range(0, len(OCTETS), BLOCK_OCTETS):
        receiving.receiver.receive(OCTETS[start : start + BLOCK_OCTETS])
    assert len(threads) == 1
    threads.run_one()
    assert len(threads) == 1  # all that came meanwhile
    receiving.finish()
    threads.run()
    assert b"".join(receiving.written) == OCTETS
    assert len(receiving.written) == 2


def test_small_octets_wait_until_they_are_worth_a_write(
    receiving: Receiving, threads: HeldThreads
) -> None:
    receiving.receiver.receive(OCTETS[: BLOCK_OCTETS - 1])
    assert not threads
    receiving.receiver.receive(OCTETS[:1])
    assert len(threads) == 1


def test_the_peer_waits_for_the_disk(receiving: Receiving, threads: HeldThreads) -> None:
    receiving.receiver.receive(OCTETS[:BLOCK_OCTETS])
    taken = 0
    while not receiving.is_paused:
        receiving.receiver.receive(OCTETS[:1000])
        taken += 1000
    assert taken < MAX_PENDING_OCTETS + 1000
    threads.run_one()
    assert not receiving.is_paused


def test_nothing_to_write(receiving: Receiving, threads: HeldThreads) -> None:
    receiving.finish()
    assert receiving.results == [None]
    assert not threads
    assert not receiving.written


def test_finishes_when_the_last_write_is_done(receiving: Receiving, threads: HeldThreads) -> None:
    receiving.receiver.receive(OCTETS[:BLOCK_OCTETS])
    receiving.receiver.receive(b"rest")
    receiving.finish()
    threads.run_one()
    assert not receiving.results
    threads.run_one()
    assert receiving.results == [None]
    assert receiving.written == [OCTETS[:BLOCK_OCTETS], b"rest"]


def test_what_comes_after_a_failed_write_is_thrown_away(
    receiving: Receiving, threads: HeldThreads
) -> None:
    receiving.error = OSError(errno.ENOSPC, "full")
    receiving.receiver.receive(OCTETS)
    receiving.receiver.receive(OCTETS)
    assert receiving.is_paused
    threads.run()
    assert receiving.receiver.error is receiving.error
    assert not receiving.is_paused
    for _ in range(10):
        receiving.receiver.receive(OCTETS)
    assert not threads
    assert not receiving.is_paused
    receiving.finish()
    [failure] = receiving.results
    assert failure.value is receiving.error


def test_last_write_that_fails(receiving: Receiving, threads: HeldThreads) -> None:
    receiving.error = OSError(errno.ENOSPC, "full")
    receiving.receiver.receive(b"rest")
    receiving.finish()
    threads.run()
    [failure] = receiving.results
    assert failure.value is receiving.error
