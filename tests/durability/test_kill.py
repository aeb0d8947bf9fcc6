"""kill -9 of a writing daemon: every acknowledged file is whole, nothing is torn, the next start collects the parts."""

import logging
import threading
import time
from pathlib import Path
from random import Random

import pytest
from daemons import run_daemon
from uploads import Uploader, Verdict, digest_tree, judge_all, make_directories, uploading

PARTS = ".ft-store/parts"


def kill_again_and_again(root: Path, *, seed: int, kills: int) -> tuple[Verdict, int]:
    """Kill a daemon at random moments while three clients upload.

    Returns:
        What was found, and how many parts the starts had to collect.
    """
    random = Random(seed)
    make_directories(root)
    ticks = threading.Semaphore(0)
    uploaders = [Uploader(prefix, seed, tick=ticks.release) for prefix in "abc"]
    verdict = Verdict()
    collected = 0
    for _ in range(kills):
        with run_daemon(root) as daemon:
            # What the last kill left is gone before the first request.
            assert not list((root / PARTS).iterdir())
            with uploading(uploaders, daemon.address):
                for _ in range(random.randint(0, 40)):
                    assert ticks.acquire(timeout=60), daemon.log
                spin(random.random() * 0.004)
                daemon.kill()
        while ticks.acquire(blocking=False):
            pass
        assert not [line for uploader in uploaders for line in uploader.refused]
        found = digest_tree(root)
        verdict.add(judge_all(uploaders, found))
        assert not verdict.lost, verdict
        assert not verdict.torn, verdict
        for uploader in uploaders:
            uploader.ledger.settle(found)
        collected += len(list((root / PARTS).iterdir()))
        thin_out(root, uploaders, found)
    with run_daemon(root):
        assert not list((root / PARTS).iterdir())
    return verdict, collected


def spin(seconds: float) -> None:
    """Let a moment pass, so that the kill is not always right after an acknowledgement."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def thin_out(root: Path, uploaders: list[Uploader], found: dict[str, str]) -> None:
    """Keep the root small: beyond 300 files, begin anew."""
    if len(found) > 300:
        for name in found:
            (root / name).unlink()
        for uploader in uploaders:
            uploader.ledger.settle({})


def test_killed_again_and_again(tmp_path: Path) -> None:
    verdict, collected = kill_again_and_again(tmp_path, seed=1, kills=20)
    logging.info("%s; %d parts collected", verdict, collected)
    assert verdict.acknowledged > 300
    assert collected


@pytest.mark.long
def test_killed_a_thousand_times(tmp_path: Path) -> None:
    verdict, collected = kill_again_and_again(tmp_path, seed=2, kills=1000)
    logging.info("%s; %d parts collected", verdict, collected)
    assert verdict.acknowledged > 30_000
    assert collected > 100
