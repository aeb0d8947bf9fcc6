"""``ft-client version``."""

from __future__ import annotations

import click

from filetransfer import __version__
from filetransfer.cli.console import PROGRAM
from filetransfer.cli.documented import DocumentedCommand
from filetransfer.cli.invocation import Invocation


@click.command(
    cls=DocumentedCommand,
    examples=[
        "ft-client version",
    ],
)
@click.pass_obj
def version(invocation: Invocation) -> int:
    """Print the version of this program."""
    invocation.console.show(f"{PROGRAM} {__version__}")
    return 0
