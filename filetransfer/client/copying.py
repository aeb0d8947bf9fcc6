"""Copying a tree on the server: no octet of a file passes through here.

    await copy_tree(session, "photos", "archive/photos")

The protocol copies one file at a time, so the tree is listed, its directories are made, and its files are copied, few
at a time: a server works at no more for one identity. A file that fails does not stop the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Coroutine
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from filetransfer.client.crew import Outcome, Totals, Watcher
from filetransfer.client.local_trees import Found, Skipped
from filetransfer.client.selection import EVERYTHING, Selection
from filetransfer.client.trees import begin, find_remote
from filetransfer.errors import LocalProtocolError, OutcomeUnknown, RequestRefused
from filetransfer.names import check_path

if TYPE_CHECKING:
    from filetransfer.client.session import Session

COPIES_AT_ONCE = 2
"""What a server works at for one identity. Source: protocol, section 5."""


async def copy_tree(
    session: Session,
    path: str,
    new_path: str,
    *,
    selection: Selection = EVERYTHING,
    no_clobber: bool = False,
    watcher: Watcher | None = None,
) -> Totals:
    """Copy what is in a directory on the server into another one there.

    Args:
        session: with the server.
        path: of the directory; empty for the root.
        new_path: of the directory that its files get into, made when it is missing; empty for the root.
        selection: what is meant.
        no_clobber: replace nothing.
        watcher: told of each thing in the tree.

    Returns:
        How many of them there were of each kind; look at ``failed``.

    Raises:
        NotFound, NotDirectory: there is no such directory.
        NameInvalid: one of the paths may not be.
        LocalProtocolError: one of the directories lies in the other, or the version that the server speaks knows no
            directories.
        RequestRefused: the new directory cannot be made.
        TransferInterrupted, RemoteProtocolError: as for :class:`Session`; the rest was not copied.
    """
    for each in (path, new_path):
        if each:
            check_path(each)
    if _contains(path, new_path) or _contains(new_path, path):
        raise LocalProtocolError(
            "a directory cannot be copied into itself, nor over what it lies in"
        )
    found = await begin(find_remote(session, path, selection))
    if new_path:
        await session.make_directory(new_path, parents=True)
    copier = _Copier(session, path, new_path, selection, no_clobber, watcher or Watcher())
    await copier.take_all(found)
    return copier.totals


def _contains(directory: str, path: str) -> bool:
    return not directory or path == directory or path.startswith(f"{directory}/")


class _Copier:
    """Copies things as they are listed."""

    def __init__(
        self,
        session: Session,
        path: str,
        new_path: str,
        selection: Selection,
        no_clobber: bool,
        watcher: Watcher,
    ) -> None:
        self.totals = Totals()
        self._session = session
        self._old_prefix = f"{path}/" if path else ""
        self._new_prefix = f"{new_path}/" if new_path else ""
        self._has_all_directories = selection.has_all_directories
        self._no_clobber = no_clobber
        self._watcher = watcher
        self._made = {""}
        self._blocked = "/"

    async def take_all(self, found: AsyncIterator[Found]) -> None:
        """Copy all that is found."""
        running: deque[Deferred[None]] = deque()
        try:
            async for each in found:
                if each.path.startswith(self._blocked):
                    continue
                if isinstance(each, Skipped):
                    self._tell(Outcome("skip", each.path, reason=each.reason, error=each.error))
                elif each.kind == "file":
                    if len(running) == COPIES_AT_ONCE:
                        await running.popleft()
                    running.append(Deferred.fromCoroutine(self._copy(each.path)))
                elif self._has_all_directories:
                    await self._make(each.path)
            while running:
                await running.popleft()
        finally:
            for each_copy in running:
                each_copy.addErrback(lambda _: None)
                each_copy.cancel()

    async def _copy(self, path: str) -> None:
        await self._try("send", path, self._copy_file(path))

    async def _copy_file(self, path: str) -> Outcome:
        directory = path.rpartition("/")[0]
        if directory not in self._made:
            await self._session.make_directory(self._new_prefix + directory, parents=True)
            self._made.add(directory)
        copied = await self._session.copy(
            self._old_prefix + path, self._new_prefix + path, replace=not self._no_clobber
        )
        return Outcome("send", path, copied)

    async def _make(self, path: str) -> None:
        if not await self._try("make-directory", path, self._make_directory(path)):
            self._blocked = f"{path}/"

    async def _make_directory(self, path: str) -> Outcome:
        await self._session.make_directory(self._new_prefix + path, parents=True)
        self._made.add(path)
        return Outcome("make-directory", path)

    async def _try(self, action: Any, path: str, doing: Coroutine[Any, Any, Outcome]) -> bool:
        """Do something, and tell whether it was done; what the rest would fail of as well is raised."""
        try:
            outcome = await doing
        except (RequestRefused, OutcomeUnknown) as error:
            outcome = Outcome(action, path, error=error)
        self._tell(outcome)
        return outcome.error is None

    def _tell(self, outcome: Outcome) -> None:
        self.totals.count(outcome)
        self._watcher.end(outcome)
