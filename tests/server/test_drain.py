"""How the daemon ends: what is under way may end, nothing new begins, and the rest is cut."""

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from doubles import DONE, HELP, HELP_REPLY, Rig, content, get, put
from twistds import DEADLINE_SECONDS, Running, run_daemon

SIZE = 2_000_000


@contextmanager
def call(directory: Path) -> Iterator[socket.socket]:
    """Give a connection that has been served."""
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(str(directory / "socket"))
        peer.settimeout(DEADLINE_SECONDS)
        peer.sendall(HELP)
        assert peer.recv(100) == HELP_REPLY
        yield peer


@contextmanager
def serve(directory: Path, *options: str) -> Iterator[Running]:
    with run_daemon(directory, "--listen", f"unix:{directory}/socket", *options) as daemon:
        yield daemon


def begin_to_end(daemon: Running) -> None:
    daemon.process.send_signal(signal.SIGTERM)
    daemon.wait_for("ending: what is under way has")


def is_served(directory: Path, name: str) -> bool:
    return (directory / "files" / name).exists()


def test_idle_connections_are_closed_at_once(tmp_path: Path) -> None:
    # Begun, but nobody waits for an answer yet.
    with serve(tmp_path) as daemon, call(tmp_path) as idle, call(tmp_path) as begun:
        begun.sendall(put("a", b"", size=10)[:3])
        assert daemon.end() == 0
        assert idle.recv(1) == b""
        with pytest.raises(FileNotFoundError), call(tmp_path):
            pass


def test_an_upload_may_end(tmp_path: Path) -> None:
    with serve(tmp_path) as daemon, call(tmp_path) as peer:
        peer.sendall(put("a", bytes(SIZE // 2), size=SIZE))
        # The daemon has it in hand.
        with call(tmp_path):
            begin_to_end(daemon)
        assert daemon.process.poll() is None
        peer.sendall(bytes(SIZE - SIZE // 2))
        assert peer.recv(1) == DONE
        assert peer.recv(1) == b""
        assert daemon.end() == 0
        assert not any("cut" in line for line in daemon.log)
    assert (tmp_path / "files" / "a").stat().st_size == SIZE


def test_a_download_may_end(tmp_path: Path) -> None:
    body = bytes(20 * SIZE)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(body)
    with serve(tmp_path) as daemon, call(tmp_path) as peer:
        peer.sendall(get("a"))
        assert peer.recv(1)
        begin_to_end(daemon)
        rest = b"".join(iter(lambda: peer.recv(SIZE), b""))
        assert len(rest) + 1 == len(content("a", body))
        assert daemon.end() == 0


@pytest.mark.parametrize("seconds", ["0", "0.2"])
def test_what_takes_too_long_is_cut(tmp_path: Path, seconds: str) -> None:
    with serve(tmp_path, "--drain-seconds", seconds) as daemon, call(tmp_path) as peer:
        peer.sendall(put("a", bytes(SIZE // 2), size=SIZE))
        with call(tmp_path):
            assert daemon.end() == 0
        daemon.wait_for("connections are cut")
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""
        assert not any("Traceback" in line for line in daemon.log)
    assert not is_served(tmp_path, "a")


def test_a_second_signal_cuts(tmp_path: Path) -> None:
    with serve(tmp_path, "--drain-seconds", "1000") as daemon, call(tmp_path) as peer:
        peer.sendall(put("a", bytes(SIZE // 2), size=SIZE))
        with call(tmp_path):
            begin_to_end(daemon)
        assert daemon.end() == 0
    assert not is_served(tmp_path, "a")


def test_no_request_is_begun(rig: Rig) -> None:
    peer, idle, silent = (rig.connect() for _ in range(3))
    idle.send(HELP)
    peer.send(put("a", b"1"))
    rig.factory.begin_drain()
    peer.send(put("b", b"1") + HELP)
    for connection in list(rig.factory.connections):
        connection.drain(hears_openings=True)
    assert idle.wire.is_closing
    assert not silent.wire.is_closing
    for connection in list(rig.factory.connections):
        connection.drain(hears_openings=False)
    assert silent.wire.is_closing
    assert not peer.wire.is_closing
    rig.finish()
    assert peer.received == DONE
    assert peer.wire.is_closing
    assert set(rig.store.files) == {"a"}
