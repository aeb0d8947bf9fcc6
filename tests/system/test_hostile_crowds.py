"""Thousands of peers that mean harm, in processes of their own: honest ones are served, and nothing is left."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from certificates import make_certificate
from running import Daemon

CROWD = Path(__file__).with_name("crowd.py")
MEBIBYTE = 1024 * 1024
DEADLINE_SECONDS = 400


class Peers:
    """Processes of peers of one daemon."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._tls_port = int(daemon.wait_for_log(r"127\.0\.0\.1:([0-9]+), TLS")[1])
        self._processes: list[subprocess.Popen[str]] = []

    def start(self, kind: str, count: int, seconds: int) -> None:
        port = self._tls_port if kind == "silent" else self._daemon.port
        self._processes.append(
            subprocess.Popen(
                [sys.executable, CROWD, kind, str(port), str(count), str(seconds)],
                stdout=subprocess.PIPE,
                text=True,
            )
        )

    def finish(self) -> dict[str, dict[str, int]]:
        """Wait for all, and give what each kind met."""
        told = {}
        for process in self._processes:
            output, _ = process.communicate(timeout=DEADLINE_SECONDS)
            assert process.returncode == 0
            met = json.loads(output)
            logging.info("%s", met)
            told[met.pop("kind")] = met
        self._processes.clear()
        return told


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    made = make_certificate(tmp_path)
    tls = ["--certificate", made.file, "--private-key", made.key_file, "--tls-port", "0"]
    return Daemon(tmp_path, *map(str, tls))


def read_memory(daemon: Daemon) -> int:
    """Give the memory that is the daemon's, in octets."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    found = re.search(r"RssAnon:\s*([0-9]+) kB", status)
    assert found
    return int(found[1]) * 1024


def count_descriptors(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def fill(daemon: Daemon) -> None:
    (daemon.root / "a").write_bytes(b"x")
    with open(daemon.root / "bulk", "wb") as bulk:
        bulk.truncate(10 * MEBIBYTE)


def attack(daemon: Daemon, count: int, seconds: int) -> None:
    fill(daemon)
    peers = Peers(daemon)
    before = count_descriptors(daemon)
    for kind in ("slowloris", "silent", "slow-reader"):
        peers.start(kind, count, seconds)
    for kind in ("get", "put"):
        peers.start(kind, 1, seconds)
    told = peers.finish()
    for kind in ("slowloris", "silent", "slow-reader"):
        # Now and then some of them are on their way back.
        assert told[kind]["most"] >= 0.9 * count
        assert told[kind]["left"] == 0
    assert told["get"]["count"] > 0
    assert told["put"]["count"] > 0
    memory = read_memory(daemon)
    logging.info(
        "%d MiB and %d descriptors afterwards", memory / MEBIBYTE, count_descriptors(daemon)
    )
    # But for pipes, which threads keep.
    assert count_descriptors(daemon) < before + 50
    assert "Traceback" not in daemon.log


def test_small_crowds(daemon: Daemon) -> None:
    """The same as below, for a moment: nobody is cut yet but for those who give up."""
    with daemon:
        fill(daemon)
        peers = Peers(daemon)
        for kind in ("slowloris", "silent", "slow-reader", "idle", "get", "put"):
            peers.start(kind, 20, 0 if kind in ("slowloris", "silent", "slow-reader") else 1)
        told = peers.finish()
        assert told["idle"]["most"] == 20
        assert told["get"]["count"] > 0


@pytest.mark.long
def test_crowds(daemon: Daemon) -> None:
    with daemon:
        attack(daemon, 2000, 60)


@pytest.mark.long
def test_twice_the_crowds_leave_no_more_than_once(daemon: Daemon) -> None:
    """What the first ones leave is kept for the next, and not lost."""
    with daemon:
        attack(daemon, 300, 10)
        once = read_memory(daemon)
        attack(daemon, 300, 10)
        assert read_memory(daemon) < once + 8 * MEBIBYTE


@pytest.mark.long
def test_connections_that_do_nothing(tmp_path: Path) -> None:
    """As many as this process may have; they cost little, and whoever has one is served."""
    with Daemon(tmp_path, "--max-connections", "10000") as daemon:
        fill(daemon)
        found = re.search(r"at most ([0-9]+) connections", daemon.log)
        count = min(10_000, int(found[1]) if found else 10_000) - 10
        before = read_memory(daemon)
        crowd = [
            subprocess.Popen(
                [sys.executable, CROWD, "idle", str(daemon.port), str(count // 2), "40"],
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(2)
        ]
        told = [json.loads(process.communicate(timeout=DEADLINE_SECONDS)[0]) for process in crowd]
        most = sum(met["most"] for met in told)
        cost = (read_memory(daemon) - before) / most
        logging.info("%d connections, %d octets each", most, cost)
        assert most >= 0.99 * count
        assert "Traceback" not in daemon.log
