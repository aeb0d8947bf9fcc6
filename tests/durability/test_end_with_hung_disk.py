"""A disk that answers no more: the daemon can be ended all the same, and nothing that was acknowledged is lost."""

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from daemons import DaemonProcess, run_daemon
from forgetful import record

SIZE = 1_000_000
DEADLINE_SECONDS = 60

Act = Callable[[socket.socket], None]


def put(name: str, body: bytes, size: int | None = None) -> bytes:
    head = bytes([len(name)]) + name.encode()
    return head + (len(body) if size is None else size).to_bytes(4, "big") + body


def get(name: str) -> bytes:
    return bytes([0x20 | len(name)]) + name.encode()


@contextmanager
def call(daemon: DaemonProcess) -> Iterator[socket.socket]:
    with socket.create_connection(daemon.address, DEADLINE_SECONDS) as peer:
        yield peer


def ask_for_a_new_file(peer: socket.socket) -> None:
    peer.sendall(put("new", b"new"))


def begin_a_large_file(peer: socket.socket) -> None:
    peer.sendall(put("new", bytes(SIZE // 2), SIZE))


def ask_for_a_file(peer: socket.socket) -> None:
    peer.sendall(get("cold"))


def ask_for_help(peer: socket.socket) -> None:
    peer.sendall(b"\x80")
    assert peer.recv(100)


@pytest.mark.needs_root("mount")
@pytest.mark.parametrize(
    "act", [ask_for_help, ask_for_a_new_file, begin_a_large_file, ask_for_a_file]
)
@pytest.mark.parametrize("signals", [1, 2])
def test_daemon_ends(tmp_path: Path, act: Act, signals: int) -> None:
    disk_path = tmp_path / "disk"
    with record(disk_path, tmp_path / "events") as disk:
        root = disk_path / "root"
        root.mkdir()
        (root / "cold").write_bytes(bytes(SIZE))
        seconds = "0.5" if signals == 1 else "1000"
        with run_daemon(root, "--drain-seconds", seconds) as daemon, call(daemon) as peer:
            peer.sendall(put("acknowledged", b"kept"))
            assert peer.recv(1) == b"\0"
            with disk.hang():
                act(peer)
                with call(daemon) as other:
                    # By the time this is answered the daemon has what was asked before.
                    ask_for_help(other)
                    daemon.process.send_signal(signal.SIGTERM)
                    assert other.recv(1) == b""
                if signals == 2:
                    daemon.process.send_signal(signal.SIGTERM)
                assert daemon.process.wait(DEADLINE_SECONDS) == 0, daemon.log
        assert "Traceback" not in daemon.log
        assert (root / "acknowledged").read_bytes() == b"kept"
        assert not (root / "new").exists()
        with run_daemon(root) as daemon, call(daemon) as peer:
            peer.sendall(put("new", b"new"))
            assert peer.recv(1) == b"\0"
