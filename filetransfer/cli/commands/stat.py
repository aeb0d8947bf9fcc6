"""``ft-client stat``: what is known of a file on the server."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.entries import describe_status, format_mode, format_time
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType


@click.command(
    cls=ClientCommand,
    short_help="Show what is known of a file on the server.",
    examples=[
        "ft-client stat report.csv",
        "ft-client stat --json report.csv",
    ],
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=NameType())
@click.pass_obj
def stat(invocation: Invocation, names: tuple[str, ...]) -> int:
    """Show what is known of each NAME on the server: kind, size, time, mode, etag and digest.

    The etag is what --if-match of other commands takes: it changes whenever the file may have.
    """

    async def show_one(work: Work, name: str) -> None:
        status = await work.session.stat(name)
        lines = [("name", printable(name)), ("kind", status.kind or "")]
        if status.size is not None:
            lines.append(("size", str(status.size)))
        if status.modified is not None:
            lines.append(("modified", format_time(status.modified)))
        if status.mode is not None:
            lines.append(("mode", format_mode(status.kind or "", status.mode)))
        if status.etag is not None:
            lines.append(("etag", printable(status.etag)))
        lines += [(printable(each), value.hex()) for each, value in status.digest.items()]
        text = "\n".join(f"{label + ':':<10} {value}" for label, value in lines)
        work.console.show(text, {"action": "stat", "subject": name, **describe_status(status)})

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import transfer_all

        return await transfer_all(
            work, names, lambda name: name, lambda name: show_one(work, name), at_once=1
        )

    return invocation.perform("stat", act)
