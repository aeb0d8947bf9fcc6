"""The layer in memory: two of them, back to back, and the test moves the octets."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import Made, make_certificate
from ends import ALPN, Creator, End, HalfTalker, Pair, Talker
from OpenSSL import SSL
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock

from filetransfer.tls.alerts import Truncated
from filetransfer.tls.layer import PIECE_OCTETS, LayerFactory


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_certificate(tmp_path)


@pytest.fixture
def pair(made: Made) -> Pair:
    pair = Pair(made)
    pair.pump()
    assert pair.client.talker.handshakes == pair.server.talker.handshakes == 1
    return pair


def test_agrees_on_a_protocol(pair: Pair, made: Made) -> None:
    for end in (pair.client, pair.server):
        assert end.layer.negotiatedProtocol == ALPN
    shown = pair.client.layer.getPeerCertificate()
    assert shown is not None
    assert shown.to_cryptography() == made.certificate
    assert pair.server.layer.getPeerCertificate() is None


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, PIECE_OCTETS + 1, 1_000_000])
def test_octets_both_ways(pair: Pair, size: int) -> None:
    octets = bytes(range(256)) * (size // 256 + 1)
    for one, other in ((pair.client, pair.server), (pair.server, pair.client)):
        one.layer.writeSequence([octets[: size // 2], octets[size // 2 : size]])
        pair.pump()
        assert other.talker.heard == octets[:size]


def test_one_octet_at_a_time(made: Made) -> None:
    pair = Pair(made)
    pair.client.layer.write(b"before the handshake ")
    pair.pump(1)
    pair.client.layer.write(b"and after")
    pair.pump(1)
    assert pair.server.talker.heard == b"before the handshake and after"


def test_one_read_is_one_read(pair: Pair) -> None:
    """However many records it has."""
    pair.client.layer.write(bytes(200_000))
    pair.pump()
    assert pair.server.talker.reads == 1


def test_a_proper_end(pair: Pair) -> None:
    pair.client.layer.write(b"last")
    pair.client.layer.loseConnection()
    pair.client.layer.loseConnection()
    pair.client.layer.write(b"too late")
    assert pair.client.wire.disconnecting
    pair.pump()
    assert pair.server.talker.heard == b"last"
    assert pair.server.wire.disconnecting
    pair.server.layer.write(b"too late")
    for end in (pair.client, pair.server):
        end.lose()
        assert end.talker.lost is not None
        assert end.talker.lost.check(ConnectionDone)


def test_half_an_end(made: Made) -> None:
    pair = Pair(made, server=(server := HalfTalker()))
    pair.pump()
    pair.client.layer.write(b"asked")
    pair.client.layer.loseConnection()
    octets = pair.client.take()
    pair.server.layer.dataReceived(octets)
    assert (server.heard, server.ends, pair.server.wire.disconnecting) == (b"asked", 1, False)
    pair.server.layer.readConnectionLost()
    pair.server.layer.dataReceived(b"ignored")
    assert server.ends == 1
    pair.server.layer.write(b"answered")
    assert pair.server.take()
    pair.server.layer.loseConnection()
    assert pair.server.wire.disconnecting
    pair.server.lose()
    assert server.lost is not None
    assert server.lost.check(ConnectionDone)


@pytest.mark.parametrize("is_half", [True, False])
def test_an_end_that_was_not_said(made: Made, is_half: bool) -> None:
    pair = Pair(made, server=HalfTalker() if is_half else Talker())
    pair.pump()
    pair.client.layer.write(b"and then")
    pair.server.layer.dataReceived(pair.client.take())
    pair.server.layer.readConnectionLost()
    assert pair.server.wire.disconnecting
    pair.server.lose()
    pair.client.lose()
    for end in (pair.server, pair.client):
        assert end.talker.lost is not None
        assert end.talker.lost.check(Truncated)
        assert end.talker.lost.check(ConnectionLost)


def test_a_lost_connection_keeps_its_reason(pair: Pair) -> None:
    pair.server.layer.loseConnection()
    pair.server.lose(ConnectionLost())
    assert pair.server.talker.lost is not None
    assert pair.server.talker.lost.check(ConnectionLost)
    assert not pair.server.talker.lost.check(Truncated)


def test_waits_for_the_producer(pair: Pair) -> None:
    producer = object()
    pair.client.layer.registerProducer(producer, True)
    pair.client.layer.loseConnection()
    assert not pair.client.wire.disconnecting
    pair.client.layer.write(b"more")
    pair.client.layer.unregisterProducer()
    assert pair.client.wire.disconnecting
    pair.pump()
    assert pair.server.talker.heard == b"more"


def test_octets_that_were_changed_on_the_way(pair: Pair) -> None:
    pair.client.layer.write(b"secret")
    octets = bytearray(pair.client.take())
    octets[-1] ^= 1
    pair.server.layer.dataReceived(bytes(octets))
    assert pair.server.talker.heard == b""
    assert pair.server.wire.disconnecting
    # An alert.
    pair.client.layer.dataReceived(pair.server.take())
    for end in (pair.server, pair.client):
        end.lose()
        assert end.talker.lost is not None
        assert end.talker.lost.check(SSL.Error)


def test_a_handshake_that_fails(made: Made) -> None:
    pair = Pair(made)
    pair.server.layer.write(b"never")
    pair.server.layer.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    pair.server.layer.dataReceived(b"more")
    assert pair.server.wire.disconnecting
    assert b"never" not in pair.server.take()
    pair.server.lose()
    assert pair.server.talker.handshakes == 0
    assert pair.server.talker.lost is not None
    assert pair.server.talker.lost.check(SSL.Error)


def test_an_end_before_the_handshake(made: Made) -> None:
    pair = Pair(made)
    pair.server.layer.loseConnection()
    assert pair.server.wire.disconnected is not None
    pair.pump()
    assert pair.server.talker.handshakes == 0


def test_nothing_is_heard_or_said_after_an_abort(pair: Pair) -> None:
    pair.client.layer.write(b"unheard")
    pair.server.layer.abortConnection()
    assert pair.server.wire.disconnected is not None
    pair.pump()
    pair.server.layer.write(b"unsaid")
    assert (pair.server.talker.heard, pair.server.take()) == (b"", b"")
    pair.server.layer.readConnectionLost()
    pair.server.lose(ConnectionAborted())
    assert pair.server.talker.lost is not None
    assert pair.server.talker.lost.check(ConnectionAborted)


def test_a_half_that_cannot_be_written_is_the_end(pair: Pair) -> None:
    pair.client.layer.writeConnectionLost()
    assert pair.client.wire.disconnected is not None


def test_aborts_in_the_middle_of_what_it_hears(made: Made) -> None:
    class Quitter(Talker):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            self.transport.abortConnection()

    pair = Pair(made, server=Quitter())
    pair.pump()
    pair.client.layer.write(b"1")
    pair.client.layer.loseConnection()
    pair.pump()
    assert pair.server.talker.heard == b"1"
    assert not pair.server.wire.disconnecting


def test_nobody_is_wanted(made: Made) -> None:
    class Full(Factory):
        def buildProtocol(self, addr: object) -> None:
            return None

    assert LayerFactory(Creator(made), Full(), is_client=False).buildProtocol(None) is None  # type: ignore[arg-type]


def test_any_octets_for_a_handshake(made: Made) -> None:
    """Whatever comes, it is a handshake that goes on, or one that has failed; never an exception."""
    creator = Creator(made)
    hello = End(creator, Talker(), is_client=True).take()
    for position in range(0, len(hello), 5):
        octets = bytearray(hello)
        octets[position] ^= 0x55
        server = End(creator, Talker(), is_client=False)
        server.layer.dataReceived(bytes(octets))
        server.lose()
        assert server.talker.lost is not None
        assert server.talker.heard == b""


# What another thread decrypts.


@pytest.fixture
def clock(pair: Pair) -> Clock:
    clock = pair.server.wire.reactor = Clock()
    return clock


def decrypt(pair: Pair, room: int, octets: bytes | None = None) -> tuple[bytes, bool]:
    """Take what the client has sent in the server's stead."""
    into = bytearray(room)
    taken = bytearray(pair.client.take() if octets is None else octets)
    count, goes_on = pair.server.layer.decrypt(memoryview(taken), memoryview(into))
    # The next octets come into the same memory.
    taken[:] = bytes(len(taken))
    return bytes(into[:count]), goes_on


