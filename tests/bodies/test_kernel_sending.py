import errno
import os
import threading
from unittest import mock

import pytest
from loopback import Loopback, over_loopback, pause, start

from filetransfer.bodies import kernel
from filetransfer.bodies.kernel import send_by_kernel
from filetransfer.bodies.movers import Movers
from filetransfer.errors import TransferInterrupted

BODY = os.urandom(20 * 1024 * 1024 + 7)


@over_loopback
async def test_a_body_goes_between_what_is_written_before_and_after(loop: Loopback) -> None:
    near, far = await loop.connect()
    file = loop.make_file(b"not this" + BODY + b"nor this")
    before = b"<" * 500_000
    near.transport.write(before)
    left = await send_by_kernel(near.transport, file, 8, len(BODY), lambda count: None)
    assert left is None
    near.transport.write(b">")
    received = await far.wait_for(len(before) + len(BODY) + 1)
    assert received == before + BODY + b">"


@over_loopback
async def test_nothing_written_before_is_no_reason_to_wait(loop: Loopback) -> None:
    near, far = await loop.connect()
    await send_by_kernel(near.transport, loop.make_file(BODY), 5, 10, lambda count: None)
    assert await far.wait_for(10) == BODY[5:15]


@over_loopback
async def test_what_moved_is_told_in_the_thread_of_the_reactor(loop: Loopback) -> None:
    near, far = await loop.connect()
    told: list[int] = []
    threads = set()

    def moved(count: int) -> None:
        told.append(count)
        threads.add(threading.current_thread())

    await send_by_kernel(near.transport, loop.make_file(BODY), 0, len(BODY), moved)
    assert sum(told) == len(BODY)
    assert all(count > 0 for count in told)
    assert threads == {threading.current_thread()}
    await far.wait_for(len(BODY))


@mock.patch.object(kernel, "movers", Movers(1))
@over_loopback
async def test_a_peer_that_does_not_read_holds_no_thread(loop: Loopback) -> None:
    slow, slow_peer = await loop.connect()
    quick, quick_peer = await loop.connect()
    file = loop.make_file(BODY)
    slow_peer.transport.pauseProducing()
    sending = start(send_by_kernel(slow.transport, file, 0, len(BODY), lambda count: None))
    await send_by_kernel(quick.transport, file, 0, len(BODY), lambda count: None)
    assert not sending.called
    slow_peer.transport.resumeProducing()
    await sending
    assert await slow_peer.wait_for(len(BODY)) == BODY
    assert await quick_peer.wait_for(len(BODY)) == BODY


@over_loopback
async def test_the_peer_may_go_in_the_middle(loop: Loopback) -> None:
    near, far = await loop.connect()
    far.transport.pauseProducing()
    moved: list[int] = []
    sending = start(
        send_by_kernel(near.transport, loop.make_file(BODY), 0, len(BODY), moved.append)
    )
    while not moved:
        await pause()
    far.transport.abortConnection()
    with pytest.raises(TransferInterrupted) as caught:
        await sending
    assert caught.value.offset == sum(moved)
    assert caught.value.offset < len(BODY)


@over_loopback
async def test_the_connection_may_be_aborted_in_the_middle(loop: Loopback) -> None:
    near, far = await loop.connect()
    far.transport.pauseProducing()
    moved: list[int] = []
    sending = start(
        send_by_kernel(near.transport, loop.make_file(BODY), 0, len(BODY), moved.append)
    )
    while not moved:
        await pause()
    near.transport.abortConnection()
    with pytest.raises(TransferInterrupted):
        await sending
    far.transport.resumeProducing()
    await far.lost


@over_loopback
async def test_the_connection_may_be_aborted_while_a_thread_is_moving(loop: Loopback) -> None:
    near, far = await loop.connect()
    may_go_on = threading.Event()
    sendfile = os.sendfile

    def wait(*args: int) -> int:
        may_go_on.wait()
        return sendfile(*args)

    with mock.patch.object(os, "sendfile", wait):
        sending = start(
            send_by_kernel(near.transport, loop.make_file(BODY), 0, len(BODY), lambda count: None)
        )
        await pause(0.01)
        near.transport.abortConnection()
        await near.lost
        assert not sending.called
        may_go_on.set()
        with pytest.raises(TransferInterrupted):
            await sending
    await far.lost
    assert len(far.received) <= kernel.SENDFILE_OCTETS


@over_loopback
async def test_the_connection_may_be_aborted_before_the_first_octet(loop: Loopback) -> None:
    near, far = await loop.connect()
    near.transport.write(b"head")
    sending = start(
        send_by_kernel(near.transport, loop.make_file(BODY), 0, len(BODY), lambda count: None)
    )
    near.transport.abortConnection()
    with pytest.raises(TransferInterrupted):
        await sending
    await far.lost
    assert far.received == b""


@over_loopback
async def test_a_file_that_became_shorter(loop: Loopback) -> None:
    near, far = await loop.connect()
    sending = send_by_kernel(near.transport, loop.make_file(b"short"), 0, 6, lambda count: None)
    with pytest.raises(TransferInterrupted) as caught:
        await sending
    assert caught.value.offset == 5
    assert await far.wait_for(5) == b"short"


@over_loopback
async def test_a_file_that_the_kernel_cannot_send(loop: Loopback) -> None:
    near, _ = await loop.connect()
    with mock.patch.object(os, "sendfile", side_effect=OSError(errno.EINVAL, "no")):
        left = await send_by_kernel(
            near.transport, loop.make_file(BODY), 0, len(BODY), lambda count: None
        )
    assert left is not None
    assert near.transport.producer is None


@over_loopback
async def test_a_disk_that_fails(loop: Loopback) -> None:
    near, _ = await loop.connect()
    with mock.patch.object(os, "sendfile", side_effect=OSError(errno.EIO, "no")):
        sending = send_by_kernel(
            near.transport, loop.make_file(BODY), 0, len(BODY), lambda count: None
        )
        with pytest.raises(OSError, match="no"):
            await sending
