import errno
import os
from unittest import mock

from loopback import Loopback, Peer, over_loopback
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from filetransfer.bodies import route
from filetransfer.bodies.route import MIN_KERNEL_OCTETS, goes_by_kernel, send_body

BODY = os.urandom(5 * 1024 * 1024 + 7)


@over_loopback
async def test_a_large_body_on_a_plain_connection_goes_by_the_kernel(loop: Loopback) -> None:
    near, far = await loop.connect()
    assert goes_by_kernel(near.transport, MIN_KERNEL_OCTETS)
    assert goes_by_kernel(far.transport, MIN_KERNEL_OCTETS)


@over_loopback
async def test_a_small_body_does_not(loop: Loopback) -> None:
    near, _ = await loop.connect()
    assert not goes_by_kernel(near.transport, MIN_KERNEL_OCTETS - 1)


def test_what_is_no_socket_does_not() -> None:
    assert not goes_by_kernel(StringTransport(), MIN_KERNEL_OCTETS)
    assert not goes_by_kernel(None, MIN_KERNEL_OCTETS)


@over_loopback
async def test_what_is_encrypted_does_not(loop: Loopback) -> None:
    near, _ = await loop.connect()
    near.transport.TLS = True
    assert not goes_by_kernel(near.transport, MIN_KERNEL_OCTETS)


@over_loopback
async def test_what_is_wrapped_does_not(loop: Loopback) -> None:
    near, _ = await loop.connect()
    wrapper = ProtocolWrapper(WrappingFactory(None), Peer())
    wrapper.transport = near.transport
    assert not goes_by_kernel(wrapper, MIN_KERNEL_OCTETS)


@over_loopback
async def test_where_there_are_no_such_calls_nothing_does(loop: Loopback) -> None:
    near, _ = await loop.connect()
    with mock.patch.object(route, "_HAS_CALLS", False):
        assert not goes_by_kernel(near.transport, MIN_KERNEL_OCTETS)


@over_loopback
async def test_a_large_body_is_sent_without_being_read(loop: Loopback) -> None:
    near, far = await loop.connect()
    with mock.patch.object(os, "pread", side_effect=AssertionError):
        await send_body(near.transport, loop.make_file(BODY), 1, len(BODY) - 2, lambda count: None)
    assert await far.wait_for(len(BODY) - 2) == BODY[1:-1]


@over_loopback
async def test_a_small_body_is_sent_through_python(loop: Loopback) -> None:
    near, far = await loop.connect()
    with mock.patch.object(os, "sendfile", side_effect=AssertionError):
        await send_body(near.transport, loop.make_file(BODY), 1, 1000, lambda count: None)
    assert await far.wait_for(1000) == BODY[1:1001]


@over_loopback
async def test_a_file_that_the_kernel_cannot_send_goes_through_python(loop: Loopback) -> None:
    near, far = await loop.connect()
    moved: list[int] = []
    near.transport.write(b"head")
    with mock.patch.object(os, "sendfile", side_effect=OSError(errno.EINVAL, "no")):
        await send_body(near.transport, loop.make_file(BODY), 0, len(BODY), moved.append)
    assert await far.wait_for(4 + len(BODY)) == b"head" + BODY
    assert sum(moved) == len(BODY)
