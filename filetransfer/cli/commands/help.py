"""``ft-client help``: what this program and the server can do."""

from __future__ import annotations

import sys

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import Console, Verbosity, printable
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import CommandNameType


@click.command(
    "help",
    cls=ClientCommand,
    short_help="Explain a command, or ask the server what it can do.",
    examples=[
        "ft-client help",
        "ft-client help put",
    ],
)
@click.argument("command", required=False, type=CommandNameType())
@click.pass_obj
@click.pass_context
def help_(context: click.Context, invocation: Invocation, command: str | None) -> int:
    """Explain a COMMAND of this program; or ask the server what it can be asked.

    At a terminal, the commands of this program are listed first.
    """
    program = context.parent
    assert program is not None  # noqa: S101
    if command is not None:
        text = _explain(program, command)
        item = {"action": "help", "subject": command, "text": text}
        return invocation.tell("help", lambda console: console.show(text, item))

    async def show(work: Work) -> None:
        told = await work.session.describe()
        lines = [printable(line) for line in told.text.splitlines()]
        requests = [printable(name) for name in told.requests]
        item = {"action": "help", "text": "\n".join(lines), "requests": requests or None}
        work.console.show("\n".join([*lines, *filter(None, [" ".join(requests)])]), item)

    async def act(work: Work) -> int:
        return await work.attempt("", show(work))

    _list_commands(program, invocation.console)
    return invocation.perform("help", act)


def _list_commands(program: click.Context, console: Console) -> None:
    """Say what there is even where no server answers, to people: scripts get what the server says, and only that."""
    if console.is_for_programs or console.verbosity is Verbosity.QUIET or not sys.stdout.isatty():
        return
    formatter = program.make_formatter()
    with formatter.section("Commands, each of which help COMMAND explains"):
        assert isinstance(program.command, click.Group)  # noqa: S101
        formatter.write_dl(
            [
                (name, command.get_short_help_str(formatter.width))
                for name in program.command.list_commands(program)
                if (command := program.command.get_command(program, name)) is not None
            ]
        )
    formatter.write(f"\nWhat {printable(console.server)} says it can be asked:\n")
    click.echo(formatter.getvalue(), nl=False)


def _explain(program: click.Context, name: str) -> str:
    assert isinstance(program.command, click.Group)  # noqa: S101
    command = program.command.get_command(program, name)
    if command is None:
        raise click.UsageError(f"No such command {name!r}.", program)
    with click.Context(command, info_name=name, parent=program) as explained:
        return command.get_help(explained)
