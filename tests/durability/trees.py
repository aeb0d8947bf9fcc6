"""A client that makes, fills, moves, copies and removes directories, and the judge of what is found afterwards.

What a :class:`Gardener` does follows from its seed, so that who knows how far it came knows what must be there:

    python trees.py ROOT PREFIX SEED

opens a store and lets one work in it until it is killed; it writes a line for each acknowledgement.

A tree is a dict from path to the digest of a file, or to None for a directory.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random

from uploads import digest_of

from filetransfer.names import Path as Name
from filetransfer.store.directory import DirectoryStore
from filetransfer.store.interface import (
    Commit,
    Delete,
    MakeDirectory,
    Publish,
    PublishOctets,
    Rename,
)
from filetransfer.store.terms import Terms

Tree = dict[str, str | None]
Act = Callable[[DirectoryStore], Commit]

_ON_TERMS = Terms(makes_parents=True, modified=5, mode=0o600)


class Gardener:
    """Works in a directory of its own.

    Attributes:
        trees: what there is before the first act, and after each.
        makes: whether an act may leave directories when it is cut off.
    """

    def __init__(self, prefix: str, seed: int) -> None:
        self.trees: list[Tree] = [{}]
        self.makes: list[bool] = []
        self._prefix = prefix
        self._random = Random(f"{prefix} {seed}")

    def plan(self) -> Act:
        """Choose what is done next, and note what will be there then."""
        tree = dict(self.trees[-1])
        files = sorted(path for path, digest in tree.items() if digest is not None)
        directories = sorted(path for path, digest in tree.items() if digest is None)
        kinds = ["put"] * 6 + ["make"] * 2
        kinds += ["rename", "copy", "delete"] * bool(files) + ["remove"] * bool(directories)
        kind = self._random.choice(kinds)
        self.makes.append(kind in ("put", "make", "copy"))
        act: Act = getattr(self, f"_plan_{kind}")(tree, files, directories)
        self.trees.append(tree)
        return act

    def _plan_put(self, tree: Tree, files: list[str], directories: list[str]) -> Act:
        path, octets = self._choose(tree), self._random.randbytes(self._random.choice((0, 9, 9000)))
        self._add(tree, path, digest_of(octets))
        return lambda store: PublishOctets(path=Name(path), octets=octets, terms=_ON_TERMS)

    def _plan_make(self, tree: Tree, files: list[str], directories: list[str]) -> Act:
        path = f"{self._choose(tree)}.d"
        self._add(tree, path, None)
        return lambda store: MakeDirectory(path=Name(path), makes_parents=True)

    def _plan_rename(self, tree: Tree, files: list[str], directories: list[str]) -> Act:
        path, to = self._random.choice(files), self._random.choice(files)
        if path != to:
            tree[to] = tree.pop(path)
        return lambda store: Rename(path=Name(path), to=Name(to), replaces=True)

    def _plan_copy(self, tree: Tree, files: list[str], directories: list[str]) -> Act:
        path, to = self._random.choice(files), self._choose(tree)
        self._add(tree, to, tree[path])

        def copy(store: DirectoryStore) -> Commit:
            upload = store.open_copy(Name(path), Name(to), terms=_ON_TERMS)
            return Publish(upload=upload, terms=_ON_TERMS)

        return copy

    def _plan_delete(self, tree: Tree, files: list[str], directories: list[str]) -> Act:
        path = self._random.choice(files)
        del tree[path]
        return lambda store: Delete(path=Name(path))

    def _plan_remove(self, tree: Tree, files: list[str], directories: list[str]) -> Act:
        path = self._random.choice(directories)
        for other in [other for other in tree if f"{other}/".startswith(f"{path}/")]:
            del tree[other]
        return lambda store: Delete(path=Name(path), is_recursive=True)

    def _choose(self, tree: Tree) -> str:
        """Choose where a file can be."""
        while True:
            depth = self._random.randint(0, 3)
            names = [f"d{self._random.randint(0, 2)}" for _ in range(depth)]
            path = "/".join([self._prefix, *names, f"f{self._random.randint(0, 5)}"])
            if tree.get(path, "") is not None:
                return path

    def _add(self, tree: Tree, path: str, digest: str | None) -> None:
        tree[path] = digest
        while path := path.rpartition("/")[0]:
            tree[path] = None

    def judge(self, found: Tree, done: int, *, is_asked: bool) -> str | None:
        """Say what is wrong with what is found; None when nothing is.

        Args:
            found: what there is of its own.
            done: acts that were acknowledged.
            is_asked: whether one more was asked.
        """
        before = self.trees[done]
        if found == before or (is_asked and found == self.trees[done + 1]):
            return None
        if is_asked and self.makes[done] and _get_files(found) == _get_files(before):
            after = _get_directories(self.trees[done + 1])
            if _get_directories(before) <= _get_directories(found) <= after:
                return None
        paths = before.keys() | found.keys()
        wrong = {path for path in paths if before.get(path, "-") != found.get(path, "-")}
        return f"{self._prefix}: after {done} acts {sorted(wrong)} are not as they were"

    def select(self, found: Mapping[str, str | None]) -> Tree:
        """Give what is its own of all that is found."""
        return {path: found[path] for path in found if f"{path}/".startswith(f"{self._prefix}/")}


def _get_files(tree: Tree) -> Tree:
    return {path: digest for path, digest in tree.items() if digest is not None}


def _get_directories(tree: Tree) -> set[str]:
    return {path for path, digest in tree.items() if digest is None}


def read_tree(root: Path) -> Tree:
    """Give what lies below a root, but for the store's own."""
    return {
        str(path.relative_to(root)): None if path.is_dir() else digest_of(path.read_bytes())
        for top in root.iterdir()
        if not top.name.startswith(".ft-")
        for path in (top, *top.rglob("*"))
    }


def perform(store: DirectoryStore, act: Act) -> None:
    """Do it and wait for the acknowledgement; whoever opened the store gave :func:`tell`."""
    told = threading.Event()
    commit = act(store)
    commit.done = lambda commit: told.set()
    store.submit([commit])
    assert told.wait(60)
    assert commit.error is None, commit.error


def tell(batch: list[Commit]) -> None:
    """Tell each commit of a batch."""
    for commit in batch:
        commit.done(commit)


def main(root: str, prefix: str, seed: str) -> None:
    """Work until killed."""
    store = DirectoryStore(root, on_committed=tell)
    gardener = Gardener(prefix, int(seed))
    while True:
        act = gardener.plan()
        perform(store, act)
        os.write(1, b"done\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
