"""Who may not connect now is told why, in version 2; and who has just connected when the daemon ends."""

import signal
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from subprocess import run
from typing import Any

import pytest
from certificates import make_certificate
from doubles import HELP, HELP_REPLY
from twistds import DEADLINE_SECONDS, ENVIRONMENT, Running, run_daemon

from filetransfer.errors import Busy, ShuttingDown
from filetransfer.server.turned_away import MAX_TURNED_AWAY, RETRY_SECONDS
from filetransfer.wire.connection import ALPN, begin_client
from filetransfer.wire.messages import EndOfMessages, Unavailable, VersionChosen

TEMPORARY = 5


@contextmanager
def serve(directory: Path, *options: str) -> Iterator[tuple[Running, int, int]]:
    """Run a daemon that serves in the clear and over TLS; gives it and its ports."""
    made = make_certificate(directory)
    tls = ["--certificate", made.file, "--private-key", made.key_file, "--tls-port", "0"]
    where = ["--port", "0", "--interface", "127.0.0.1"]
    with run_daemon(directory, *tls, *where, *options) as daemon:
        port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+)$")[1])
        tls_port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+), TLS$")[1])
        yield daemon, port, tls_port
        assert daemon.end() == 0
        assert not any("Traceback" in line for line in daemon.log), daemon.log


@contextmanager
def call(port: int, *, alpn: bytes | None = None, is_tls: bool = False) -> Iterator[Any]:
    """Connect, over TLS if that is wanted; gives the socket."""
    with socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS) as peer:
        if not is_tls:
            yield peer
            return
        with shake_hands(peer, alpn) as over_tls:
            yield over_tls


def shake_hands(peer: socket.socket, alpn: bytes | None = None) -> ssl.SSLSocket:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn is not None:
        context.set_alpn_protocols([alpn.decode()])
    return context.wrap_socket(peer)


@contextmanager
def be_served(port: int) -> Iterator[socket.socket]:
    with call(port) as peer:
        peer.sendall(HELP)
        assert peer.recv(100) == HELP_REPLY
        yield peer


def hear_opening(peer: Any, alpn: bytes | None = None) -> Any:
    """Ask for version 2, and give what the server says first; nothing may follow it but the end."""
    connection: Any
    connection, octets = begin_client((2,), alpn=alpn)
    peer.sendall(octets)
    said = []
    while True:
        event = connection.next_event()
        if isinstance(event, VersionChosen):
            connection = event.connection
        elif isinstance(event, EndOfMessages):
            return said[0] if len(said) == 1 else said
        elif event is not None:
            said.append(event)
        elif octets := peer.recv(1000):
            connection.receive(octets)
        else:
            connection.receive_eof()


def expect_busy(opening: Any, reason: str) -> None:
    assert isinstance(opening, Unavailable)
    assert isinstance(opening.error, Busy)
    assert reason in str(opening.error)
    assert opening.error.retry_after == RETRY_SECONDS


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int]]:
    """Give the ports of a daemon that has one connection, and may have no more."""
    directory = tmp_path_factory.mktemp("full")
    with serve(directory, "--max-connections", "1") as (daemon, *ports), be_served(ports[0]) as one:
        yield ports[0], ports[1]
        daemon.wait_for("turned away: there are as many connections as there may be")
        one.sendall(HELP)
        assert one.recv(100) == HELP_REPLY


@pytest.mark.parametrize(("is_tls", "alpn"), [(False, None), (True, None), (True, ALPN)])
def test_version_2_is_told(ports: tuple[int, int], is_tls: bool, alpn: bytes | None) -> None:
    with call(ports[is_tls], alpn=alpn, is_tls=is_tls) as peer:
        expect_busy(hear_opening(peer, alpn), "as many connections as there may be")


def test_address_with_too_many_is_told(tmp_path: Path) -> None:
    limit = ("--max-connections-per-address", "1")
    with serve(tmp_path, *limit) as (_, port, _tls), be_served(port), call(port) as peer:
        expect_busy(hear_opening(peer), "its address has as many connections as it may have")


def test_what_is_asked_meanwhile_is_not_done(ports: tuple[int, int]) -> None:
    """Over TLS requests may be sent before the greeting has come."""
    with call(ports[1], alpn=ALPN, is_tls=True) as peer:
        peer.sendall(b"\x04\x00\x00\x01\x80" * 20_000)
        expect_busy(hear_opening(peer, ALPN), "as many")


@pytest.mark.parametrize("is_tls", [False, True])
@pytest.mark.parametrize("octets", [HELP, b"\xe1", b"GET / HTTP/1.1\r\n\r\n"])
def test_version_1_is_closed(ports: tuple[int, int], is_tls: bool, octets: bytes) -> None:
    with call(ports[is_tls], is_tls=is_tls) as peer:
        peer.sendall(octets)
        assert peer.recv(100) == b""


def test_many_at_a_time(ports: tuple[int, int]) -> None:
    """Beyond a few nobody is heard. Who says nothing goes, and others are heard again."""
    with ExitStack() as peers:
        crowd = [peers.enter_context(call(ports[0])) for _ in range(MAX_TURNED_AWAY + 1)]
        assert crowd[-1].recv(1) == b""
        for peer in crowd[:-1]:
            with pytest.raises(ConnectionResetError):
                peer.recv(1)
    with call(ports[0]) as last:
        expect_busy(hear_opening(last), "as many")


def test_handshakes_of_those_who_are_turned_away_count(tmp_path: Path) -> None:
    limits = ["--max-connections", "1", "--max-handshakes", "3"]
    with (
        serve(tmp_path, *limits) as (daemon, port, tls_port),
        be_served(port),
        ExitStack() as peers,
    ):
        for _ in range(50):
            peers.enter_context(call(tls_port))
        daemon.wait_for("turned away: too many handshakes in a second")


def test_ft_client_takes_it_for_temporary(tmp_path: Path, ports: tuple[int, int]) -> None:
    where = {"FT_SERVER": f"127.0.0.1:{ports[0]}", "XDG_STATE_HOME": str(tmp_path)}
    ran = run(
        [Path(sys.executable).with_name("ft-client"), "--retry", "0", "help"],
        env=ENVIRONMENT | where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == TEMPORARY
    assert "there are as many connections as there may be: try again later" in ran.stderr
    assert "version 1" not in ran.stderr


@pytest.mark.parametrize(("is_tls", "alpn"), [(False, None), (True, None), (True, ALPN)])
def test_who_has_just_connected_when_the_daemon_ends(
    tmp_path: Path, is_tls: bool, alpn: bytes | None
) -> None:
    with (
        serve(tmp_path) as (daemon, port, tls_port),
        socket.create_connection(("127.0.0.1", tls_port if is_tls else port)) as peer,
        be_served(port) as idle,
    ):
        # What is served afterwards says that the first connection was taken.
        daemon.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        with shake_hands(peer, alpn) if is_tls else peer as newcomer:
            opening = hear_opening(newcomer, alpn)
        assert isinstance(opening, Unavailable)
        assert isinstance(opening.error, ShuttingDown)


@pytest.mark.parametrize("octets", [b"", HELP])
def test_who_speaks_version_1_when_the_daemon_ends_is_closed(tmp_path: Path, octets: bytes) -> None:
    with serve(tmp_path) as (daemon, port, _), call(port) as peer, be_served(port) as idle:
        daemon.process.send_signal(signal.SIGTERM)
        assert idle.recv(1) == b""
        peer.sendall(octets)
        assert peer.recv(1) == b""
