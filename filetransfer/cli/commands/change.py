"""``ft-client change``, also ``mv``: give a file on the server another name."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work


@click.command(
    cls=ClientCommand,
    examples=[
        "ft-client change draft.txt final.txt",
    ],
)
@click.argument("old")
@click.argument("new")
@click.pass_obj
def change(invocation: Invocation, old: str, new: str) -> int:
    """Give the file OLD on the server the name NEW. Never replaces a file."""

    async def change_one(work: Work) -> None:
        await work.session.change(old, new)
        work.console.note(
            f"{printable(old)} is now {printable(new)}",
            {"action": "change", "subject": old, "target": new},
        )

    async def act(work: Work) -> int:
        return await work.attempt(old, change_one(work))

    return invocation.perform("change", act)
