"""Trees on their way, in either direction: what ``put -r``, ``get -r`` and ``sync`` have together."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from filetransfer.cli.exit_status import combine, find_status
from filetransfer.cli.invocation import Work
from filetransfer.cli.moving import Getting, Pair, Putting, get_files, put_files
from filetransfer.cli.transfers import transfer_all
from filetransfer.client.walking import EVERYTHING, Leaf, Selection, list_tree, walk_local
from filetransfer.errors import SourceChanged


@dataclass(slots=True)
class Tree:
    """What is in a tree, and how looking at it went.

    Attributes:
        leaves: directories before what is in them.
        statuses: of what could not be looked at.
    """

    leaves: list[Leaf]
    statuses: list[int]

    @property
    def files(self) -> list[Leaf]:
        """The files of it."""
        return [leaf for leaf in self.leaves if not leaf.is_directory]


async def read_local(work: Work, root: str, selection: Selection, *, follow: bool) -> Tree:
    """Walk a tree here, and say what is skipped. Raises OSError: the root cannot be read."""
    from twisted.internet.threads import deferToThread

    skipped: list[tuple[str, str | OSError]] = []

    def walk() -> list[Leaf]:
        return list(
            walk_local(
                root, selection, follow=follow, skip=lambda path, why: skipped.append((path, why))
            )
        )

    leaves = await deferToThread(walk)
    statuses = []
    for path, why in skipped:
        subject = os.path.join(root, path)
        if isinstance(why, str):
            work.console.remark(work.command, subject, f"skipped: {why}")
            continue
        error = SourceChanged("it vanished") if isinstance(why, FileNotFoundError) else why
        work.console.complain_about(work.command, subject, error)
        statuses.append(int(find_status(error)))
    return Tree(leaves, statuses)


async def put_leaves(
    work: Work, leaves: Sequence[Leaf], root: str, name: str, putting: Putting
) -> int:
    """Store what was found in a tree here under a name on the server; gives the status."""
    files = [leaf.path for leaf in leaves if not leaf.is_directory]
    filled = {path.rpartition("/")[0] for path in files}
    empty = [leaf.path for leaf in leaves if leaf.is_directory and leaf.path not in filled]

    async def make(path: str) -> None:
        await work.session.make_directory(join(name, path), parents=True)

    statuses = [await transfer_all(work, empty, lambda path: os.path.join(root, path), make)]
    pairs = [(os.path.join(root, path), join(name, path)) for path in files]
    statuses.append(await put_files(work, pairs, replace(putting, parents=True, is_tree=True)))
    return combine(statuses, sum(bool(each) for each in (empty, files)))


async def get_leaves(
    work: Work, leaves: Sequence[Leaf], name: str, root: str, getting: Getting
) -> int:
    """Fetch what was found in a tree on the server into a directory here; gives the status."""
    statuses = []
    barred = "/"
    pairs: list[Pair] = []
    octets = 0
    os.makedirs(root, exist_ok=True)
    for leaf in leaves:
        path = os.path.join(root, leaf.path)
        if f"{leaf.path}/".startswith(barred):
            continue
        if not leaf.is_directory:
            pairs.append((join(name, leaf.path), path))
            octets += leaf.size
            continue
        try:
            make_directory(path)
        except OSError as error:
            work.console.complain_about(work.command, path, error)
            statuses.append(int(find_status(error)))
            barred = f"{leaf.path}/"
    statuses.append(await get_files(work, pairs, getting, octets))
    return combine(statuses, len(statuses))


def make_directory(path: str) -> None:
    """Make a directory of a tree here. Raises OSError; a symbolic link is none: it may lead out of the tree."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if os.path.islink(path) or not os.path.isdir(path):
            raise NotADirectoryError(20, "is in the way, and no directory", path) from None


def join(name: str, path: str) -> str:
    """Give a path on the server. ``name``: of the directory; empty for the root."""
    return f"{name}/{path}" if name else path


async def put_trees(
    work: Work, roots: Sequence[Pair], putting: Putting, selection: Selection, *, follow: bool
) -> int:
    """Store trees and files that are here under names on the server; gives the status."""
    statuses: list[int] = []
    files: list[Pair] = []
    for root, name in roots:
        if not os.path.isdir(root):
            files.append((root, name))
            continue
        status, tree = await work.find(root, read_local(work, root, selection, follow=follow))
        if tree is not None:
            status = await put_leaves(work, tree.leaves, root, name, putting)
            status = combine([*tree.statuses, status], len(tree.statuses) + 1)
        statuses.append(status)
    if files:
        statuses.append(await put_files(work, files, putting))
    return combine(statuses, len(statuses))


async def get_trees(
    work: Work, roots: Sequence[Pair], getting: Getting, selection: Selection = EVERYTHING
) -> int:
    """Fetch trees and files of the server to local paths; gives the status."""
    statuses: list[int] = []
    files: list[Pair] = []
    for name, root in roots:
        status, is_directory = await work.find(name, _is_directory(work, name))
        if is_directory is False:
            files.append((name, root))
            continue
        if is_directory:
            status, leaves = await work.find(name, list_tree(work.session, name, selection))
            if leaves is not None:
                status = await get_leaves(work, leaves, name, root, getting)
        statuses.append(status)
    if files:
        statuses.append(await get_files(work, files, getting))
    return combine(statuses, len(statuses))


async def _is_directory(work: Work, name: str) -> bool:
    return not name or (await work.session.stat(name)).kind == "directory"
