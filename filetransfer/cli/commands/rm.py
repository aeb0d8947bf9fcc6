"""``ft-client rm``: remove files and directories on the server."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import TRANSFER, option


@click.command(
    cls=ClientCommand,
    short_help="Remove files and directories on the server.",
    examples=[
        "ft-client rm draft.txt '*.tmp'",
        "ft-client rm -r 2019",
    ],
    params=[TRANSFER["if_match"]],
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=NameType())
@option("-r", "--recursive", is_flag=True, help="Remove directories with all that is in them.")
@click.pass_obj
def rm(
    invocation: Invocation, names: tuple[str, ...], recursive: bool, if_match: str | None
) -> int:
    """Remove each NAME on the server: a file, an empty directory, or all that a pattern stands for."""
    if if_match is not None and len(names) > 1:
        raise click.UsageError("--if-match is of one file; there are several")

    async def remove_one(work: Work, name: str) -> None:
        await work.session.delete(name.rstrip("/"), recursive=recursive, if_match=if_match)
        work.console.note(f"{printable(name)} removed", {"action": "rm", "subject": name})

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import transfer_all, transfer_matching

        def remove_all(found: list[str]) -> Coroutine[Any, Any, int]:
            return transfer_all(work, found, lambda name: name, lambda name: remove_one(work, name))

        return await transfer_matching(work, names, remove_all, has_directories=True)

    return invocation.perform("rm", act)
