"""Completion at the prompt: commands, then names of local files where a command takes them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence

from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document

# Which commands take local names, and after which options others do.
_COMMANDS = ("put",)
_OPTIONS = ("-o", "--output")

_LAST_WORD = re.compile(r"(?:\\.|[^\s\\])*$", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
# What shlex would not take as part of a word.
_SPECIAL = re.compile(r"""([\s\\'"])""")


class CommandCompleter(Completer):
    """Completes the last word before the cursor.

    Args:
        commands: that can be typed.
    """

    def __init__(self, commands: Sequence[str]) -> None:
        self._commands = commands

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterable[Completion]:
        """See :class:`prompt_toolkit.completion.Completer`."""
        text = document.text_before_cursor
        matched = _LAST_WORD.search(text)
        typed = matched.group() if matched else ""
        before = text[: len(text) - len(typed)].split()
        if not before:
            return _complete(typed, self._commands)
        if before[0] in _COMMANDS or before[-1] in _OPTIONS:
            return _complete(typed, _list_local_names(_ESCAPED.sub(r"\1", typed)))
        return ()


def _complete(typed: str, words: Iterable[str]) -> Iterable[Completion]:
    for word in words:
        escaped = _SPECIAL.sub(r"\\\1", word)
        if escaped.startswith(typed):
            yield Completion(escaped, start_position=-len(typed), display=word)


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
