"""Transfers of which each side is killed once, at moments of chance: whole in the end, with little sent twice."""

from __future__ import annotations

import logging
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from subprocess import Popen

import pytest
from cutting_proxy import CuttingProxy
from programs import begin, finish
from running import Daemon

SIZE = 12 * 1024 * 1024
RATE = "6M"
AT_A_TIME = 5


class Rig:
    """A daemon that can be killed while transfers go on.

    Attributes:
        passed: octets that were sent for the transfers that have ended.
        killed_clients, killed_daemons: how many transfers were under way when their client, or the daemon, was killed.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory = directory
        self.chance = random.Random(seed)
        self.daemon = Daemon(directory)
        self.daemon.__enter__()
        self.passed = self.killed_clients = self.killed_daemons = 0

    def close(self) -> None:
        self.daemon.stop()

    def move_some(self, first: int, *, is_upload: bool) -> None:
        """Move a few files at a time; each client is killed once, and the daemon that they all have."""
        with ThreadPoolExecutor(AT_A_TIME) as threads:
            transfers = [
                Transfer(self, first + which, is_upload=is_upload) for which in range(AT_A_TIME)
            ]
            running = [threads.submit(each.run, self._choose_moment()) for each in transfers]
            self._kill_daemon(transfers)
            for each in running:
                each.result()
        for transfer in transfers:
            self.passed += transfer.proxy.passed
            self.killed_clients += transfer.was_client_killed
            transfer.close()

    def _kill_daemon(self, transfers: list[Transfer]) -> None:
        """Kill it when one of the transfers has come so far, and let another take its place."""
        self.chance.choice(transfers).proxy.wait_for(self._choose_moment())
        self.killed_daemons += sum(each.is_under_way for each in transfers)
        self.daemon.kill()
        self.daemon = Daemon(self.directory)
        self.daemon.__enter__()
        for each in transfers:
            each.proxy.server = self.daemon.port

    def _choose_moment(self) -> int:
        return int(SIZE * self.chance.uniform(0.1, 0.9))


class Transfer:
    """One file on its way, through a proxy that counts what is sent for it."""

    def __init__(self, rig: Rig, number: int, *, is_upload: bool) -> None:
        self.was_client_killed = False
        self._has_ended = False
        self.proxy = CuttingProxy(rig.daemon.port)
        self._directory = rig.directory
        self._octets = random.Random(number).randbytes(SIZE)
        here, there = f"here{number}", f"there{number}"
        places = [rig.directory / here, rig.daemon.root / there]
        self._source, self._target = places if is_upload else places[::-1]
        self._command = ["put", here, "--as", there] if is_upload else ["get", there, "-o", here]

    @property
    def is_under_way(self) -> bool:
        """Whether octets of it have been sent, and others are still to come."""
        return self.proxy.passed > SIZE // 100 and not self._has_ended

    def run(self, moment: int) -> None:
        """Move it, with the client killed when so many octets have been sent."""
        self._source.write_bytes(self._octets)
        process = self._begin()
        self.proxy.wait_for(moment)
        self.was_client_killed = process.poll() is None
        process.kill()
        finish(process)
        ran = finish(self._begin())
        self._has_ended = True
        assert (ran.status, ran.output) == (0, ""), ran.errors
        assert self._target.read_bytes() == self._octets

    def close(self) -> None:
        self.proxy.close()
        self._source.unlink()
        self._target.unlink()

    def _begin(self) -> Popen[bytes]:
        return begin(
            *(*self._command, "--limit-rate", RATE, "--retry", "12"),
            cwd=self._directory,
            server=f"127.0.0.1:{self.proxy.port}",
            XDG_STATE_HOME=str(self._directory / "state"),
        )


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    with closing(Rig(tmp_path, 1)) as rig:
        yield rig


def kill_both_sides(rig: Rig, count: int, *, is_upload: bool) -> None:
    """Move so many files, each with its client and the daemon killed; they have not sent much twice."""
    for first in range(0, count, AT_A_TIME):
        rig.move_some(first, is_upload=is_upload)
    logging.info(
        "%.3f of their size was sent; under way when their client was killed: %d, when the daemon was: %d, of %d",
        *(rig.passed / (count * SIZE), rig.killed_clients, rig.killed_daemons, count),
    )
    assert rig.passed < 1.2 * count * SIZE
    assert min(rig.killed_clients, rig.killed_daemons) >= count / 2
    assert not os.listdir(rig.directory / "state" / "ft-client" / "transfers")


@pytest.mark.parametrize("is_upload", [True, False])
def test_killed_a_few_times(rig: Rig, is_upload: bool) -> None:
    kill_both_sides(rig, 10, is_upload=is_upload)


@pytest.mark.long
@pytest.mark.parametrize("is_upload", [True, False])
def test_a_thousand(rig: Rig, is_upload: bool) -> None:
    kill_both_sides(rig, 1000, is_upload=is_upload)
