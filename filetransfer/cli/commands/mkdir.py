"""``ft-client mkdir``: make directories on the server."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import option
from filetransfer.errors import NotFound


@click.command(
    cls=ClientCommand,
    short_help="Make directories on the server.",
    examples=[
        "ft-client mkdir 2024",
        "ft-client mkdir -p 2024/figures/drafts",
    ],
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=NameType())
@option(
    "-p",
    "--parents",
    is_flag=True,
    help="Make what is missing on the way, too; one that exists is no error.",
)
@click.pass_obj
def mkdir(invocation: Invocation, names: tuple[str, ...], parents: bool) -> int:
    """Make each directory NAME on the server."""

    async def make_one(work: Work, name: str) -> None:
        try:
            await work.session.make_directory(name.rstrip("/"), parents=parents)
        except NotFound as refusal:
            text = f"the directory that it is in is missing on {work.session.server}; -p makes it"
            raise NotFound(text, about="to") from refusal
        work.console.note(f"{printable(name)} made", {"action": "mkdir", "subject": name})

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import transfer_all

        return await transfer_all(work, names, lambda name: name, lambda name: make_one(work, name))

    return invocation.perform("mkdir", act)
