"""A directory on the server, listed page by page.

What a server sends is looked at before anybody sees it: it could name what lies elsewhere, or never come to an end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from twisted.internet.defer import Deferred

from filetransfer.client.conversation import Conversation
from filetransfer.client.exchanges import ListExchange, Page
from filetransfer.errors import NameInvalid, RemoteProtocolError
from filetransfer.names import check_path
from filetransfer.wire.messages import Entry, List

_PAGE_ENTRIES = 5000
"""Entries that are asked for at a time: some 2 MB of them here, and 30 ms of taking them apart."""


async def list_directory(
    conversation: Conversation, name: str | None, *, is_recursive: bool
) -> AsyncIterator[Entry]:
    """List a directory. As :meth:`~filetransfer.client.session.Session.list`.

    The next page is asked for when half of one has been used up: the server works on it meanwhile.
    """
    if name is not None:
        check_path(name)

    def ask(after: str | None) -> Deferred[Page]:
        return conversation.submit(ListExchange(List(name, is_recursive, after, _PAGE_ENTRIES)))

    after: str | None = None
    asked = ask(None)
    try:
        while True:
            page = await asked
            if page.more is not None and (page.more == after or not page.entries):
                raise RemoteProtocolError("the server's list does not go on")
            after = page.more
            ask_at = -1 if after is None else len(page.entries) // 2
            for number, entry in enumerate(page.entries):
                if number == ask_at:
                    asked = ask(after)
                _check_entry(entry, name)
                yield entry
            if after is None:
                return
    finally:
        asked.addErrback(lambda _: None)
        asked.cancel()


def _check_entry(entry: Entry, directory: str | None) -> None:
    """Look at a path that a server sent, before anything is done with it.

    Raises:
        RemoteProtocolError: it is no path, or lies outside the directory that was listed.
    """
    try:
        check_path(entry.path)
    except NameInvalid as refusal:
        raise RemoteProtocolError(f"the server lists what is no path: {refusal}") from refusal
    if directory is not None and not entry.path.startswith(f"{directory}/"):
        raise RemoteProtocolError("the server lists what lies outside the directory")