def test_all_of_it_is_decrypted(pair: Pair, clock: Clock) -> None:
    octets = bytes(range(256)) * 1024
    pair.server.layer.pauseProducing()
    pair.client.layer.write(octets)
    assert decrypt(pair, len(octets) + 1) == (octets, True)
    pair.client.layer.write(b"and more")
    sent = pair.client.take()
    assert decrypt(pair, 8, sent[:10]) == (b"", True)
    assert decrypt(pair, 8, sent[10:]) == (b"and more", True)
    pair.server.layer.resumeProducing()
    clock.advance(0)
    assert pair.server.talker.reads == 0
    pair.client.layer.write(b"heard")
    pair.pump()
    assert pair.server.talker.heard == b"heard"


@pytest.mark.parametrize("room", [1, 16384, 16385, 100_000])
def test_what_finds_no_room_is_heard(pair: Pair, clock: Clock, room: int) -> None:
    octets = bytes(range(256)) * 800
    pair.server.layer.pauseProducing()
    pair.client.layer.write(octets)
    assert decrypt(pair, room) == (octets[:room], True)
    assert pair.server.talker.heard == b""
    pair.server.layer.resumeProducing()
    # Not in the middle of what the protocol does.
    assert pair.server.talker.heard == b""
    clock.advance(0)
    assert pair.server.talker.heard == octets[room:]


