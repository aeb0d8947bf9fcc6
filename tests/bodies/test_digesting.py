"""The digest of what is being sent, behind it."""

import os
from unittest import mock

import pytest
from loopback import Loopback, over_loopback, pause

from filetransfer.bodies import digesting
from filetransfer.bodies.digesting import WINDOW_OCTETS, DigestBehind
from filetransfer.digests import start_digest
from filetransfer.errors import TransferInterrupted, Unsupported

OCTETS = os.urandom(2 * WINDOW_OCTETS + 12345)


def digest(octets: bytes, algorithm: str = "xxh3-128") -> bytes:
    running = start_digest(algorithm)
    running.update(octets)
    return running.digest()


def begin(descriptor: int, offset: int = 0, algorithm: str = "xxh3-128") -> DigestBehind:
    from twisted.internet import reactor

    return DigestBehind(reactor, descriptor, offset, algorithm)  # type: ignore[arg-type]


@pytest.mark.parametrize("algorithm", ["xxh3-128", "sha256"])
@pytest.mark.parametrize("step", [1_000_000, len(OCTETS)])
def test_digest_of_all_that_moved(algorithm: str, step: int) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        behind = begin(loop.make_file(b"before" + OCTETS + b"behind"), 6, algorithm)
        for start in range(0, len(OCTETS), step):
            behind.moved(min(step, len(OCTETS) - start))
            await pause()
        assert await behind.finish() == digest(OCTETS, algorithm)

    test()


@over_loopback
async def test_digest_of_nothing(loop: Loopback) -> None:
    assert await begin(loop.make_file(b"unread")).finish() == digest(b"")


@over_loopback
async def test_most_of_it_is_done_before_the_end(loop: Loopback) -> None:
    behind = begin(loop.make_file(OCTETS))
    behind.moved(2 * WINDOW_OCTETS)
    await behind.stop()
    with mock.patch.object(digesting.os, "preadv", side_effect=AssertionError):
        assert await behind.finish() == digest(OCTETS[: 2 * WINDOW_OCTETS])


@over_loopback
async def test_reads_that_give_less_than_was_asked_for(loop: Loopback) -> None:
    preadv = os.preadv

    def read_little(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        return preadv(descriptor, [buffers[0][:1000]], offset)

    behind = begin(loop.make_file(OCTETS))
    with mock.patch.object(digesting.os, "preadv", read_little):
        behind.moved(100_000)
        assert await behind.finish() == digest(OCTETS[:100_000])


@over_loopback
async def test_a_file_that_became_shorter(loop: Loopback) -> None:
    behind = begin(loop.make_file(b"short"))
    behind.moved(WINDOW_OCTETS)
    with pytest.raises(TransferInterrupted):
        await behind.finish()


@over_loopback
async def test_an_algorithm_that_nobody_knows(loop: Loopback) -> None:
    with pytest.raises(Unsupported):
        begin(loop.make_file(), algorithm="md5")
