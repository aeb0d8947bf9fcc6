"""What peers cost that do not read, or that send faster than can be stored: measured in the daemon's own process."""

import os
import re
import socket
import ssl
from contextlib import ExitStack
from pathlib import Path

import pytest
from certificates import make_certificate
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


def read_memory(daemon: Running) -> int:
    """Give the memory that is the daemon's own, in octets."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(r"RssAnon:\s*([0-9]+) kB", status)
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


def test_connections_over_tls_that_have_moved_much(tmp_path: Path) -> None:
    """OpenSSL's buffers are given back: they would be 85 KiB each."""
    made = make_certificate(tmp_path)
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(bytes(MEBIBYTE))
    size = len(content("a", b"")) + MEBIBYTE
    tls = ["--certificate", made.file, "--private-key", made.key_file, "--tls-port", "0"]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        run_daemon(tmp_path, *tls, "--interface", "127.0.0.1") as daemon,
        ExitStack() as peers,
    ):
        port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+), TLS$")[1])

        def fetch() -> None:
            peer = socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS)
            over_tls = peers.enter_context(context.wrap_socket(peer))
            over_tls.sendall(get("a"))
            left = size
            while left:
                left -= len(over_tls.recv(MEBIBYTE))

        for _ in range(10):
            fetch()
        before = read_memory(daemon)
        # Fewer than may shake hands in a second.
        for _ in range(80):
            fetch()
        assert (read_memory(daemon) - before) / 80 < 45 * 1024
        daemon.end()
