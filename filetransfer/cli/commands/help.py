"""``ft-client help``: what the server can be asked."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work


@click.command(
    "help",
    cls=ClientCommand,
    short_help="Ask what the server can do, or explain a command.",
    examples=[
        "ft-client help",
        "ft-client help put",
    ],
)
@click.argument("command", required=False)
@click.pass_context
def help_(context: click.Context, command: str | None) -> int:
    """Ask the server what can be asked; or explain a COMMAND of this program."""
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - the group sets it
    if command is not None:
        return _explain(context, invocation, command)

    async def show(work: Work) -> None:
        lines = (await work.session.help()).splitlines()
        text = "\n".join(printable(line) for line in lines)
        work.console.show(text, {"action": "help", "text": text})

    async def act(work: Work) -> int:
        return await work.attempt("", show(work))

    return invocation.perform("help", act)


def _explain(context: click.Context, invocation: Invocation, name: str) -> int:
    parent = context.parent
    assert parent is not None  # noqa: S101
    assert isinstance(parent.command, click.Group)  # noqa: S101
    command = parent.command.get_command(parent, name)
    if command is None:
        raise click.UsageError(f"No such command {name!r}.", parent)
    with click.Context(command, info_name=name, parent=parent) as explained:
        click.echo(command.get_help(explained))
    return 0
