"""``ft-client shell``: commands one a line, at a prompt or from a script."""

from __future__ import annotations

import sys

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation


@click.command(
    cls=ClientCommand,
    short_help="Do commands from a script, or at a prompt.",
    examples=[
        "ft-client shell",
        "ft-client shell nightly.ft",
        "echo 'put report.csv' | ft-client shell -",
    ],
)
@click.argument("file", required=False)
@click.pass_obj
@click.pass_context
def shell(context: click.Context, invocation: Invocation, file: str | None) -> int:
    """Do commands one a line, over one session: from the script FILE, or at a prompt.

    Without FILE it asks for commands at the terminal; - is standard input. The commands are those
    of ft-client, without its name, and bye ends them. In a script, the first command that fails
    ends it, with its exit status; one with a hyphen before it may fail. Blank lines are left out,
    and so is what follows a #.
    """
    if invocation.is_in_conversation:
        raise click.UsageError("this is one already")
    if file is not None:
        from filetransfer.cli.script import run_script

        return run_script(file, invocation.settings, invocation.console, context)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError(
            "there is no terminal to ask at: name a script, or - for standard input"
        )
    from filetransfer.cli.prompt import run_prompt

    return run_prompt(invocation.settings, context)
