"""What peers cost that do not read, or that send faster than can be stored: measured in the daemon's own process."""

import os
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
from doubles import DONE, HELP, HELP_REPLY, content, get, put
from twistds import DEADLINE_SECONDS, Running, ask, run_daemon

MEBIBYTE = 1024 * 1024
PEERS = 100
MAX_OCTETS = 200 * MEBIBYTE


def read_peak(daemon: Running) -> int:
    """Give the most memory the daemon ever had, in octets."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s*([0-9]+) kB", status)
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("size", [1024 * MEBIBYTE, 200 * 1024, 60 * 1024])
def test_peers_that_do_not_read(tmp_path: Path, size: int) -> None:
    """A gibibyte takes the kernel route, the others go through Python; each peer asks for many."""
    (tmp_path / "files").mkdir()
    with open(tmp_path / "files" / "a", "wb") as file:
        file.truncate(size)
    address = str(tmp_path / "socket")
    with (
        run_daemon(tmp_path, "--listen", f"unix:{address}", "--drain-seconds", "0") as daemon,
        ExitStack() as peers,
    ):
        head = content("a", b"")[:2] + size.to_bytes(4, "big")
        for _ in range(PEERS):
            peer = peers.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(address)
            peer.settimeout(DEADLINE_SECONDS)
            peer.sendall(get("a") * 200)
            assert peer.recv(len(head), socket.MSG_WAITALL) == head
        # Answered after all that the others have asked for before.
        assert ask(address, HELP * 300) == HELP_REPLY * 300
        assert read_peak(daemon) < MAX_OCTETS
        daemon.end()


def test_uploaders_of_much(tmp_path: Path) -> None:
    """Nothing of a body is kept in memory: 256 MiB cost what they cost on their way."""
    address = str(tmp_path / "socket")
    body = bytes(MEBIBYTE)
    count = 256
    with (
        run_daemon(tmp_path, "--listen", f"unix:{address}", "--durability", "none") as daemon,
        socket.socket(socket.AF_UNIX) as peer,
    ):
        assert ask(address, HELP) == HELP_REPLY
        before = read_peak(daemon)
        peer.connect(address)
        peer.settimeout(DEADLINE_SECONDS)
        peer.sendall(put("a", b"", size=count * MEBIBYTE))
        for _ in range(count):
            peer.sendall(body)
        assert peer.recv(1) == DONE
        assert read_peak(daemon) - before < 32 * MEBIBYTE
        daemon.end()
    assert os.stat(tmp_path / "files" / "a").st_size == count * MEBIBYTE


def test_claims_allocate_nothing(tmp_path: Path) -> None:
    """However many peers claim 4 GiB, or a small body each, and send nothing of it."""
    address = str(tmp_path / "socket")
    with (
        run_daemon(tmp_path, "--listen", f"unix:{address}", "--drain-seconds", "0") as daemon,
        ExitStack() as peers,
    ):
        assert ask(address, HELP) == HELP_REPLY
        before = read_peak(daemon)
        for index in range(PEERS):
            peer = peers.enter_context(socket.socket(socket.AF_UNIX))
            peer.connect(address)
            # The name is refused: what is claimed here does not depend on the free space.
            peer.sendall(put("..", b"", size=2**32 - 1 if index % 2 else 60_000))
        assert ask(address, HELP) == HELP_REPLY
        assert read_peak(daemon) - before < 32 * MEBIBYTE
        daemon.end()
