"""Making one tree as another: what ``sync`` does."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from filetransfer.cli.console import printable
from filetransfer.cli.exit_status import ExitStatus, combine
from filetransfer.cli.invocation import Work
from filetransfer.cli.locations import Location
from filetransfer.cli.moving import Getting, Putting
from filetransfer.cli.transfers import transfer_all
from filetransfer.cli.trees import Tree, get_leaves, join, put_leaves, read_local
from filetransfer.client.comparing import Plan, compare
from filetransfer.client.walking import Leaf, Selection, list_tree
from filetransfer.digests import DEFAULT_ALGORITHM, start_digest
from filetransfer.errors import LocalProtocolError, NotEmpty, NotFound
from filetransfer.store.stable import Durability


@dataclass(frozen=True, slots=True)
class Syncing:
    """How it is done; the attributes are the options of the command."""

    selection: Selection
    follow: bool
    resume: bool
    durability: Durability
    by_digest: bool
    only_compare: bool
    delete: bool
    max_delete: int | None
    dry_run: bool


async def sync_trees(work: Work, source: Location, target: Location, syncing: Syncing) -> int:
    """Make the target as the source; gives the status."""
    return await _Sync(work, source, target, syncing).run()


class _Sync:
    def __init__(self, work: Work, source: Location, target: Location, syncing: Syncing) -> None:
        self._work = work
        self._source = source
        self._target = target
        self._syncing = syncing
        self._local = (target if source.is_remote else source).path
        self._name = (source if source.is_remote else target).path

    async def run(self) -> int:
        status, tree = await self._work.find(str(self._source), self._read(self._source))
        if tree is None:
            return status
        status, there = await self._work.find(str(self._target), self._read_target())
        if there is None:
            return status
        status, plan = await self._work.find("", self._compare(tree, there))
        if plan is None:
            return status
        if there.statuses or tree.statuses:
            # What could not be looked at is not taken for gone.
            plan.deletions.clear()
        statuses = [*tree.statuses, *there.statuses, await self._do(plan)]
        return combine(statuses, len(statuses))

    async def _read(self, location: Location) -> Tree:
        syncing = self._syncing
        if location.is_remote:
            return Tree(await list_tree(self._work.session, location.path, syncing.selection), [])
        return await read_local(self._work, location.path, syncing.selection, follow=syncing.follow)

    async def _read_target(self) -> Tree:
        try:
            return await self._read(self._target)
        except (FileNotFoundError, NotFound):
            # It will be made.
            return Tree([], [])

    async def _compare(self, tree: Tree, there: Tree) -> Plan:
        differ = self._differs if self._syncing.by_digest else None
        return await compare(tree.leaves, there.leaves, differ)

    async def _differs(self, leaf: Leaf) -> bool:
        """Compare digests of a file here and on the server."""
        from twisted.internet.threads import deferToThread

        here = deferToThread(digest_file, os.path.join(self._local, leaf.path))
        there = await self._work.session.digest(
            join(self._name, leaf.path), algorithm=DEFAULT_ALGORITHM
        )
        return bool(await here != there.digest.get(DEFAULT_ALGORITHM))

    async def _do(self, plan: Plan) -> int:
        syncing = self._syncing
        if not plan.count:
            return await self._work.attempt(str(self._source), _refuse_nothing())
        deletions = plan.deletions if syncing.delete or syncing.only_compare else []
        if syncing.only_compare or syncing.dry_run:
            self._show(plan, deletions)
            differs = bool(plan.files or plan.directories or deletions)
            return ExitStatus.INTEGRITY if syncing.only_compare and differs else ExitStatus.DONE
        count = sum(not leaf.is_directory for leaf in deletions)
        if syncing.max_delete is not None and count > syncing.max_delete:
            text = f"{count} files would be deleted, more than --max-delete {syncing.max_delete}; nothing was done"
            self._work.console.complain("sync", str(self._target), text)
            return ExitStatus.TOO_MANY_DELETIONS
        return await self._transfer(plan, deletions)

    def _show(self, plan: Plan, deletions: list[Leaf]) -> None:
        told = [("make", leaf) for leaf in plan.directories]
        told += [("send" if self._target.is_remote else "fetch", leaf) for leaf in plan.files]
        told += [("delete", leaf) for leaf in deletions]
        for verb, leaf in told:
            text = f"{verb} {printable(leaf.path)}{'/' if leaf.is_directory else ''}"
            self._work.console.show(text, {"action": verb, "subject": leaf.path, "done": False})

    async def _transfer(self, plan: Plan, deletions: list[Leaf]) -> int:
        # Deletions first: a file may be where a directory is to be, and the other way round.
        statuses = [await self._delete(deletions)]
        leaves = [*plan.directories, *plan.files]
        if self._target.is_remote:
            putting = Putting(preserve=True, resume=self._syncing.resume)
            statuses.append(await put_leaves(self._work, leaves, self._local, self._name, putting))
        else:
            getting = Getting(self._syncing.durability, preserve=True, resume=self._syncing.resume)
            statuses.append(await get_leaves(self._work, leaves, self._name, self._local, getting))
        return combine(statuses, len(statuses))

    async def _delete(self, deletions: list[Leaf]) -> int:
        files = [leaf for leaf in deletions if not leaf.is_directory]
        directories = [leaf for leaf in reversed(deletions) if leaf.is_directory]
        statuses = [
            await transfer_all(self._work, files, lambda leaf: leaf.path, self._delete_one),
            # One after the other: those that are inside before those that are around them.
            await transfer_all(
                self._work, directories, lambda leaf: leaf.path, self._delete_one, at_once=1
            ),
        ]
        return combine(statuses, sum(bool(each) for each in (files, directories)))

    async def _delete_one(self, leaf: Leaf) -> None:
        try:
            if self._target.is_remote:
                await self._work.session.delete(join(self._name, leaf.path))
            elif leaf.is_directory:
                os.rmdir(os.path.join(self._local, leaf.path))
            else:
                os.unlink(os.path.join(self._local, leaf.path))
        except (NotEmpty, OSError) as error:
            if leaf.is_directory and _is_not_empty(error):
                # What was left out is still in it.
                return
            raise
        self._work.console.note(
            f"{printable(leaf.path)} deleted", {"action": "delete", "subject": leaf.path}
        )


def digest_file(path: str) -> bytes:
    """Give the digest of a file here; blocks. Raises OSError."""
    digest = start_digest()
    with open(path, "rb", buffering=0) as file:
        while block := file.read(1024 * 1024):
            digest.update(block)
    return digest.digest()


def _is_not_empty(error: Exception) -> bool:
    return isinstance(error, NotEmpty) or getattr(error, "errno", None) == errno.ENOTEMPTY


async def _refuse_nothing() -> None:
    raise LocalProtocolError("it holds no file: nothing was done")
