"""Asking again what a server was too busy for.

A server works at few digests, copies and summaries at a time for one identity, and answers ``busy`` to the next:
nothing was done then, so that asking again does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from twisted.internet.interfaces import IReactorTime

from filetransfer.client.connecting import MAX_RETRY_AFTER_SECONDS, choose_wait, sleep
from filetransfer.errors import Busy

Result = TypeVar("Result")


async def ask_patiently(
    clock: IReactorTime, tries: int, ask: Callable[[], Awaitable[Result]]
) -> Result:
    """Ask for something, and again after longer and longer waits while the server is busy.

    Args:
        clock: for the waits.
        tries: at most, >= 1.
        ask: asks once.

    Raises:
        Busy: the server was so each time.
        FileTransferError: another, as ``ask`` raises it.
    """
    for failures in range(1, tries):
        try:
            return await ask()
        except Busy as refusal:
            wait_seconds = choose_wait(failures) + (refusal.retry_after or 0.0)
        await sleep(clock, min(wait_seconds, MAX_RETRY_AFTER_SECONDS))
    return await ask()
