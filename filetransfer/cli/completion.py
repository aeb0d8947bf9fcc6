"""Completion at the prompt: what a shell would complete, with names from the session that is open."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

from filetransfer.cli.names_completion import PATIENCE_SECONDS, REMOTE, list_names
from filetransfer.cli.shell_completion import split_line
from filetransfer.errors import FileTransferError

if TYPE_CHECKING:
    from filetransfer.client import Session

_LAST_WORD = re.compile(r"(?:\\.|[^\s\\])*$", re.DOTALL)
# What shlex would not take as part of a word.
_SPECIAL = re.compile(r"""([\s\\'"])""")

Ask = Callable[[list[str], str], Sequence[CompletionItem[str]]]
"""Gives what a word may become, behind other words; names on the server only as something to be asked for."""


class LineCompleter(Completer):
    """Completes the last word before the cursor.

    Args:
        ask: says what it may become.
        session: knows the names on the server.
    """

    def __init__(self, ask: Ask, session: Session) -> None:
        self._ask = ask
        self._session = session

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """See :class:`prompt_toolkit.completion.Completer`. Nobody waits for a server in here."""
        return ()

    async def get_completions_async(
        self, document: Document, complete_event: CompleteEvent
    ) -> AsyncGenerator[Completion, None]:
        """See :class:`prompt_toolkit.completion.Completer`."""
        text = document.text_before_cursor
        matched = _LAST_WORD.search(text)
        typed = matched.group() if matched else ""
        # Without the program's name the line has one word less.
        words, incomplete = split_line(f"_ {text}")
        for item in self._ask(words, incomplete):
            for word in await self._list_words(item):
                escaped = _SPECIAL.sub(r"\\\1", word)
                if word.startswith(incomplete):
                    end = "" if word.endswith("/") else " "
                    yield Completion(
                        escaped + end,
                        start_position=-len(typed),
                        display=word,
                        display_meta=item.help,
                    )

    async def _list_words(self, item: CompletionItem[str]) -> Sequence[str]:
        if item.type == REMOTE:
            directory = item.value.rpartition("/")[0]
            return [f"{item.prefix}{name}" for name in await self._list_remote_names(directory)]
        if item.type in ("file", "dir"):
            return _list_local_names(item.value)
        return [item.value]

    async def _list_remote_names(self, directory: str) -> list[str]:
        from twisted.internet.defer import Deferred

        listing = Deferred.fromCoroutine(list_names(self._session, directory))
        try:
            return await asyncio.wait_for(
                listing.asFuture(asyncio.get_running_loop()), PATIENCE_SECONDS
            )
        except (FileTransferError, OSError, TimeoutError):
            return []


def _list_local_names(typed: str) -> list[str]:
    """Give the names in the directory that is typed so far; directories end with a slash."""
    _, _, beginning = typed.rpartition("/")
    prefix = typed[: len(typed) - len(beginning)]
    names = []
    try:
        with os.scandir(os.path.expanduser(prefix) or ".") as entries:
            for entry in entries:
                if entry.name.startswith(".") and not beginning.startswith("."):
                    continue
                names.append(prefix + entry.name + ("/" if entry.is_dir() else ""))
    except OSError:
        return []
    return sorted(names)
