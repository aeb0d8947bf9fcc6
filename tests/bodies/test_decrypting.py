"""Bodies over TLS that go past the decoder: real connections, with the layer of ``tls`` at both ends."""

import functools
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from certificates import Made, make_certificate
from loopback import Loopback, Peer, over_loopback, pause
from OpenSSL import SSL
from receivers import BODY, HEAD, HELP, Part, Receiver, all_asked, digest, say_in_chunks
from twisted.internet.error import ConnectionAborted
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from filetransfer.bodies import decrypting, watch
from filetransfer.bodies.movers import Movers
from filetransfer.bodies.route import is_decrypted_apart
from filetransfer.errors import NoSpace, TransferInterrupted
from filetransfer.tls.alerts import Truncated
from filetransfer.tls.contexts import make_context
from filetransfer.tls.credentials import read_credentials
from filetransfer.wire import v2
from filetransfer.wire.messages import BodyEnd, Help, Put


class Creator:
    """Makes OpenSSL's side of both ends."""

    def __init__(self, made: Made) -> None:
        self._server = make_context(SSL.TLS_SERVER_METHOD)
        read_credentials(made.file, made.key_file).install(self._server)
        self._client = make_context(SSL.TLS_CLIENT_METHOD)

    def serverConnectionForTLS(self, layer: object) -> SSL.Connection:
        return SSL.Connection(self._server, None)

    def clientConnectionForTLS(self, layer: object) -> SSL.Connection:
        return SSL.Connection(self._client, None)


class Reasons:
    """Keeps why a connection was lost."""

    reason: Failure

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason
        super().connectionLost(reason)  # type: ignore[misc]


class SecureReceiver(Reasons, Receiver):
    pass


class SecurePeer(Reasons, Peer):
    pass


class MoverPart(Part):
    """Notes how many of its octets were written in the threads of the movers."""

    moved = 0

    def write(self, octets: bytes | memoryview) -> None:
        super().write(octets)
        if threading.current_thread().name.startswith("filetransfer-mover"):
            self.moved += len(octets)


@functools.cache
def make_creator() -> Creator:
    with tempfile.TemporaryDirectory() as directory:
        return Creator(make_certificate(Path(directory)))


async def receive(loop: Loopback, *parts: Part, connection: Any = None) -> tuple[Any, Any]:
    near, far = SecureReceiver(*parts), SecurePeer()
    if connection is not None:
        near.connection = connection
    return await loop.connect(near, far, make_creator())


@over_loopback
async def test_the_body_and_nothing_but_the_body_goes_into_the_file(loop: Loopback) -> None:
    part = MoverPart(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD + BODY + HELP)
    await all_asked(near, Put, BodyEnd, Help)
    await near.results[0]
    assert part.read() == BODY
    assert sum(near.moved) == len(BODY)
    assert part.moved > len(BODY) - 1_000_000


@pytest.mark.parametrize(
    "sizes",
    [
        (10 * 1024 * 1024,),
        (100_000, 10 * 1024 * 1024, 1, 1, 100_000),
        (1, 12 * 1024 * 1024),
        (12 * 1024 * 1024, len(BODY) - 12 * 1024 * 1024 - 1),
        (1024 * 1024,) * 20,
        (300_000,) * 69,
    ],
)
def test_runs_of_any_length(sizes: tuple[int, ...]) -> None:
    @over_loopback
    async def test(loop: Loopback) -> None:
        part = MoverPart(loop.make_file())
        near, far = await receive(loop, part, connection=v2.ServerCodec())
        far.transport.write(say_in_chunks(*sizes) + v2.ClientCodec().encode(Help()))
        await near.until(lambda: "Help" in near.events)
        await near.results[0]
        assert digest(part.read()) == digest(BODY)
        assert sum(near.moved) == len(BODY)
        assert part.moved > 0

    test()


@over_loopback
async def test_one_body_after_the_other(loop: Loopback) -> None:
    first, second = Part(loop.make_file()), Part(loop.make_file())
    near, far = await receive(loop, first, second)
    far.transport.write(HEAD + BODY + HEAD + BODY[::-1] + HELP)
    await all_asked(near, Put, BodyEnd, Put, BodyEnd, Help)
    assert first.read() == BODY
    assert second.read() == BODY[::-1]


