"""A daemon that is serving while the scrub marks a file: refused at once, and logged."""

import os
import socket
from pathlib import Path

import pytest
from daemons import DaemonProcess, run_daemon

from filetransfer.store.scrub import Finding, Outcome, Scrub


def scrub(root: Path) -> dict[str, Finding]:
    outcomes: list[Outcome] = []
    run = Scrub(root, on_outcome=outcomes.append)
    run.start()
    assert run.wait()
    run.close()
    return {os.fsdecode(outcome.path): outcome.finding for outcome in outcomes}


def ask(daemon: DaemonProcess, request: bytes) -> bytes:
    """Send one request of version 1 and give the whole answer."""
    with socket.create_connection(daemon.address) as peer:
        peer.sendall(request)
        peer.shutdown(socket.SHUT_WR)
        answer = b""
        while octets := peer.recv(65536):
            answer += octets
        return answer


@pytest.mark.parametrize("body", [b"1\n2\n3\n", b"1\n2\n3\n" * 50_000], ids=["small", "bulk"])
def test_a_serving_daemon_heeds_the_mark_at_once(tmp_path: Path, body: bytes) -> None:
    root = tmp_path / "root"
    get, summary, put = b"\x21f", b"\x61f", b"\x01f" + len(body).to_bytes(4, "big") + body
    with run_daemon(root) as daemon:
        assert ask(daemon, put) == b"\x00"
        whole = ask(daemon, get)
        assert whole.endswith(body)
        status = os.stat(root / "f")
        with open(root / "f", "r+b") as file:
            file.write(b"9")
        os.utime(root / "f", ns=(status.st_atime_ns, status.st_mtime_ns))
        assert scrub(root) == {"f": Finding.DAMAGED}
        assert ask(daemon, get) == b"\x60"
        assert ask(daemon, summary) == b"\x60"
        assert ask(daemon, put) == b"\x00"
        assert ask(daemon, get) == whole
        assert scrub(root) == {"f": Finding.GOOD}
        daemon.stop()
        refused = [line for line in daemon.log.splitlines() if "damaged" in line]
        assert len(refused) == 2
