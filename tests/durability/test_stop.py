"""SIGTERM under load: what was acknowledged is there, what was under way may end, and the daemon ends well and soon."""

import logging
import threading
import time
from pathlib import Path
from random import Random

import pytest
from daemons import run_daemon
from uploads import Uploader, Verdict, digest_tree, judge_all, make_directories, uploading

DRAIN_SECONDS = 5


def stop_again_and_again(root: Path, *, seed: int, stops: int) -> Verdict:
    """Stop a daemon at random moments while three clients upload."""
    random = Random(seed)
    make_directories(root)
    ticks = threading.Semaphore(0)
    uploaders = [Uploader(prefix, seed, tick=ticks.release) for prefix in "abc"]
    verdict = Verdict()
    longest = 0.0
    for _ in range(stops):
        with run_daemon(root, "--drain-seconds", str(DRAIN_SECONDS)) as daemon:
            with uploading(uploaders, daemon.address):
                for _ in range(random.randint(0, 40)):
                    assert ticks.acquire(timeout=60), daemon.log
                began = time.monotonic()
                daemon.stop()
            longest = max(longest, time.monotonic() - began)
            assert daemon.process.returncode == 0, daemon.log
            assert "Traceback" not in daemon.log
        while ticks.acquire(blocking=False):
            pass
        assert not [line for uploader in uploaders for line in uploader.refused]
        assert not list((root / ".ft-store/parts").iterdir())
        found = digest_tree(root)
        verdict.add(judge_all(uploaders, found))
        assert not verdict.lost, verdict
        assert not verdict.torn, verdict
        for uploader in uploaders:
            uploader.ledger.settle(found)
    logging.info("%s; the longest stop took %.2f s", verdict, longest)
    return verdict


def test_stopped_again_and_again(tmp_path: Path) -> None:
    assert stop_again_and_again(tmp_path, seed=3, stops=5).acknowledged > 30


@pytest.mark.long
def test_stopped_a_hundred_times(tmp_path: Path) -> None:
    assert stop_again_and_again(tmp_path, seed=4, stops=100).acknowledged > 1000
