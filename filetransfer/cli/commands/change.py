"""``ft-client change``, also ``mv``: give a file on the server another name."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import TRANSFER, option


@click.command(
    cls=ClientCommand,
    short_help="Give a file on the server another name; also: mv.",
    examples=[
        "ft-client change draft.txt final.txt",
        "ft-client change --replace new.db current.db",
    ],
    params=[TRANSFER["if_match"]],
)
@click.argument("old", type=NameType())
@click.argument("new", type=NameType())
@option("--replace", is_flag=True, help="Replace a file that has the name NEW.")
@click.pass_obj
def change(invocation: Invocation, old: str, new: str, replace: bool, if_match: str | None) -> int:
    """Give the file OLD on the server the name NEW. Another file of that name is kept.

    When the connection is lost before the answer, the server is asked what became of it, and it is
    never done again blindly: where that stays in doubt, the message says so, and the exit status is
    5.
    """

    async def change_one(work: Work) -> None:
        etag = await work.session.change(old, new, replace=replace, if_match=if_match)
        work.console.note(
            f"{printable(old)} is now {printable(new)}",
            {"action": "change", "subject": old, "target": new, "etag": etag},
        )

    async def act(work: Work) -> int:
        return await work.attempt(old, change_one(work))

    return invocation.perform("change", act)
