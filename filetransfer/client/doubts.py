"""Requests that must not be done twice, and whose answer was lost: looking first whether they were done.

A CHANGE that is done a second time could rename another file, which has got the old name in the meantime. So the paths
are looked at: what shows that nothing was done is asked for once more; what shows that all is as it should be, is done;
the rest is for the caller to judge, with an :class:`~filetransfer.errors.OutcomeUnknown`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import Enum
from typing import cast

from filetransfer.client.conversation import Conversation
from filetransfer.client.exchanges import PlainExchange
from filetransfer.errors import Exists, NotFound, OutcomeUnknown
from filetransfer.wire.messages import (
    Change,
    Copy,
    Delete,
    Done,
    MakeDirectory,
    Response,
    Stat,
    Status,
)


class Outcome(Enum):
    """What became of a request whose answer was lost."""

    UNDONE = "nothing was done"
    DONE = "it was done"
    UNKNOWN = "nobody can tell"


Request = Change | Copy | Delete | MakeDirectory

Look = Callable[[str], Awaitable[Status | None]]
"""Gives what is under a path; None when there is nothing."""


async def find_outcome(request: Request, look: Look) -> Outcome:
    """Look at what a request is about."""
    match request:
        case Delete(path):
            return Outcome.DONE if await look(cast(str, path)) is None else Outcome.UNDONE
        case Change(path, to, replace):
            old, new = await look(path), await look(to)
            if new is None or (old is not None and not replace):
                return Outcome.UNDONE
        case Copy(to=path) | MakeDirectory(path):
            if await look(path) is None:
                return Outcome.UNDONE
    return Outcome.UNKNOWN


async def ask_carefully(
    conversation: Conversation, request: Request, doubt: str, tries: int
) -> Response:
    """Ask for something that must not be done twice.

    Args:
        conversation: with the server.
        request: what is asked for.
        doubt: what may have been done, in words.
        tries: at most, >= 1.

    Raises:
        OutcomeUnknown: the answer was lost, and what there is now does not tell.
        FileTransferError: another, as the request's.
    """

    async def look(path: str) -> Status | None:
        try:
            return cast(Status, await conversation.submit(PlainExchange(Stat(path))))
        except NotFound:
            return None

    lost: OutcomeUnknown | None = None
    for _ in range(tries):
        try:
            return await conversation.submit(PlainExchange(request, doubt))
        except OutcomeUnknown as error:
            lost = error
        except (NotFound, Exists) as refusal:
            if lost is None:
                raise
            # It may be by the first of our own that there is nothing left to be done.
            raise lost from refusal
        if not (await conversation.open()).can_stat:
            break
        outcome = await find_outcome(request, look)
        if outcome is Outcome.DONE:
            return Done()
        if outcome is Outcome.UNKNOWN:
            break
    assert lost is not None  # noqa: S101 - nothing else ends the loop
    raise lost
