import errno
import os
import threading
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any
from unittest import mock

import pytest
from loopback import Loopback, over_loopback, pause
from receivers import BODY, HEAD, HELP, Part, Receiver, all_asked, digest, say_in_chunks
from twisted.internet.defer import Deferred, maybeDeferred

from filetransfer.bodies import digesting, kernel, watch
from filetransfer.bodies.movers import Movers
from filetransfer.errors import Internal, NoSpace, TransferInterrupted
from filetransfer.wire import v2
from filetransfer.wire.messages import BodyEnd, BodyRun, Help, Put


async def receive(loop: Loopback, part: Part) -> tuple[Receiver, Any]:
    return await loop.connect(Receiver(part))


@over_loopback
async def test_the_body_and_nothing_but_the_body_goes_into_the_file(loop: Loopback) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD + BODY + HELP)
    await all_asked(near, Put, BodyEnd, Help)
    await near.results[0]
    assert part.read() == BODY
    part.digest_behind()
    assert part.digest.digest() == digest(BODY)
    assert sum(near.moved) == len(BODY)
    assert part.copied < len(BODY) // 2


@pytest.mark.parametrize(
    ("sizes", "most_copied"),
    [
        ((10 * 1024 * 1024,), 300_000),
        ((100_000, 10 * 1024 * 1024, 1, 1, 100_000), 700_000),
        ((1, 12 * 1024 * 1024), 300_000),
        ((12 * 1024 * 1024, len(BODY) - 12 * 1024 * 1024 - 1), 300_000),
    ],
)
def test_each_long_run_goes_by_the_kernel(sizes: tuple[int, ...], most_copied: int) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        part = Part(loop.make_file())
        receiver = Receiver(part)
        receiver.connection = v2.ServerCodec()
        near, far = await loop.connect(receiver)
        far.transport.write(say_in_chunks(*sizes) + v2.ClientCodec().encode(Help()))
        await near.until(lambda: "Help" in near.events)
        await near.results[0]
        assert part.read() == BODY
        assert sum(near.moved) == len(BODY)
        assert part.copied < most_copied

    test()


class AtOnce:
    """Movers that do what they are asked where they are asked."""

    def run(self, reactor: object, act: Callable[..., object], *args: object) -> Deferred[Any]:
        return maybeDeferred(act, *args)


@pytest.mark.parametrize(("seconds", "least"), [(3600.0, 3), (0.0, 15)])
def test_short_runs_are_digested_while_they_come(seconds: float, least: int) -> None:
    """Each may be less than is worth it: at the end, all of them would be read again, and none be on record."""

    @over_loopback
    async def test(loop: Loopback) -> None:
        part = Part(loop.make_file())
        receiver = Receiver(part)
        receiver.connection = v2.ServerCodec()
        near, far = await loop.connect(receiver)
        with (
            mock.patch.object(digesting, "SLOW_DIGEST_SECONDS", seconds),
            # At once: how many runs come during a digest would be the scheduler's to say.
            mock.patch.object(digesting, "movers", AtOnce()),
        ):
            far.transport.write(say_in_chunks(*[1024 * 1024] * 20))
            await all_asked(near, Put, *[BodyRun] * 21, BodyEnd)
            await near.results[0]
        assert part.times_digested >= least
        part.digest_behind()
        assert part.digest.digest() == digest(BODY)

    test()


@mock.patch.object(digesting, "WINDOW_OCTETS", 1)
@mock.patch.object(digesting, "SLOW_DIGEST_OCTETS", 1)
@over_loopback
async def test_most_of_it_is_digested_when_the_last_octet_comes(loop: Loopback) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD + BODY[:-1])
    while sum(near.moved) < len(BODY) - 1:
        await pause()
    while part.digested < len(BODY) - 1:
        await pause()
    far.transport.write(BODY[-1:])
    await all_asked(near, Put, BodyEnd)
    await near.results[0]


class SlowPart(Part):
    """Its digest has hardly begun when all of it is there, and may fail then."""

    def __init__(self, descriptor: int, error: BaseException | None) -> None:
        super().__init__(descriptor)
        self._is_whole = threading.Event()
        self._error = error

    def advance(self, count: int) -> None:
        super().advance(count)
        self._note_received()

    def write(self, octets: bytes) -> None:
        super().write(octets)
        self._note_received()

    def _note_received(self) -> None:
        if self.received == len(BODY):
            self._is_whole.set()

    def digest_behind(self) -> None:
        # Whoever waits for the digest before he goes on never sees this end well.
        if not self._is_whole.wait(20):
            raise TimeoutError
        if self._error is not None:
            raise self._error
        super().digest_behind()


