"""``ft-client change``, also ``mv``: give a file on the server another name."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import TRANSFER, option
from filetransfer.errors import NotFound


@click.command(
    cls=ClientCommand,
    short_help="Give a file on the server another name; also: mv.",
    examples=[
        "ft-client change draft.txt final.txt",
        "ft-client mv draft.txt archive/",
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

    A NEW that ends with a slash is a directory that the file gets into, under the name it has.

    When the connection is lost before the answer, the server is asked what became of it, and it is
    never done again blindly: where that stays in doubt, the message says so, and the exit status is
    5.
    """
    name = new + old.rpartition("/")[2] if new.endswith("/") else new

    async def change_one(work: Work) -> None:
        try:
            etag = await work.session.change(old, name, replace=replace, if_match=if_match)
        except NotFound as refusal:
            from filetransfer.cli.moving import find_missing

            raise await find_missing(work, refusal, old, name, "mkdir") from refusal
        work.console.note(
            f"{printable(old)} is now {printable(name)}",
            {"action": "change", "subject": old, "target": name, "etag": etag},
        )

    async def act(work: Work) -> int:
        return await work.attempt(old, change_one(work))

    return invocation.perform("change", act)
