"""Commands one a line, over one session that is kept open: what the prompt and scripts have together.

Commands are those of the command line, with the same arguments; what they want done (``cli/invocation.py``) is done
with the session that is open. What has become of its connection is the session's business: it makes a new one.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem, ShellComplete

from filetransfer.cli.console import PROGRAM, Console
from filetransfer.cli.exit_status import ExitStatus
from filetransfer.cli.invocation import Action, Invocation, Work
from filetransfer.cli.options import COMMON, choose_values, find_key, find_name
from filetransfer.cli.running import tell_of_version
from filetransfer.cli.settings import Settings

if TYPE_CHECKING:
    from filetransfer.client import Session

ENDINGS = ("bye", "quit", "exit")


class Conversation:
    """Commands, one after the other.

    Args:
        settings: the options before the commands.
        console: says things.
        begun_by: the command line that the options are from.
    """

    def __init__(self, settings: Settings, console: Console, begun_by: click.Context) -> None:
        self.settings = settings
        self.console = console
        commands = begun_by.find_root().command
        assert isinstance(commands, click.Group)  # noqa: S101
        self._commands = commands
        self._asked: tuple[str, Action] | None = None
        self._has_told_of_version = False
        self._context = click.Context(
            commands,
            info_name=PROGRAM,
            obj=_Line(settings, console, self._remember),
            **commands.context_settings,
        )
        # Not as a context around this one: usage would be that of a command in a command.
        for name, each in choose_values(begun_by).items():
            self._context.params[name] = each.value
            self._context.set_parameter_source(name, each.source)

    def complete(self, words: list[str], incomplete: str) -> list[CompletionItem[str]]:
        """Give what a word may become, behind other words.

        Names on the server are not looked up: one item has the type ``remote``, and stands for those that begin so.
        """
        completing = ShellComplete(self._commands, {"obj": self._context.obj}, PROGRAM, "")
        try:
            return completing.get_completions(words, incomplete)
        except click.ClickException:
            # The line makes no sense, and will be told so.
            return []

    def split(self, line: str) -> list[str]:
        """Give the words of a line. Raises ValueError: the line ends too early."""
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise ValueError("the line ends inside quotation marks, or with a backslash") from error
        return [os.path.expanduser(word) for word in words]

    async def do(self, words: list[str], session: Session) -> int:
        """Do what a line asks for, and give the status."""
        status = self._parse(words)
        if self._asked is None:
            return status
        command, action = self._asked
        return await self._act(command, action, session)

    def _parse(self, words: list[str]) -> int:
        """Find out what a line asks for."""
        self._asked = None
        command = self._commands.get_command(self._context, words[0])
        if command is None:
            self.console.complain("", words[0], "no such command; help lists them")
            return ExitStatus.USAGE
        try:
            with command.make_context(words[0], words[1:], self._context) as context:
                return int(command.invoke(context))
        except click.exceptions.Exit as done:
            # --help was printed.
            return done.exit_code
        except click.ClickException as error:
            self.console.complain(words[0], "", error.format_message())
            return error.exit_code

    def _remember(self, command: str, action: Action) -> None:
        self._asked = command, action

    async def _act(self, command: str, action: Action, session: Session) -> int:
        from twisted.internet import reactor

        progress = self.console.make_progress(cast(Any, reactor))
        self.console.begin(command)
        status: int = ExitStatus.OTHER
        try:
            status = await action(Work(command, session, self.console, progress))
        finally:
            progress.close()
            self.console.end(status)
        if not self._has_told_of_version:
            tell_of_version(session, self.console, command)
            self._has_told_of_version = bool(session.note)
        return status


class _Line(Invocation):
    """One line; what it asks for is done with the session that is open."""

    is_in_conversation: ClassVar[bool] = True

    def __init__(
        self, settings: Settings, console: Console, remember: Callable[[str, Action], None]
    ) -> None:
        super().__init__(settings, console)
        self._remember = remember

    def choose(self, context: click.Context) -> Invocation:
        """See :meth:`Invocation.choose`."""
        for declared in COMMON:
            if context.get_parameter_source(find_key(declared)) is ParameterSource.COMMANDLINE:
                option = find_name(declared)
                raise click.UsageError(
                    f"--{option} holds for all commands here: it belongs before the first", context
                )
        return self

    def perform(self, command: str, action: Action) -> int:
        """See :meth:`Invocation.perform`."""
        self._remember(command, action)
        return ExitStatus.DONE
