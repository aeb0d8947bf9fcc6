"""Bodies in runs: where they are cut, and what stands before each run, along both routes."""

import errno
import os
from unittest import mock

import pytest
from loopback import Loopback, over_loopback

from filetransfer.bodies.copied import send_copied
from filetransfer.bodies.framing import TAIL_OCTETS, FirstRunBegun, split_tail
from filetransfer.bodies.kernel import send_by_kernel
from filetransfer.bodies.route import send_body

RUN_OCTETS = 3 * 1024 * 1024
BODY = os.urandom(2 * RUN_OCTETS + 1_000_000)
FRAMED = b"".join(
    b"<%d>" % len(run) + run
    for run in (BODY[:RUN_OCTETS], BODY[RUN_OCTETS : 2 * RUN_OCTETS], BODY[2 * RUN_OCTETS :])
)


class Chunks:
    """Says before each run how long it is."""

    max_run = RUN_OCTETS

    def encode_run(self, count: int) -> bytes:
        return b"<%d>" % count


@over_loopback
async def test_the_kernel_sends_runs(loop: Loopback) -> None:
    near, far = await loop.connect()
    moved: list[int] = []
    await send_by_kernel(near.transport, loop.make_file(BODY), 0, len(BODY), moved.append, Chunks())
    assert await far.wait_for(len(FRAMED)) == FRAMED
    assert sum(moved) == len(BODY)


@over_loopback
async def test_runs_are_copied(loop: Loopback) -> None:
    near, far = await loop.connect()
    await send_copied(near.transport, loop.make_file(BODY), 0, len(BODY), lambda _: None, Chunks())
    assert await far.wait_for(len(FRAMED)) == FRAMED


@over_loopback
async def test_what_the_kernel_had_begun_is_not_said_twice(loop: Loopback) -> None:
    near, far = await loop.connect()
    with mock.patch.object(os, "sendfile", side_effect=OSError(errno.EINVAL, "no")):
        await send_body(
            near.transport, loop.make_file(BODY), 0, len(BODY), lambda _: None, Chunks()
        )
    assert await far.wait_for(len(FRAMED)) == FRAMED


def test_only_the_first_run_has_begun() -> None:
    framing = FirstRunBegun(Chunks())
    assert framing.max_run == RUN_OCTETS
    assert [framing.encode_run(5), framing.encode_run(6)] == [b"", b"<6>"]


@pytest.mark.parametrize("count", [0, 1, TAIL_OCTETS, TAIL_OCTETS + 1, 2 * TAIL_OCTETS - 1])
def test_a_small_body_is_all_tail(count: int) -> None:
    assert split_tail(count, RUN_OCTETS) == count


@pytest.mark.parametrize("runs", [0, 1, 5])
@pytest.mark.parametrize("more", [0, 1, TAIL_OCTETS - 1, TAIL_OCTETS, TAIL_OCTETS + 1, 1_000_000])
def test_no_run_before_the_tail_is_too_short(runs: int, more: int) -> None:
    count = 2 * TAIL_OCTETS + runs * RUN_OCTETS + more
    tail = split_tail(count, RUN_OCTETS)
    assert TAIL_OCTETS <= tail < 2 * TAIL_OCTETS
    last_run = (count - tail) % RUN_OCTETS
    assert not 0 < last_run < TAIL_OCTETS