@pytest.mark.parametrize("error", [None, Internal("unreadable")])
def test_no_run_waits_for_the_digest_of_another(error: Internal | None) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        part = SlowPart(loop.make_file(), error)
        receiver = Receiver(part)
        receiver.connection = v2.ServerCodec()
        near, far = await loop.connect(receiver)
        far.transport.write(say_in_chunks(6 * 1024 * 1024, 6 * 1024 * 1024))
        await near.until(lambda: bool(near.results) and near.body is None)
        with nullcontext() if error is None else pytest.raises(Internal):
            await near.results[0]
        assert part.read() == BODY
        assert error is not None or part.undigested < digesting.WINDOW_OCTETS

    test()


@over_loopback
async def test_one_body_after_the_other(loop: Loopback) -> None:
    first, second = Part(loop.make_file()), Part(loop.make_file())
    near, far = await loop.connect(Receiver(first, second))
    far.transport.write(HEAD + BODY + HEAD + BODY[::-1] + HELP)
    await all_asked(near, Put, BodyEnd, Put, BodyEnd, Help)
    assert first.read() == BODY
    assert second.read() == BODY[::-1]


@over_loopback
async def test_a_small_body_goes_through_python(loop: Loopback) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(b"\x04name" + (100_000).to_bytes(4, "big") + BODY[:100_000])
    await all_asked(near, Put, BodyEnd)
    await near.results[0]
    assert part.copied == 100_000


