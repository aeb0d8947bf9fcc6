"""``ft-client bye``: ends a conversation, and elsewhere does nothing."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation


@click.command(
    cls=ClientCommand,
    short_help="End a conversation.",
    examples=[
        "ft-client bye",
    ],
)
@click.pass_obj
def bye(invocation: Invocation) -> int:
    """End the conversation, at the prompt or in a script; alone it does nothing."""
    return invocation.tell("bye", lambda _: None)
