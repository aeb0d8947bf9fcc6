"""Directories made, filled, copied and removed: by power cuts and by kill -9, all that was acknowledged is so.

And what was not is whole or not at all: a tree that was being removed is there with all of its files, or gone.
"""

import logging
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from random import Random

import cuts
import forgetful
import pytest
import trees
from broken_recipe import RECIPES
from trees import Gardener
from uploads import digest_of

from filetransfer.store.directory import DirectoryStore

GARDENERS = "abcd"
TRASH = ".ft-store/trash"


class Worker:
    """A gardener, and the moments of what it did.

    Attributes:
        asked: when each act was.
        done: when each was acknowledged.
    """

    def __init__(self, prefix: str, seed: int) -> None:
        self.gardener = Gardener(prefix, seed)
        self.asked: list[float] = []
        self.done: list[float] = []

    def run(self, store: DirectoryStore, acts: int) -> None:
        for _ in range(acts):
            act = self.gardener.plan()
            self.asked.append(time.monotonic())
            trees.perform(store, act)
            self.done.append(time.monotonic())

    def judge(self, found: trees.Tree, cut: float) -> str | None:
        done = sum(moment < cut for moment in self.done)
        is_asked = done < len(self.asked) and self.asked[done] < cut
        return self.gardener.judge(self.gardener.select(found), done, is_asked=is_asked)


def open_store(root: Path) -> DirectoryStore:
    return DirectoryStore(root, on_committed=trees.tell)


def work(root: Path, seed: int, acts: int) -> list[Worker]:
    """Let all do that many acts at the same time."""
    workers = [Worker(prefix, seed) for prefix in GARDENERS]
    store = open_store(root)
    threads = [threading.Thread(target=worker.run, args=(store, acts)) for worker in workers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.close()
    assert all(len(worker.done) == acts for worker in workers)
    return workers


def start_again(root: Path) -> None:
    """Let a store start on what is left: the trash is emptied, and nothing else is touched."""
    before = trees.read_tree(root)
    store = open_store(root)
    store._trash.wait()
    store.close()
    assert os.listdir(root / TRASH) == []
    assert trees.read_tree(root) == before


def cut(directory: Path, *, seed: int, acts: int, count: int, starts: int = 0) -> list[str]:
    """Record a run on the forgetful file system, cut its power again and again; give what is wrong."""
    mountpoint = directory / "forgetful"
    with forgetful.record(mountpoint, directory / "log") as recording:
        workers = work(mountpoint, seed, acts)
    acknowledged = [moment for worker in workers for moment in worker.done]
    plan = cuts.plan_cuts(recording.events, acknowledged, count, Random(seed))
    wrong = []
    state = cuts.Names()
    for which, moment in enumerate(cuts.replay_to_cuts(state, recording.events, plan)):
        contents = state.draw(Random(moment.seed), moment.manner)
        found = {
            path.rstrip("/"): None if path.endswith("/") else digest_of(octets)
            for path, octets in contents.items()
        }
        wrong += [fault for worker in workers if (fault := worker.judge(found, moment.moment))]
        if which < starts:
            root = directory / f"cut{which}"
            root.mkdir()
            for path, octets in sorted(contents.items()):
                if path.endswith("/"):
                    (root / path).mkdir()
                else:
                    (root / path).write_bytes(octets)
            start_again(root)
    return wrong


def kill_again_and_again(directory: Path, *, seed: int, kills: int) -> int:
    """Kill a process that works in a store at random moments; give how many acts were acknowledged."""
    random = Random(seed)
    acknowledged = 0
    program = Path(trees.__file__)
    for which in range(kills):
        root = directory / str(which)
        environment = os.environ | {"PYTHONPATH": str(program.parents[2])}
        with subprocess.Popen(
            [sys.executable, str(program), str(root), "a", str(which)],
            stdout=subprocess.PIPE,
            env=environment,
        ) as process:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(random.randint(1, 100))]
            process.kill()
            lines += process.stdout.readlines()
        done = lines.count(b"done\n")
        acknowledged += done
        gardener = Gardener("a", which)
        for _ in range(done + 1):
            gardener.plan()
        found = trees.read_tree(root)
        assert gardener.judge(found, done, is_asked=True) is None
        start_again(root)
    return acknowledged


@pytest.mark.needs_root("mount")
def test_power_cuts(tmp_path: Path) -> None:
    assert not cut(tmp_path, seed=1, acts=150, count=300, starts=20)


@pytest.mark.needs_root("mount")
@pytest.mark.parametrize("recipe", ["without-file-fsync", "without-name-fsync"])
def test_power_cuts_condemn_a_broken_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: str
) -> None:
    monkeypatch.setattr(os, "fsync", RECIPES[recipe])
    assert cut(tmp_path, seed=1, acts=60, count=60)


def test_kills(tmp_path: Path) -> None:
    acknowledged = kill_again_and_again(tmp_path, seed=1, kills=15)
    logging.info("%d acts acknowledged", acknowledged)
    assert acknowledged > 300


@pytest.mark.long
@pytest.mark.needs_root("mount")
@pytest.mark.parametrize("seed", range(10, 13))
def test_many_power_cuts(tmp_path: Path, seed: int) -> None:
    assert not cut(tmp_path, seed=seed, acts=1000, count=3000, starts=100)


@pytest.mark.long
def test_many_kills(tmp_path: Path) -> None:
    acknowledged = kill_again_and_again(tmp_path, seed=2, kills=500)
    logging.info("%d acts acknowledged", acknowledged)