def test_what_found_no_room_comes_before_what_is_decrypted_later(pair: Pair, clock: Clock) -> None:
    octets = bytes(range(256)) * 800
    pair.server.layer.pauseProducing()
    pair.client.layer.write(octets)
    assert decrypt(pair, 20_000) == (octets[:20_000], True)
    pair.client.layer.write(b"and more")
    assert decrypt(pair, 100_000) == (octets[20_000:120_000], True)
    pair.server.layer.resumeProducing()
    clock.advance(0)
    assert pair.server.talker.heard == octets[120_000:] + b"and more"


def test_nothing_is_heard_while_it_is_paused_again(pair: Pair, clock: Clock) -> None:
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"octets")
    decrypt(pair, 1)
    pair.server.layer.resumeProducing()
    pair.server.layer.pauseProducing()
    clock.advance(0)
    assert pair.server.talker.heard == b""
    pair.server.layer.resumeProducing()
    clock.advance(0)
    assert pair.server.talker.heard == b"ctets"


def test_what_comes_before_what_is_left_was_heard(pair: Pair, clock: Clock) -> None:
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"octets")
    decrypt(pair, 1)
    pair.server.layer.resumeProducing()
    pair.client.layer.write(b" and more")
    pair.server.layer.dataReceived(pair.client.take())
    clock.advance(0)
    assert pair.server.talker.heard == b"ctets and more"


def test_an_end_is_left(made: Made) -> None:
    pair = Pair(made, server=(server := HalfTalker()))
    pair.pump()
    clock = pair.server.wire.reactor = Clock()
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"last")
    pair.client.layer.loseConnection()
    assert decrypt(pair, 100) == (b"last", False)
    assert server.ends == 0
    pair.server.layer.resumeProducing()
    clock.advance(0)
    assert (server.heard, server.ends) == (b"", 1)


def test_an_end_that_is_left_comes_before_that_of_the_transport(pair: Pair, clock: Clock) -> None:
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"last")
    pair.client.layer.loseConnection()
    assert decrypt(pair, 2) == (b"la", True)
    pair.server.layer.resumeProducing()
    pair.server.layer.readConnectionLost()
    pair.server.lose()
    assert pair.server.talker.heard == b"st"
    assert pair.server.talker.lost is not None
    assert pair.server.talker.lost.check(ConnectionDone)


def test_a_failure_is_left(pair: Pair, clock: Clock) -> None:
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"x" * 16384 + b"secret")
    octets = bytearray(pair.client.take())
    octets[-1] ^= 1
    assert decrypt(pair, 20_000, bytes(octets)) == (b"x" * 16384, False)
    assert not pair.server.wire.disconnecting
    pair.server.layer.resumeProducing()
    clock.advance(0)
    assert pair.server.talker.heard == b""
    assert pair.server.wire.disconnecting
    # An alert.
    pair.client.layer.dataReceived(pair.server.take())
    pair.server.lose()
    assert pair.server.talker.lost is not None
    assert "bad record mac" in str(pair.server.talker.lost.value)
    pair.client.lose()
    assert pair.client.talker.lost is not None
    assert pair.client.talker.lost.check(SSL.Error)


def test_nothing_that_is_left_is_heard_after_an_abort(pair: Pair, clock: Clock) -> None:
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"octets")
    decrypt(pair, 1)
    pair.server.layer.resumeProducing()
    pair.server.layer.abortConnection()
    clock.advance(0)
    pair.server.layer.send_pending()
    assert (pair.server.talker.heard, pair.server.take()) == (b"", b"")


def test_what_openssl_answers_to_what_was_decrypted_is_sent(made: Made) -> None:
    creator = Creator(made)
    # One that would renegotiate, as ours does not.
    creator.client = SSL.Context(SSL.TLS_CLIENT_METHOD)
    creator.client.set_max_proto_version(SSL.TLS1_2_VERSION)
    pair = Pair(made, creator=creator)
    pair.pump()
    pair.server.layer.pauseProducing()
    assert pair.client.layer._tls.renegotiate()
    pair.client.layer.write(b"octets")
    decrypt(pair, 100)
    assert pair.server.take() == b""
    pair.server.layer.send_pending()
    # It will not.
    assert pair.server.take()
