"""Trees on their way, in either direction: what ``put -r``, ``get -r``, ``cp -r`` and ``sync`` have together."""

from __future__ import annotations

import os
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filetransfer.cli.console import printable
from filetransfer.cli.exit_status import combine, find_status
from filetransfer.cli.invocation import Work
from filetransfer.cli.moving import (
    Getting,
    Pair,
    Putting,
    copy_files,
    get_files,
    note_move,
    put_files,
)
from filetransfer.cli.promises import describe_moved
from filetransfer.client.selection import Selection
from filetransfer.client.sources import MAX_SMALL_OCTETS
from filetransfer.client.trees import Outcome, Totals, Watcher, get_tree, put_tree

if TYPE_CHECKING:
    from filetransfer.cli.progress import Bar


@dataclass(frozen=True, slots=True)
class Recursion:
    """What of a tree is moved, and how.

    Attributes:
        selection: what is meant.
        follow: whether symbolic links here stand for what they point to.
        connections: how many there may be.
    """

    selection: Selection
    follow: bool = False
    connections: int = 1


class TreeWatcher(Watcher):
    """Says what becomes of a tree.

    Args:
        work: says it.
        source: where the tree is.
        target: where it goes.
    """

    def __init__(self, work: Work, source: str, target: str) -> None:
        self._work = work
        self._source = source
        self._prefix = join(source, "")
        self._target = target
        self._statuses: list[int] = []
        self._bars: dict[str, Bar] = {}

    def begin(self, path: str, size: int) -> Bar | None:
        """See :class:`Watcher`. A small file has no bar of its own: it would come and go unread."""
        progress = self._work.progress
        progress.expect(1, size)
        if size <= MAX_SMALL_OCTETS:
            progress.begin_small()
            return None
        bar = self._bars[path] = progress.begin(self._prefix + path)
        return bar

    def give_up(self, path: str) -> None:
        """See :class:`Watcher`."""
        bar = self._bars.pop(path, None)
        if bar is not None:
            self._work.give_up(bar)
        else:
            self._work.progress.end_small(0)

    def end(self, outcome: Outcome) -> None:
        """See :class:`Watcher`."""
        if outcome.action == "send":
            self._end_bar(outcome)
        if outcome.error is not None or outcome.reason or self._work.console.hears_notes:
            self._say(outcome)

    def _end_bar(self, outcome: Outcome) -> None:
        bar = self._bars.pop(outcome.path, None)
        if bar is not None:
            self._work.progress.end(bar)
        else:
            moved = 0 if outcome.transferred is None else outcome.transferred.size
            self._work.progress.end_small(moved)

    def _say(self, outcome: Outcome) -> None:
        work = self._work
        subject = join(self._source, outcome.path)
        if outcome.error is not None:
            self._statuses.append(find_status(outcome.error))
            work.console.complain_about(work.command, subject, outcome.error)
        elif outcome.reason:
            work.console.skip(work.command, subject, outcome.reason)
        elif outcome.transferred is not None:
            described = describe_moved(outcome.transferred)
            note_move(work, subject, join(self._target, outcome.path), described)
        elif outcome.action == "remove":
            target = join(self._target, outcome.path)
            work.console.note(
                f"{printable(target)} deleted", {"action": "delete", "subject": target}
            )

    async def watch(self, subject: str, moving: Coroutine[Any, Any, Totals]) -> int:
        """Wait for the end of a tree that this watches; gives the status."""
        status, totals = await self._work.find(subject, moving)
        if totals is None:
            return status
        sum_up(self._work, subject, totals)
        done = totals.sent + totals.made + totals.removed + totals.unchanged
        return combine(self._statuses, len(self._statuses) + done)


def sum_up(work: Work, subject: str, totals: Totals) -> None:
    """Say what has become of a tree."""
    counts = {
        "sent": totals.sent,
        "deleted": totals.removed,
        "unchanged": totals.unchanged,
        "skipped": totals.skipped,
        "failed": totals.failed,
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count) or "nothing"
    # Of what failed there is a count already.
    work.console.sum_up(
        f"{printable(subject or ':')}: {told}",
        {key: counts[key] for key in ("unchanged", "skipped")},
    )


def join(directory: str, path: str) -> str:
    """Give a path in a directory; empty for the root, or for where we are."""
    return os.path.join(directory, path)


async def put_trees(
    work: Work, roots: Sequence[Pair], putting: Putting, recursion: Recursion
) -> int:
    """Store trees and files that are here under names on the server; gives the status."""
    work.keeps_parts = putting.resume
    statuses: list[int] = []
    files: list[Pair] = []
    for root, name in roots:
        if not os.path.isdir(root):
            files.append((root, name))
            continue
        watcher = TreeWatcher(work, root, name)
        moving = put_tree(
            work.session,
            root,
            name,
            preserve=putting.preserve,
            follows_links=recursion.follow,
            selection=recursion.selection,
            no_clobber=putting.no_clobber,
            resume=putting.resume,
            connections=recursion.connections,
            watcher=watcher,
        )
        statuses.append(await watcher.watch(root, moving))
    if files:
        statuses.append(await put_files(work, files, putting))
    return combine(statuses, len(statuses))


async def get_trees(
    work: Work, roots: Sequence[Pair], getting: Getting, recursion: Recursion
) -> int:
    """Fetch trees and files of the server to local paths; gives the status."""
    work.keeps_parts = getting.resume

    def fetch(name: str, root: str) -> Coroutine[Any, Any, int]:
        watcher = TreeWatcher(work, name, root)
        moving = get_tree(
            work.session,
            name,
            root,
            preserve=getting.preserve,
            selection=recursion.selection,
            no_clobber=getting.no_clobber,
            durability=getting.durability,
            resume=getting.resume,
            connections=recursion.connections,
            watcher=watcher,
        )
        return watcher.watch(name, moving)

    return await _take_remote_trees(
        work, roots, fetch, lambda files: get_files(work, files, getting)
    )


async def copy_trees(
    work: Work, roots: Sequence[Pair], recursion: Recursion, replace: bool, parents: bool
) -> int:
    """Copy trees and files on the server to other names there; gives the status."""
    from filetransfer.client.copying import copy_tree

    def copy(name: str, target: str) -> Coroutine[Any, Any, int]:
        watcher = TreeWatcher(work, name, target)
        copying = copy_tree(
            work.session,
            name,
            target,
            selection=recursion.selection,
            no_clobber=not replace,
            watcher=watcher,
        )
        return watcher.watch(name, copying)

    return await _take_remote_trees(
        work, roots, copy, lambda files: copy_files(work, files, replace=replace, parents=parents)
    )


async def _take_remote_trees(
    work: Work,
    roots: Sequence[Pair],
    take_tree: Callable[[str, str], Coroutine[Any, Any, int]],
    take_files: Callable[[Sequence[Pair]], Coroutine[Any, Any, int]],
) -> int:
    """Take what is a directory on the server as a tree, one after the other, and then all that are files at once."""
    statuses: list[int] = []
    files: list[Pair] = []
    for name, target in roots:
        status, is_directory = await work.find(name, _is_directory(work, name))
        if is_directory is False:
            files.append((name, target))
        else:
            statuses.append(await take_tree(name, target) if is_directory else status)
    if files:
        statuses.append(await take_files(files))
    return combine(statuses, len(statuses))


async def _is_directory(work: Work, name: str) -> bool:
    return not name or (await work.session.stat(name)).kind == "directory"