class Pipe:
    """A destination that is no file: octets can only be written to it."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, octets: bytes) -> None:
        self.octets += octets


@over_loopback
async def test_a_destination_without_a_file_takes_octets_through_python(loop: Loopback) -> None:
    pipe = Pipe()
    near, far = await loop.connect(Receiver(pipe))
    far.transport.write(HEAD + BODY)
    await all_asked(near, Put, BodyEnd)
    await near.results[0]
    assert pipe.octets == BODY


@mock.patch.object(watch, "LOW_WATER_SECONDS", 0.01)
@over_loopback
async def test_a_peer_that_becomes_slow_is_not_waited_for_to_send_much(loop: Loopback) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    body = near.body
    far.transport.write(HEAD + BODY[:-2])
    while sum(near.moved) < len(BODY) - 2:
        await pause()
    for octet in (BODY[-2:-1], BODY[-1:]):
        await pause(0.02)
        assert (body := near.body) is not None
        assert body.is_moved_past
        assert body.awaits_peer
        moved = sum(near.moved)
        far.transport.write(octet)
        while sum(near.moved) == moved:
            await pause()
    await near.results[0]
    assert not body.awaits_peer
    # The socket is as it was: one octet is enough.
    far.transport.write(HELP)
    await all_asked(near, Put, BodyEnd, Help)


@over_loopback
async def test_a_silent_peer_holds_no_thread(loop: Loopback) -> None:
    with mock.patch.object(kernel, "movers", Movers(1)):
        part = Part(loop.make_file())
        silent, far = await receive(loop, Part(loop.make_file()))
        far.transport.write(HEAD)
        await all_asked(silent, Put)
        near, far = await receive(loop, part)
        far.transport.write(HEAD + BODY)
        await all_asked(near, Put, BodyEnd)
        assert part.read() == BODY
        silent.transport.abortConnection()
        with pytest.raises(TransferInterrupted):
            await silent.results[0]


@over_loopback
async def test_the_peer_may_end_its_octets_in_the_middle(loop: Loopback) -> None:
    near, far = await receive(loop, Part(loop.make_file()))
    far.transport.write(HEAD + BODY[:-1])
    far.transport.loseConnection()
    await all_asked(near, Put)
    with pytest.raises(TransferInterrupted):
        await near.results[0]


@over_loopback
async def test_the_peer_may_go_in_the_middle(loop: Loopback) -> None:
    near, far = await receive(loop, Part(loop.make_file()))
    far.transport.write(HEAD + BODY[:-1])
    while sum(near.moved) < len(BODY) // 2:
        await pause()
    far.transport.abortConnection()
    with pytest.raises(TransferInterrupted):
        await near.results[0]


@over_loopback
async def test_the_connection_may_be_aborted_while_the_peer_is_silent(loop: Loopback) -> None:
    near, far = await receive(loop, Part(loop.make_file()))
    far.transport.write(HEAD + BODY[:-1])
    while sum(near.moved) < len(BODY) - 1:
        await pause()
    near.transport.abortConnection()
    with pytest.raises(TransferInterrupted):
        await near.results[0]
    await far.lost


@over_loopback
async def test_the_connection_may_be_aborted_while_a_thread_is_moving(loop: Loopback) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    may_go_on = threading.Event()
    splice = os.splice

    def wait(*args: Any, **kwargs: Any) -> int:
        may_go_on.wait()
        return splice(*args, **kwargs)

    with mock.patch.object(os, "splice", wait):
        far.transport.write(HEAD + BODY)
        await all_asked(near, Put)
        while not near.moved:
            await pause()
        await pause(0.01)
        near.transport.abortConnection()
        await near.lost
        assert not near.results[0].called
        may_go_on.set()
        with pytest.raises(TransferInterrupted):
            await near.results[0]
    assert part.received < len(BODY)
    await far.lost


def failing(error: int, *, into_file: bool, after: int = 0) -> Any:
    """Let splice fail, into the pipe or out of it."""
    splice = os.splice
    calls = []

    def fail(*args: Any, offset_dst: int | None = None, flags: int = 0) -> int:
        if (offset_dst is not None) is into_file:
            calls.append(args)
            if len(calls) > after:
                raise OSError(error, os.strerror(error))
        return splice(*args, offset_dst=offset_dst, flags=flags)

    return mock.patch.object(os, "splice", fail)


@pytest.mark.parametrize(("error", "refusal"), [(errno.ENOSPC, NoSpace), (errno.EIO, Internal)])
@pytest.mark.parametrize("after", [0, 3])
def test_a_file_that_cannot_be_written(error: int, refusal: type[Exception], after: int) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        second = Part(loop.make_file())
        near, far = await loop.connect(Receiver(Part(loop.make_file()), second))
        with failing(error, into_file=True, after=after):
            far.transport.write(HEAD + BODY + HELP)
            await near.until(lambda: near.events == ["Put", "BodyEnd", "Help"])
            with pytest.raises(refusal):
                await near.results[0]
        # What lay in the pipe does not come up again.
        far.transport.write(HEAD + BODY)
        await near.until(lambda: near.events[3:] == ["Put", "BodyEnd"])
        assert second.read() == BODY

    test()


class FullPart(Part):
    def advance(self, count: int) -> None:
        raise NoSpace("no room for what comes next")


class UnreadablePart(Part):
    def digest_behind(self) -> None:
        raise Internal("the disk failed")


@pytest.mark.parametrize(("part", "refusal"), [(FullPart, NoSpace), (UnreadablePart, Internal)])
def test_a_part_that_says_no(part: type[Part], refusal: type[Exception]) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        near, far = await receive(loop, part(loop.make_file()))
        far.transport.write(HEAD + BODY + HELP)
        await near.until(lambda: near.events == ["Put", "BodyEnd", "Help"])
        with pytest.raises(refusal):
            await near.results[0]

    test()


@pytest.mark.parametrize("into_file", [False, True])
@pytest.mark.parametrize("error", [errno.EINVAL, errno.ENOSYS])
@pytest.mark.parametrize("after", [0, 3])
def test_what_the_kernel_cannot_move_is_copied(into_file: bool, error: int, after: int) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        part = Part(loop.make_file())
        near, far = await receive(loop, part)
        with failing(error, into_file=into_file, after=after):
            far.transport.write(HEAD + BODY + HELP)
            await all_asked(near, Put, BodyEnd, Help)
        await near.results[0]
        assert part.read() == BODY
        assert sum(near.moved) == len(BODY)

    test()


@over_loopback
async def test_a_pipe_may_be_small(loop: Loopback) -> None:
    part = Part(loop.make_file())
    # A new thread, and so a new pipe.
    with (
        mock.patch.object(kernel, "movers", Movers(1)),
        mock.patch.object(kernel.fcntl, "fcntl", side_effect=PermissionError),
    ):
        near, far = await receive(loop, part)
        far.transport.write(HEAD + BODY)
        await all_asked(near, Put, BodyEnd)
        assert part.read() == BODY
