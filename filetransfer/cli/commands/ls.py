"""``ft-client ls``: what is in a directory on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.entries import describe_entry, format_line, format_name
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import option

if TYPE_CHECKING:
    from filetransfer.client import Entry


@click.command(
    cls=ClientCommand,
    short_help="List a directory on the server.",
    examples=[
        "ft-client ls",
        "ft-client ls -l 2024",
        "ft-client ls '*.csv' '2024/**/map-??.png'",
    ],
)
@click.argument("names", metavar="[NAME]...", nargs=-1, type=NameType())
@option("-l", "--long", is_flag=True, help="Show mode, size and time of modification, too.")
@option("-R", "--recursive", is_flag=True, help="List what is in directories, and so on.")
@click.pass_obj
def ls(invocation: Invocation, names: tuple[str, ...], long: bool, recursive: bool) -> int:
    """List the directory NAME on the server, or the root; or what a pattern stands for.

    A directory's name is shown with a slash behind it. With several names, whole paths are shown.
    In a pattern, *, ? and [...] stand for characters, and ** for any number of directories; it
    needs quotes, or the shell expands it.
    """

    def show(work: Work, entry: Entry, directory: str) -> None:
        text = format_line(entry, directory) if long else format_name(entry, directory)
        work.console.show(text, {"action": "ls", **describe_entry(entry)})

    async def list_one(work: Work, name: str) -> None:
        from filetransfer.client.listings import list_name

        directory = name.rstrip("/")
        async for entry, base in list_name(work.session, directory, recursive=recursive):
            show(work, entry, base if len(names) < 2 else "")

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import transfer_all

        return await transfer_all(
            work, names or ("",), lambda name: name, lambda name: list_one(work, name), at_once=1
        )

    return invocation.perform("ls", act)
