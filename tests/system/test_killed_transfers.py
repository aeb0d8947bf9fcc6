"""Transfers of which each side is killed once, at moments of chance: whole in the end, with little sent twice."""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from cutting_proxy import CuttingProxy
from programs import begin, finish
from running import Daemon

SIZE = 12 * 1024 * 1024
RATE = "6M"
AT_A_TIME = 5


class Rig:
    """A daemon that can be killed while transfers go on, and a proxy that counts what they send."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.daemon = Daemon(directory)
        self.daemon.__enter__()
        self.proxy = CuttingProxy(self.daemon.port)

    def kill_daemon(self) -> None:
        """Kill it, and let another take its place."""
        self.daemon.kill()
        self.daemon = Daemon(self.directory)
        self.daemon.__enter__()
        self.proxy.server = self.daemon.port

    def close(self) -> None:
        self.proxy.close()
        self.daemon.stop()

    def transfer(self, number: int, *, is_upload: bool) -> None:
        """Move a file, with the client killed once."""
        octets = random.Random(number).randbytes(SIZE)
        here, there = f"here{number}", f"there{number}"
        source = self.directory / here if is_upload else self.daemon.root / there
        target = self.daemon.root / there if is_upload else self.directory / here
        source.write_bytes(octets)
        command = ["put", here, "--as", there] if is_upload else ["get", there, "-o", here]
        process = self._begin(command)
        # At a rate that is known, of a transfer that takes two seconds.
        time.sleep(self.chance.uniform(0.3, 2.0))
        process.send_signal(signal.SIGKILL)
        finish(process)
        ran = finish(self._begin(command))
        assert (ran.status, ran.output) == (0, ""), ran.errors
        assert target.read_bytes() == octets
        source.unlink()
        target.unlink()

    def _begin(self, command: list[str]) -> object:
        return begin(
            *(*command, "--limit-rate", RATE, "--retry", "12"),
            cwd=self.directory,
            server=f"127.0.0.1:{self.proxy.port}",
            XDG_STATE_HOME=str(self.directory / "state"),
        )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path, 1)) as rig:
        yield rig


def kill_both_sides(rig: Rig, rounds: int, *, is_upload: bool) -> float:
    """Move files, a few at a time; in each round the daemon is killed once, too. Gives the octets sent for each."""
    for number in range(rounds):
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            transfers = [
                threads.submit(rig.transfer, number * AT_A_TIME + which, is_upload=is_upload)
                for which in range(AT_A_TIME)
            ]
            time.sleep(rig.chance.uniform(0.5, 3.0))
            rig.kill_daemon()
            for transfer in transfers:
                transfer.result()
    return rig.proxy.passed / (rounds * AT_A_TIME * SIZE)


@pytest.mark.parametrize("is_upload", [True, False])
def test_killed_a_few_times(rig: Rig, is_upload: bool) -> None:
    ratio = kill_both_sides(rig, 1, is_upload=is_upload)
    logging.info("%.3f of their size was sent", ratio)
    assert ratio < 1.6
    assert not os.listdir(rig.directory / "state" / "ft-client" / "transfers")


@pytest.mark.long
@pytest.mark.parametrize("is_upload", [True, False])
def test_a_thousand(rig: Rig, is_upload: bool) -> None:
    ratio = kill_both_sides(rig, 1000 // AT_A_TIME, is_upload=is_upload)
    logging.info("%.3f of their size was sent", ratio)
    assert ratio < 1.2
