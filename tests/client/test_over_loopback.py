"""The client over real sockets, with servers that other people might have written."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from plain_servers import HELP_TEXT, Peer, PlainServer
from reactors import run
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint

from filetransfer.client import Session, Statistics, connect
from filetransfer.client.family import Family
from filetransfer.errors import (
    ConnectFailed,
    NotFound,
    OutcomeUnknown,
    RemoteProtocolError,
    RequestRefused,
    TransferInterrupted,
    TransferTimeout,
)

LARGE = 5_000_000


def use(
    server: PlainServer, act: Callable[[Session], Coroutine[Any, Any, Any]], **options: Any
) -> Any:
    """Do something with a session."""

    async def work() -> Any:
        async with connect("127.0.0.1", server.port, versions=(1,), **options) as session:
            return await act(session)

    return run(work())


def all_of(*asking: Coroutine[Any, Any, Any]) -> Deferred[list[Any]]:
    return gatherResults([Deferred.fromCoroutine(each) for each in asking])


@pytest.mark.parametrize("size", [0, 1, 70_000, LARGE])
@pytest.mark.parametrize("at_a_time", [0, 1, 1000])
def test_there_and_back(tmp_path: Path, size: int, at_a_time: int) -> None:
    if size > 1000 * (at_a_time or size):
        size = 70_000 if at_a_time == 1000 else 2_000
    octets = os.urandom(size)
    (tmp_path / "a").write_bytes(octets)
    moved: list[tuple[int, int]] = []

    async def act(session: Session) -> str:
        await session.put(tmp_path / "a")
        await session.change("a", "b")
        await session.get("b", tmp_path / "b", progress=lambda *told: moved.append(told))
        return await session.help()

    server = PlainServer(lambda peer: server.serve(peer, at_a_time=at_a_time))
    with server:
        assert use(server, act) == HELP_TEXT
    assert (tmp_path / "b").read_bytes() == octets
    assert moved[-1] == (size, size)
    assert sorted(os.listdir(tmp_path)) == ["a", "b"]


def test_small_and_large_ones_in_turn(tmp_path: Path) -> None:
    sizes = ([50_000] * 10 + [2_000_000]) * 3 + [100_000, 300_000, 5]
    for number, size in enumerate(sizes):
        (tmp_path / f"f{number}").write_bytes(os.urandom(size))

    async def act(session: Session) -> None:
        names = [f"f{number}" for number in range(len(sizes))]
        await all_of(*[session.put(tmp_path / name) for name in names])
        await all_of(*[session.get(name, tmp_path / f"{name}.back") for name in names])

    with PlainServer() as server:
        use(server, act)
        assert server.connections == 1
    for number in range(len(sizes)):
        octets = (tmp_path / f"f{number}").read_bytes()
        assert server.files[f"f{number}"] == octets
        assert (tmp_path / f"f{number}.back").read_bytes() == octets


@pytest.mark.parametrize("responses", [1, 2, 7])
def test_a_server_that_closes_after_some_responses(tmp_path: Path, responses: int) -> None:
    for number in range(30):
        (tmp_path / f"f{number}").write_bytes(b"%d" % number)

    async def act(session: Session) -> None:
        await all_of(*[session.put(tmp_path / f"f{number}") for number in range(30)])
        await all_of(*[session.get(f"f{number}", tmp_path / f"g{number}") for number in range(30)])

    server = PlainServer(lambda peer: server.serve(peer, responses=responses))
    with server:
        use(server, act)
    assert {name: int(octets) for name, octets in server.files.items()} == {
        f"f{number}": number for number in range(30)
    }
    for number in range(30):
        assert (tmp_path / f"g{number}").read_bytes() == b"%d" % number


def test_ten_thousand_small_files(tmp_path: Path) -> None:
    count = 10_000
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    for number in range(count):
        (source / f"f{number}").write_bytes(b"%d" % number)
    most = 0

    def look(*_: object) -> None:
        nonlocal most
        most = max(most, len(os.listdir("/proc/self/fd")))

    async def act(session: Session) -> None:
        for start in range(0, count, 2500):
            names = [f"f{number}" for number in range(start, start + 2500)]
            await all_of(*[session.put(source / name) for name in names])
            look()
            await all_of(
                *[
                    session.get(name, target / name, durability="none", progress=look)
                    for name in names[::100]
                ],
                *[session.get(name, target / name, durability="none") for name in names],
            )

    before = len(os.listdir("/proc/self/fd"))
    with PlainServer() as server:
        use(server, act)
        assert server.connections == 1
    assert len(server.files) == count
    assert len(os.listdir(target)) == count
    assert (target / "f9999").read_bytes() == b"9999"
    assert most < before + 400


def test_a_bare_summary_without_a_last_line_end() -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        for octet in b"Max: 3.0\nMin: 1.0\nAvg: 2.0":
            peer.write(bytes([octet]))
        peer.read_until_end()

    with PlainServer(converse) as server:
        statistics: Statistics = use(server, lambda session: session.summary("a"))
    assert (statistics.max, statistics.min, statistics.mean) == (3.0, 1.0, 2.0)


def test_a_refusal_before_the_whole_body(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 50_000_000)

    def converse(peer: Peer) -> None:
        peer.read(6)
        peer.write(b"\xa0")
        peer.read_until_end()

    with PlainServer(converse) as server, pytest.raises(RequestRefused):
        use(server, lambda session: session.put(tmp_path / "a"))


@pytest.mark.parametrize("is_rude", [False, True])
def test_a_large_body_that_is_cut(tmp_path: Path, is_rude: bool) -> None:
    octets = os.urandom(LARGE)

    def converse(peer: Peer) -> None:
        peer.read(2)
        if server.connections == 1:
            peer.write(b"\x21a" + LARGE.to_bytes(4, "big") + octets[:3_000_000])
            if is_rude:
                peer.reset()
            return
        peer.write(b"\x21a" + LARGE.to_bytes(4, "big") + octets)
        peer.read_until_end()

    server = PlainServer(converse)
    with server:
        use(server, lambda session: session.get("a", tmp_path / "a"))
    assert server.connections == 2
    assert (tmp_path / "a").read_bytes() == octets
    assert os.listdir(tmp_path) == ["a"]


def test_a_server_that_stops_reading_in_the_middle_and_dies(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 20_000_000)

    def converse(peer: Peer) -> None:
        if server.connections == 1:
            peer.read(1_000_000)
            peer.reset()
            return
        server.serve(peer)

    server = PlainServer(converse)
    with server:
        use(server, lambda session: session.put(tmp_path / "a"))
    assert server.files["a"] == b"x" * 20_000_000


def test_a_source_that_shrinks_on_its_way(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 50_000_000)
    received: list[int] = []

    def converse(peer: Peer) -> None:
        count = len(peer.read(1_000_000))
        path.write_bytes(b"short")
        while octets := peer.read_some():
            count += len(octets)
        received.append(count)

    with (
        PlainServer(converse) as server,
        pytest.raises(Exception, match="changed while it was sent"),
    ):
        use(server, lambda session: session.put(path))
    assert all(count < 50_000_000 for count in received)


@pytest.mark.parametrize("octets", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff\xff", b"\x60\x60"])
def test_garbage(octets: bytes) -> None:
    def converse(peer: Peer) -> None:
        peer.read(1)
        peer.write(octets)
        peer.read_until_end()

    async def act(session: Session) -> None:
        try:
            await session.help()
        except NotFound:
            await session.help()

    with (
        PlainServer(converse) as server,
        pytest.raises((RemoteProtocolError, TransferTimeout, TransferInterrupted)),
    ):
        use(server, act, timeout_seconds=2)


def test_silence(tmp_path: Path) -> None:
    with PlainServer(Peer.read_until_end) as server, pytest.raises(TransferTimeout):
        use(server, lambda session: session.help(), timeout_seconds=0.05)


def test_silence_in_the_middle_of_a_large_body(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"\x21a" + LARGE.to_bytes(4, "big") + b"x" * 1_000_000)
        peer.read_until_end()

    with PlainServer(converse) as server, pytest.raises(TransferTimeout):
        use(server, lambda session: session.get("a", tmp_path / "a"), timeout_seconds=0.8)
    assert os.listdir(tmp_path) == []


def test_giving_up_a_large_body_that_comes_by_the_kernel(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(1)
        if server.connections == 1:
            peer.write(b"\x21a" + LARGE.to_bytes(4, "big") + b"x" * 1_000_000)
            peer.read_until_end()
        else:
            peer.write(b"\xc4help")
            peer.read_until_end()

    async def act(session: Session) -> str:
        begun: Deferred[None] = Deferred()

        def progress(moved: int, size: int) -> None:
            if moved and not begun.called:
                begun.callback(None)

        getting = Deferred.fromCoroutine(session.get("a", tmp_path / "a", progress=progress))
        getting.addErrback(lambda failure: None)
        await begun
        getting.cancel()
        return await session.help()

    server = PlainServer(converse)
    with server:
        assert use(server, act) == "help"
    assert os.listdir(tmp_path) == []


def test_a_change_that_is_not_answered() -> None:
    def converse(peer: Peer) -> None:
        peer.read(4)

    with PlainServer(converse) as server:
        with pytest.raises(OutcomeUnknown):
            use(server, lambda session: session.change("a", "b"))
        assert server.connections == 1


def test_nobody_listens() -> None:
    with PlainServer() as server:
        pass
    with pytest.raises(ConnectFailed):
        use(server, lambda session: session.help(), tries=1)


def test_over_a_unix_socket(tmp_path: Path) -> None:
    from twisted.internet.protocol import Factory, Protocol

    class Helpful(Protocol):
        def dataReceived(self, data: bytes) -> None:
            self.transport.write(b"\xc4help" * len(data))

    async def work() -> str:
        port = reactor.listenUNIX(str(tmp_path / "s"), Factory.forProtocol(Helpful))  # type: ignore[attr-defined]
        async with connect(endpoint=UNIXClientEndpoint(reactor, str(tmp_path / "s"))) as session:
            text = await session.help()
        await port.stopListening()
        return text

    assert run(work()) == "help"


@pytest.mark.parametrize(("family", "count"), [(4, 1), (6, 0)])
def test_addresses_of_one_family(family: Family, count: int) -> None:
    """It listens on 127.0.0.1, which "localhost" may mean; it does not on ::1."""

    async def ask() -> None:
        async with connect("localhost", server.port, versions=(1,), family=family) as session:
            await session.help()

    with PlainServer() as server:
        with nullcontext() if count else pytest.raises(ConnectFailed):
            run(ask())
        # What this one was told holds for no other.
        use(server, lambda session: session.help())
        assert server.connections == count + 1


def test_an_ipv6_address_is_named_in_brackets() -> None:
    assert connect("::1", 9000).server == "[::1]:9000"
    assert connect("host").server == "host:9000"
    assert connect().server == "localhost:9000"
