"""Conversations that are cut, reset, stalled or trickled at every place: nothing is torn, nobody else suffers."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest
from bad_networks import TO_CLIENT, TO_DAEMON, Act, Proxy
from running import Daemon

from filetransfer.digests import start_digest
from filetransfer.wire.connection import ALPN, begin_client
from filetransfer.wire.messages import BodyEnd, Change, Get, Help, Put, Stat

SMALL = os.urandom(30)
BULK = os.urandom(300_000)
OLD = b"what was there before"
HELP, HELP_REPLY = b"\x80", b"\xdfbye change get help put summary"
DEADLINE_SECONDS = 30


def encode_v1(*, has_bulk: bool) -> bytes:
    puts = b"\x01s" + len(SMALL).to_bytes(4, "big") + SMALL
    if has_bulk:
        puts += b"\x01b" + len(BULK).to_bytes(4, "big") + BULK
    return puts + b"\x21s" + (b"\x21b" if has_bulk else b"") + b"\x41s\x01m" + b"\x61s" + HELP


def encode_v2(*, has_bulk: bool) -> bytes:
    codec, _ = begin_client((2,), alpn=ALPN)
    octets = b"\xe0"
    for path, body in (("s", SMALL), *((("b", BULK),) if has_bulk else ())):
        digest = start_digest("xxh3-128")
        digest.update(body)
        octets += codec.encode(Put(path, len(body))) + codec.encode_run(len(body)) + body
        octets += codec.encode_body_end(BodyEnd({"xxh3-128": digest.digest()}))
        octets += codec.encode(Get(path))
    return octets + b"".join(map(codec.encode, (Stat("s"), Change("s", "m"), Help())))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    limits = ("--head-seconds", "1", "--rate-seconds", "1", "--idle-seconds", "2")
    with Daemon(tmp_path_factory.mktemp("daemon"), "--durability", "none", *limits) as running:
        yield running
        # Nothing that was sent was an error of ours.
        assert "Traceback" not in running.log


def ask(address: tuple[str, int], octets: bytes) -> bytes:
    """Send octets, and give what is answered until the end, however it comes."""
    answers = b""
    with socket.create_connection(address, DEADLINE_SECONDS) as peer, suppress(ConnectionError):
        # Shutting down what was reset is an OSError of no class of its own.
        with suppress(OSError):
            peer.sendall(octets)
            peer.shutdown(socket.SHUT_WR)
        while more := peer.recv(65536):
            answers += more
    return answers


def assert_nothing_torn(daemon: Daemon) -> None:
    """Each file is the old one, the new one, or, if it was moved away, absent; and the next peer is served."""
    assert ask(("127.0.0.1", daemon.port), HELP) == HELP_REPLY
    for path in daemon.list_visible():
        # What was asked whole is done, although nobody hears of it: a CHANGE may be at work now.
        with suppress(FileNotFoundError):
            assert path.read_bytes() in (SMALL, BULK, OLD), path
            path.unlink()


def list_places(length: int) -> list[int]:
    """Give every place near the ends of the conversation and of its bulk body, and some in between."""
    near = {*range(1, 100), *range(length - 80, length), *range(100, length, max(1, length // 40))}
    return sorted(place for place in near if 0 < place <= length)


CONVERSATIONS = {"version 1": encode_v1, "version 2": encode_v2}


@pytest.mark.parametrize("version", CONVERSATIONS)
@pytest.mark.parametrize("act", [Act.CLOSE, Act.RESET])
@pytest.mark.parametrize("direction", [TO_DAEMON, TO_CLIENT])
def test_cut(daemon: Daemon, version: str, act: Act, direction: int) -> None:
    octets = CONVERSATIONS[version](has_bulk=True)
    length = len(octets) if direction == TO_DAEMON else len(BULK) + 200
    for place in list_places(length):
        (daemon.root / "s").write_bytes(OLD)
        with Proxy(daemon.port, direction, place, act) as proxy:
            ask(proxy.address, octets)
        assert_nothing_torn(daemon)


@pytest.mark.parametrize("version", CONVERSATIONS)
def test_stall(daemon: Daemon, version: str) -> None:
    """At every octet at once: all are cut in their time."""
    octets = CONVERSATIONS[version](has_bulk=False)
    with ExitStack() as opened:
        peers = []
        for place in range(1, len(octets) + 1):
            proxy = opened.enter_context(Proxy(daemon.port, TO_DAEMON, place, Act.STALL))
            peer = opened.enter_context(socket.create_connection(proxy.address, DEADLINE_SECONDS))
            peer.sendall(octets)
            peers.append(peer)
        for peer in peers:
            with suppress(ConnectionError):
                while peer.recv(65536):
                    pass
    assert_nothing_torn(daemon)


@pytest.mark.parametrize("version", CONVERSATIONS)
def test_trickle(daemon: Daemon, version: str) -> None:
    octets = CONVERSATIONS[version](has_bulk=False)
    answers = []
    for act in (Act.CLOSE, Act.TRICKLE):
        with Proxy(daemon.port, TO_DAEMON, len(octets) + 1, act) as proxy:
            answers.append(ask(proxy.address, octets))
        assert (daemon.root / "m").read_bytes() == SMALL
        daemon.clear_root()
    assert len(answers[0]) == len(answers[1]) > len(SMALL)


def test_no_part_is_left(daemon: Daemon) -> None:
    assert not os.listdir(daemon.root / ".ft-store" / "parts")
