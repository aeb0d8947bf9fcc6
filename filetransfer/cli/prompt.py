"""The prompt: the commands of ``ft-client``, one a line, over one session that is kept open.

It runs in the reactor on top of asyncio, for prompt_toolkit is at home there: no thread waits for the keyboard, and a
signal finds the terminal put back as it was. Commands are those of the command line, with the same arguments; what
they want done (``cli/invocation.py``) is done with the session that is open. Errors do not end it, Ctrl-C ends the
command at work, and what has become of the connection is the session's business: it makes a new one.
"""

from __future__ import annotations

import asyncio
import os
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click
from click.core import ParameterSource
from prompt_toolkit import PromptSession
from prompt_toolkit.history import FileHistory, History, InMemoryHistory

from filetransfer.cli.completion import CommandCompleter
from filetransfer.cli.console import PROGRAM, Console, Verbosity
from filetransfer.cli.exit_status import ExitStatus
from filetransfer.cli.invocation import Action, Invocation, Work
from filetransfer.cli.options import choose_values
from filetransfer.cli.running import complain_of_bug, run
from filetransfer.cli.settings import Settings

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from filetransfer.client import Session

ENDINGS = ("bye", "quit", "exit")

_PROMPT = "ft> "


class LineAbandoned(Exception):
    """Ctrl-C in the middle of a line."""


def run_prompt(settings: Settings, commands: click.Group) -> int:
    """Ask for commands until there are no more. Returns the exit status."""
    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
    if settings.verbosity is Verbosity.NORMAL:
        # Whoever types wants to see that something was done.
        settings = replace(settings, verbosity=Verbosity.VERBOSE)
    console = Console(settings.verbosity, str(settings.server))
    prompt = Prompt(settings, console, commands)
    return run(prompt.run, console, interrupt=prompt.interrupt)


class Prompt:
    """A conversation.

    Args:
        settings: the options before the command.
        console: says things.
        commands: what can be typed.
    """

    def __init__(self, settings: Settings, console: Console, commands: click.Group) -> None:
        self._settings = settings
        self._console = console
        self._commands = commands
        self._context = click.Context(
            commands, info_name=PROGRAM, obj=_Line(settings, console, self._remember)
        )
        self._asked: tuple[str, Action] | None = None
        self._working: Deferred[int] | None = None

    async def run(self) -> int:
        """Ask for commands until there are no more."""
        words = [*self._commands.list_commands(self._context), *ENDINGS]
        lines: PromptSession[str] = PromptSession(
            history=_open_history(),
            completer=CommandCompleter(words),
            complete_while_typing=False,
            interrupt_exception=LineAbandoned,
        )
        session = self._settings.begin_session()
        try:
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
        self._parse(words)
        if self._asked is not None:
            self._working = Deferred.fromCoroutine(self._do(*self._asked, session))
            await self._working
            self._working = None
        return True

    def _split(self, line: str) -> list[str]:
        try:
            words = shlex.split(line)
        except ValueError as error:
            self._console.complain("", "", str(error))
            return []
        return [os.path.expanduser(word) for word in words]

    def _parse(self, words: list[str]) -> None:
        """Find out what a line asks for."""
        self._asked = None
        command = self._commands.get_command(self._context, words[0])
        if command is None:
            self._console.complain("", words[0], "no such command; help COMMAND explains one")
            return
        try:
            with command.make_context(words[0], words[1:], self._context) as context:
                command.invoke(context)
        except click.exceptions.Exit:
            # --help was printed.
            pass
        except click.ClickException as error:
            self._console.complain(words[0], "", error.format_message())

    def _remember(self, command: str, action: Action) -> None:
        self._asked = command, action

    async def _do(self, command: str, action: Action, session: Session) -> int:
        from twisted.internet import reactor
        from twisted.internet.defer import CancelledError

        progress = self._console.make_progress(cast(Any, reactor))
        try:
            return await action(Work(command, session, self._console, progress))
        except CancelledError:
            self._console.complain(command, "", "ended by Ctrl-C")
            return ExitStatus.INTERRUPTED
        except Exception as error:  # noqa: BLE001 - even a fault of ours does not end the conversation
            return complain_of_bug(self._console, error)
        finally:
            progress.close()


class _Line(Invocation):
    """One line at the prompt; what it asks for is done with the session that is open."""

    def __init__(
        self, settings: Settings, console: Console, remember: Callable[[str, Action], None]
    ) -> None:
        super().__init__(settings, console)
        self._remember = remember

    def choose(self, context: click.Context) -> Invocation:
        """See :meth:`Invocation.choose`."""
        for name, each in choose_values(context).items():
            if each.source is ParameterSource.COMMANDLINE:
                option = name.replace("_", "-").removeprefix("is-")
                raise click.UsageError(
                    f"--{option} belongs before the prompt: it holds for all of it"
                )
        return self

    def perform(self, command: str, action: Action) -> int:
        """See :meth:`Invocation.perform`."""
        self._remember(command, action)
        return ExitStatus.DONE


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
