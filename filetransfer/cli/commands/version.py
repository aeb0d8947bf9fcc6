"""``ft-client version``."""

from __future__ import annotations

import click

from filetransfer import __version__
from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import PROGRAM
from filetransfer.cli.invocation import Invocation


@click.command(
    cls=ClientCommand,
    short_help="Print the version of this program.",
    examples=[
        "ft-client version",
    ],
)
@click.pass_obj
def version(invocation: Invocation) -> int:
    """Print the version of this program."""
    text, item = f"{PROGRAM} {__version__}", {"action": "version", "version": __version__}
    return invocation.tell("version", lambda console: console.show(text, item))
