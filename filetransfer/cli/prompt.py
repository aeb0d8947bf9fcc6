"""The prompt: the commands of ``ft-client``, one a line, at a terminal.

It runs in the reactor on top of asyncio, for prompt_toolkit is at home there: no thread waits for the keyboard, and a
signal finds the terminal put back as it was. Errors do not end it, and Ctrl-C ends the command at work.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from filetransfer.cli.completion import LineCompleter
from filetransfer.cli.console import PROGRAM, Verbosity
from filetransfer.cli.conversation import ENDINGS, Conversation
from filetransfer.cli.exit_status import ExitStatus
from filetransfer.cli.promises import require
from filetransfer.cli.running import complain_of_bug, make_console, run
from filetransfer.cli.settings import Settings

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from filetransfer.client import Session

_PROMPT = "ft> "


class LineAbandoned(Exception):
    """Ctrl-C in the middle of a line."""


def run_prompt(settings: Settings, begun_by: click.Context) -> int:
    """Ask for commands until there are no more.

    Args:
        settings: the options before the commands.
        begun_by: the command line that they are from.

    Returns:
        The exit status.

    Raises:
        click.UsageError: JSON was asked for.
    """
    if settings.is_json:
        raise click.UsageError("--json is for scripts: at a prompt, people read")
    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    if settings.verbosity is Verbosity.NORMAL:
        # Whoever types wants to see that something was done.
        settings = replace(settings, verbosity=Verbosity.VERBOSE)
    console = make_console(settings)
    prompt = Prompt(Conversation(settings, console, begun_by))
    return run(prompt.run, console, interrupt=prompt.interrupt)


class Prompt:
    """A conversation at a terminal.

    Args:
        conversation: does the commands.
    """

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        self._console = conversation.console
        self._working: Deferred[int] | None = None

    async def run(self) -> int:
        """Ask for commands until there are no more."""
        settings = self._conversation.settings
        session = settings.begin_session()
        lines: PromptSession[str] = PromptSession(
            history=_open_history(),
            completer=LineCompleter(self._conversation.complete, session),
            complete_while_typing=False,
            interrupt_exception=LineAbandoned,
        )
        try:
            await require(session, settings.required)
            while await self._ask(lines, session):
                pass
        except BaseException:
            await session.abort()
            raise
        await session.close()
        return ExitStatus.DONE

    def interrupt(self) -> bool:
        """End the command at work, and tell whether there was one."""
        if self._working is None:
            return False
        self._working.cancel()
        return True

    async def _ask(self, lines: PromptSession[str], session: Session) -> bool:
        """Ask for one command and do it; tell whether to go on."""
        from twisted.internet.defer import Deferred

        try:
            line = await Deferred.fromFuture(asyncio.ensure_future(lines.prompt_async(_PROMPT)))
        except LineAbandoned:
            return True
        except EOFError:
            return False
        words = self._split(line)
        if not words:
            return True
        if words[0] in ENDINGS:
            return False
        self._working = Deferred.fromCoroutine(self._do(words, session))
        await self._working
        self._working = None
        return True

    def _split(self, line: str) -> list[str]:
        try:
            return self._conversation.split(line)
        except ValueError as error:
            self._console.complain("", "", str(error))
            return []

    async def _do(self, words: list[str], session: Session) -> int:
        from twisted.internet.defer import CancelledError

        try:
            return await self._conversation.do(words, session)
        except CancelledError:
            self._console.complain(words[0], "", "ended by Ctrl-C")
            return ExitStatus.INTERRUPTED
        except Exception as error:  # noqa: BLE001 - even a fault of ours does not end the conversation
            return complain_of_bug(self._console, error)


def _open_history() -> History:
    """Give the history of all conversations, or of this one only where there is no place to keep it."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    directory = Path(state).expanduser() / PROGRAM
    file = directory / "history"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(str(file))
