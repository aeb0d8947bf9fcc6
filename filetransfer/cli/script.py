"""Scripts: lines of commands from a file or from standard input, over one session.

The first command that fails ends the script, with its status, as ``set -e`` does in a shell; a command with a hyphen
before it may fail. Blank lines and what follows a ``#`` are left out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import click

from filetransfer.cli.console import Console
from filetransfer.cli.conversation import ENDINGS, Conversation
from filetransfer.cli.exit_status import ExitStatus
from filetransfer.cli.promises import require
from filetransfer.cli.running import run
from filetransfer.cli.settings import Settings

if TYPE_CHECKING:
    from filetransfer.client import Session

STANDARD_INPUT = "-"

_MAY_FAIL = "-"


def run_script(file: str, settings: Settings, console: Console, begun_by: click.Context) -> int:
    """Do the commands of a file.

    Args:
        file: its path; ``-`` for standard input.
        settings: the options before the command.
        console: says things.
        begun_by: the command line that they are from.

    Returns:
        The exit status.
    """
    try:
        lines = _read(file)
    except OSError as error:
        console.complain_about("shell", file, error)
        return ExitStatus.NOT_FOUND if isinstance(error, FileNotFoundError) else ExitStatus.OTHER
    script = Script(file, Conversation(settings, console, begun_by))
    return run(lambda: script.run(lines), console)


def _read(file: str) -> list[str]:
    if file == STANDARD_INPUT:
        return sys.stdin.readlines()
    with open(file, encoding="utf-8", errors="surrogateescape") as script:
        return script.readlines()


class Script:
    """A script at work.

    Args:
        file: what to call it in messages.
        conversation: does the commands.
    """

    def __init__(self, file: str, conversation: Conversation) -> None:
        self._file = file
        self._conversation = conversation

    async def run(self, lines: Iterable[str]) -> int:
        """Do the commands; gives the status of the one that ended it."""
        settings = self._conversation.settings
        session = settings.begin_session()
        try:
            await require(session, settings.required)
            status = await self._do_all(lines, session)
        except BaseException:
            await session.abort()
            raise
        await session.close()
        return status

    async def _do_all(self, lines: Iterable[str], session: Session) -> int:
        for number, words, may_fail in self._split_all(lines):
            if not words:
                return ExitStatus.USAGE
            if words[0] in ENDINGS:
                break
            status = await self._conversation.do(words, session)
            if status != ExitStatus.DONE and not may_fail:
                self._conversation.console.complain("shell", self._file, f"line {number} failed")
                return status
        return ExitStatus.DONE

    def _split_all(self, lines: Iterable[str]) -> Iterator[tuple[int, list[str], bool]]:
        """Give line numbers, words, and whether the command may fail; no words for a line that makes no sense."""
        for number, line in enumerate(lines, 1):
            may_fail = line.startswith(_MAY_FAIL)
            try:
                words = self._conversation.split(line[may_fail:])
            except ValueError as error:
                self._conversation.console.complain("shell", self._file, f"line {number}: {error}")
                yield number, [], False
                return
            if words:
                yield number, words, may_fail
