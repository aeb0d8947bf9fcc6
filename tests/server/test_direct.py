"""The transport that sends at once: what leaves within the turn, what is kept, and in which order."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from reactors import run
from serving import serve, until
from twisted.internet import reactor as installed
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from filetransfer.server.direct import DirectServer, send_directly

reactor: Any = installed
MORE_THAN_FITS = 32 * 2**20


class Served(Protocol):
    """The end that writes."""

    transport: Any

    def __init__(self) -> None:
        self.is_lost = False
        self.pauses = 0

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def pauseProducing(self) -> None:
        self.pauses += 1

    def resumeProducing(self) -> None:
        pass

    def stopProducing(self) -> None:
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.is_lost = True


@contextmanager
def connected() -> Iterator[tuple[list[Served], socket.socket]]:
    """Give what is served, once the reactor has turned, and the other end of the connection."""
    served: list[Served] = []

    class Serving(Factory):
        def buildProtocol(self, addr: object) -> Served:
            served.append(Served())
            return served[0]

    port = reactor.listenTCP(0, Serving(), interface="127.0.0.1")
    send_directly(port)
    with socket.create_connection(("127.0.0.1", port.getHost().port)) as peer:
        peer.setblocking(False)
        yield served, peer
    port.stopListening()


def read(peer: socket.socket) -> bytes:
    """Give what has come so far."""
    try:
        return peer.recv(2**20)
    except BlockingIOError:
        return b""


def test_a_small_write_leaves_at_once() -> None:
    async def work() -> None:
        with connected() as (served, peer):
            await until(lambda: bool(served))
            served[0].transport.write(b"one")
            assert read(peer) == b"one"
            served[0].transport.write(b"two")
            served[0].transport.write(b"")
            assert read(peer) == b"two"
            assert reactor.getWriters() == []
            served[0].transport.loseConnection()
            served[0].transport.unregisterProducer()
            await until(lambda: served[0].is_lost)

    run(work())


def test_what_does_not_fit_comes_later_and_in_order() -> None:
    octets = b"".join(struct.pack("<I", number) for number in range(MORE_THAN_FITS // 4))
    received = bytearray()

    async def work() -> None:
        def receive() -> bool:
            received.extend(read(peer))
            return len(received) >= len(octets) + 3

        with connected() as (served, peer):
            await until(lambda: bool(served))
            served[0].transport.write(octets)
            assert served[0].pauses == 1
            # Nothing overtakes what is kept, even when there would be room.
            received.extend(read(peer))
            served[0].transport.write(b"end")
            await until(receive)
            assert bytes(received) == octets + b"end"
            served[0].transport.loseConnection()
            served[0].transport.unregisterProducer()
            await until(lambda: served[0].is_lost)

    run(work())


def test_a_write_to_a_peer_that_is_gone_loses_the_connection_later() -> None:
    async def work() -> None:
        with connected() as (served, peer):
            await until(lambda: bool(served))
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            peer.close()
            served[0].transport.write(b"anybody?")
            served[0].transport.write(b"anybody?")
            assert not served[0].is_lost
            await until(lambda: served[0].is_lost)
            served[0].transport.write(b"anybody?")

    run(work())


def test_other_ports_are_left_alone(tmp_path: Path) -> None:
    @implementer(IListeningPort)
    class Other:
        pass

    send_directly(Other())  # type: ignore[arg-type]
    unix = reactor.listenUNIX(str(tmp_path / "socket"), Factory())
    transport = unix.transport
    send_directly(unix)
    assert unix.transport is transport
    unix.stopListening()


def test_the_daemon_sends_directly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []
    write = DirectServer.write

    def spy(self: DirectServer, data: bytes) -> None:
        written.append(data)
        write(self, data)

    monkeypatch.setattr(DirectServer, "write", spy)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            assert await serving.ask(b"\x80") == written[0]

    run(work())
