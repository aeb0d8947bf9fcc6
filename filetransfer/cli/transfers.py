"""Several files in one run: all of them under way over one connection, each failing on its own."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, TypeVar

from filetransfer.cli.exit_status import combine, find_status
from filetransfer.cli.invocation import Work, is_bug
from filetransfer.errors import (
    ConnectFailed,
    FileTransferError,
    RemoteProtocolError,
    TransferTimeout,
    UnknownToVersion,
)

MAX_AT_ONCE = 1024
"""As many as a session leaves unanswered at a time, and ten thousand files are not all begun at once."""

# What one file fails of, the others would too.
_HOPELESS: tuple[type[FileTransferError], ...] = (
    ConnectFailed,
    RemoteProtocolError,
    TransferTimeout,
    UnknownToVersion,
)

Item = TypeVar("Item")


async def transfer_all(
    work: Work,
    items: Sequence[Item],
    get_subject: Callable[[Item], str],
    transfer: Callable[[Item], Coroutine[Any, Any, None]],
    *,
    at_once: int = MAX_AT_ONCE,
) -> int:
    """Transfer items.

    Args:
        work: says what failed.
        items: what to transfer.
        get_subject: what an item is called in messages.
        transfer: transfers one.
        at_once: how many may be begun and not ended, >= 1.

    Returns:
        The status of them all; see :func:`~filetransfer.cli.exit_status.combine`.
    """
    from twisted.internet.defer import Deferred, DeferredList

    transfers = _Transfers(work, items, get_subject, transfer)
    runners = [Deferred.fromCoroutine(transfers.run()) for _ in range(min(len(items), at_once))]
    # Each of them ends before this does, also when it is given up: none is left that would then fail of something else.
    ended: list[tuple[bool, Any]] = await DeferredList(runners, consumeErrors=True)
    for is_done, result in ended:
        if not is_done:
            result.raiseException()
    return transfers.finish()


async def transfer_matching(
    work: Work,
    names: Sequence[str],
    transfer_found: Callable[[list[str]], Coroutine[Any, Any, int]],
    *,
    has_directories: bool = False,
) -> int:
    """Transfer what names on the server stand for.

    Args:
        work: says what failed.
        names: of files, and patterns.
        transfer_found: transfers all that was found, and gives the status.
        has_directories: whether a pattern stands for directories as well.

    Returns:
        The status of them all.
    """
    found: list[str] = []
    statuses = [
        await work.attempt(name, _find(work, name, found, has_directories)) for name in names
    ]
    failed = [status for status in statuses if status]
    if not found:
        return combine(failed, len(failed))
    return combine([*failed, await transfer_found(found)], len(failed) + 1)


async def _find(work: Work, name: str, found: list[str], has_directories: bool) -> None:
    from filetransfer.client.patterns import find_names

    found += await find_names(work.session, name, has_directories=has_directories)


class _Transfers:
    def __init__(
        self,
        work: Work,
        items: Sequence[Item],
        get_subject: Callable[[Any], str],
        transfer: Callable[[Any], Coroutine[Any, Any, None]],
    ) -> None:
        self._work = work
        self._items: Iterator[Any] = iter(items)
        self._count = len(items)
        self._get_subject = get_subject
        self._transfer = transfer
        self._statuses: list[int] = []
        self._hopeless: Exception | None = None
        self._skipped = 0

    async def run(self) -> None:
        """Transfer one item after the other, as long as there are any."""
        for item in self._items:
            if self._hopeless is not None:
                self._skipped += 1
                continue
            try:
                await self._transfer(item)
            except Exception as error:
                if is_bug(error):
                    self._items = iter(())
                    raise
                self._note_failure(item, error)

    def _note_failure(self, item: Any, error: Exception) -> None:
        self._statuses.append(find_status(error))
        if type(error) is type(self._hopeless):
            # It is one failure, of all that was under way.
            self._skipped += 1
            return
        if isinstance(error, _HOPELESS):
            self._hopeless = error
        self._work.console.complain_about(self._work.command, self._get_subject(item), error)

    def finish(self) -> int:
        """Say how many were left out, and give the status."""
        if self._skipped:
            files = "file was" if self._skipped == 1 else "files were"
            self._work.console.complain(
                self._work.command, "", f"{self._skipped} more {files} not transferred"
            )
        if self._hopeless is not None:
            return find_status(self._hopeless)
        return combine(self._statuses, self._count)