@over_loopback
async def test_a_small_body_goes_through_the_decoder(loop: Loopback) -> None:
    part = MoverPart(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(b"\x04name" + (100_000).to_bytes(4, "big") + BODY[:100_000])
    await all_asked(near, Put, BodyEnd)
    await near.results[0]
    assert part.read() == BODY[:100_000]
    assert part.moved == 0


@over_loopback
async def test_what_is_wrapped_is_not_decrypted_apart(loop: Loopback) -> None:
    """A limit of the rate, say, above TLS or below it: it must see the octets."""
    near, _ = await receive(loop)
    layer = near.transport
    assert is_decrypted_apart(layer, 10**6)
    assert not is_decrypted_apart(layer, 10**5)
    wrapper = ProtocolWrapper(WrappingFactory(None), Peer())
    wrapper.transport = layer
    assert hasattr(wrapper, "decrypt")
    assert not is_decrypted_apart(wrapper, 10**6)
    wrapper.transport, layer.transport = layer.transport, wrapper
    assert not is_decrypted_apart(layer, 10**6)


@over_loopback
async def test_a_silent_peer_holds_no_thread(loop: Loopback) -> None:
    with mock.patch.object(decrypting, "decrypters", Movers(1)):
        part = Part(loop.make_file())
        silent, far = await receive(loop, Part(loop.make_file()))
        far.transport.write(HEAD + BODY[:-1])
        while sum(silent.moved) < len(BODY) - 1:
            await pause()
        assert silent.body.is_moved_past
        near, far = await receive(loop, part)
        far.transport.write(HEAD + BODY)
        await all_asked(near, Put, BodyEnd)
        assert part.read() == BODY
        assert silent.body.awaits_peer
        silent.transport.abortConnection()
        with pytest.raises(TransferInterrupted):
            await silent.results[0]


@mock.patch.object(watch, "LOW_WATER_SECONDS", 1e6)
@over_loopback
async def test_the_end_of_a_record_is_not_waited_for_as_if_it_were_all_of_it(
    loop: Loopback,
) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD)
    await all_asked(near, Put)
    tcp = far.transport.transport
    sealed: list[bytes] = []
    with mock.patch.object(tcp, "write", sealed.append):
        far.transport.write(BODY)
    octets = b"".join(sealed)
    # Some of a whole record, and all of the last one, which has seven octets.
    tcp.write(octets[:-40])
    while sum(near.moved) < len(BODY) - 16384 - 7 or not near.body.awaits_peer:
        await pause()
    tcp.write(octets[-40:])
    await all_asked(near, Put, BodyEnd)
    await near.results[0]
    assert part.read() == BODY


async def break_off(near: Any, far: Any, act: Callable[[Any], None]) -> None:
    """Send a body but for its last octet, and end the connection."""
    far.transport.write(HEAD + BODY[:-1])
    while sum(near.moved) < len(BODY) - 1:
        await pause()
    act(far.transport)
    with pytest.raises(TransferInterrupted):
        await near.results[0]
    assert near.events == ["Put"]
    await near.lost


@over_loopback
async def test_an_end_that_was_not_said(loop: Loopback) -> None:
    near, far = await receive(loop, Part(loop.make_file()))
    await break_off(near, far, lambda layer: layer.transport.loseConnection())
    assert near.reason.check(Truncated)


@over_loopback
async def test_an_end_that_was_said(loop: Loopback) -> None:
    near, far = await receive(loop, Part(loop.make_file()))
    # Nothing but the word: the connection stays, until this end closes it.
    with mock.patch.object(far.transport.transport, "loseConnection"):
        await break_off(near, far, lambda layer: layer.loseConnection())
    assert not near.reason.check(Truncated)


@over_loopback
async def test_a_peer_that_goes(loop: Loopback) -> None:
    near, far = await receive(loop, Part(loop.make_file()))
    await break_off(near, far, lambda layer: layer.abortConnection())


@over_loopback
async def test_octets_that_were_changed_on_the_way(loop: Loopback) -> None:
    part = Part(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD + BODY[:-20_000])
    while sum(near.moved) < len(BODY) - 20_000:
        await pause()
    write = far.transport.transport.write

    def spoil(octets: bytes) -> None:
        # In the second of the two records.
        write(octets[:-100] + bytes([octets[-100] ^ 1]) + octets[-99:])

    with mock.patch.object(far.transport.transport, "write", spoil):
        far.transport.write(BODY[-20_000:])
    with pytest.raises(TransferInterrupted):
        await near.results[0]
    await near.lost
    assert near.reason.check(SSL.Error)
    assert part.read() == BODY[: part.received]
    # It was told why.
    await far.lost
    assert far.reason.check(SSL.Error)


class FullPart(Part):
    """Has room for a quarter of a body."""

    def write(self, octets: bytes | memoryview) -> None:
        if self.received > len(BODY) // 4:
            raise NoSpace("no room for what comes next")
        super().write(octets)


@over_loopback
async def test_a_file_that_cannot_be_written(loop: Loopback) -> None:
    second = Part(loop.make_file())
    near, far = await receive(loop, FullPart(loop.make_file()), second)
    far.transport.write(HEAD + BODY + HELP)
    await near.until(lambda: near.events == ["Put", "BodyEnd", "Help"])
    with pytest.raises(NoSpace):
        await near.results[0]
    far.transport.write(HEAD + BODY)
    await near.until(lambda: near.events[3:] == ["Put", "BodyEnd"])
    assert second.read() == BODY


class HeldPart(Part):
    """Its disk hangs when half of a body is written."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self.hangs = threading.Event()
        self.may_go_on = threading.Event()

    def write(self, octets: bytes | memoryview) -> None:
        if self.received > len(BODY) // 2:
            self.hangs.set()
            self.may_go_on.wait(20)
        super().write(octets)


@over_loopback
async def test_others_are_answered_while_a_disk_hangs(loop: Loopback) -> None:
    """What is written on the very connection leaves at once, too."""
    part = HeldPart(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD + BODY)
    while not part.hangs.is_set():
        await pause()
    near.transport.write(b"so far, so good")
    assert await far.wait_for(15) == b"so far, so good"
    part.may_go_on.set()
    await all_asked(near, Put, BodyEnd)
    await near.results[0]
    assert part.read() == BODY


@over_loopback
async def test_the_connection_may_be_aborted_while_a_thread_is_moving(loop: Loopback) -> None:
    part = HeldPart(loop.make_file())
    near, far = await receive(loop, part)
    far.transport.write(HEAD + BODY)
    while not part.hangs.is_set():
        await pause()
    near.transport.abortConnection()
    await near.lost
    assert near.reason.check(ConnectionAborted)
    assert not near.results[0].called
    part.may_go_on.set()
    with pytest.raises(TransferInterrupted):
        await near.results[0]
    await far.lost
