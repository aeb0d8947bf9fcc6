"""``ft-client get``: fetch files from the server."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.exit_status import ExitStatus
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import TRANSFER, check_recursion, option

if TYPE_CHECKING:
    from filetransfer.cli.moving import Pair
    from filetransfer.store.stable import Durability

STANDARD_OUTPUT = "-"


@click.command(
    cls=ClientCommand,
    short_help="Fetch files from the server.",
    examples=[
        "ft-client get report.csv",
        "ft-client get 2024/report.csv -o last-year.csv",
        "ft-client get '2024/*.csv' -o figures",
        "ft-client get -rp photos",
        "ft-client get notes.tar - | tar x",
    ],
    params=[
        TRANSFER["files_from"],
        TRANSFER["include"],
        TRANSFER["exclude"],
        TRANSFER["connections"],
        TRANSFER["preserve"],
        TRANSFER["no_clobber"],
        TRANSFER["if_match"],
        TRANSFER["no_resume"],
        TRANSFER["durability"],
    ],
)
@click.argument("names", metavar="NAME...", nargs=-1, type=NameType())
@option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(),
    help="Write to this file, or into this directory; - is standard output.",
)
@option("-r", "--recursive", is_flag=True, help="Fetch directories with all that is in them.")
@click.pass_obj
def get(
    invocation: Invocation,
    names: tuple[str, ...],
    output: str | None,
    recursive: bool,
    files_from: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    connections: int,
    preserve: bool,
    no_clobber: bool,
    if_match: str | None,
    no_resume: bool,
    durability: Durability,
) -> int:
    """Fetch each NAME from the server into the current directory: 2024/map.png as map.png.

    A local file appears whole or not at all, and replaces what had its name. A pattern stands for
    all files that it matches: *, ? and [...] for characters, ** for any number of directories. A
    last NAME of - writes to standard output.
    """
    check_recursion(recursive)
    names = (*names, *files_from)
    if not names:
        raise click.UsageError("Missing argument 'NAME...'.")
    if output is None and len(names) > 1 and names[-1] == STANDARD_OUTPUT:
        names, output = names[:-1], STANDARD_OUTPUT
    names = tuple(name.rstrip("/") for name in names)
    if output == STANDARD_OUTPUT and invocation.console.is_for_programs:
        raise click.UsageError("standard output cannot take both the file and --json")
    if if_match is not None and len(names) > 1:
        raise click.UsageError("--if-match is of one file; there are several")
    # Without a pattern, wrong usage is refused before there is a connection.
    try:
        choose_targets(names, output)
    except ValueError as error:
        raise click.UsageError(str(error)) from error

    async def act(work: Work) -> int:
        from filetransfer.cli.moving import Getting, get_files
        from filetransfer.cli.transfers import transfer_matching

        getting = Getting(durability, preserve, no_clobber, if_match, not no_resume)

        async def get_all(found: list[str]) -> int:
            try:
                pairs = choose_targets(found, output)
            except ValueError as error:
                work.console.complain("get", "", str(error))
                return ExitStatus.USAGE
            if not recursive:
                return await get_files(work, pairs, getting)
            from filetransfer.cli.trees import Recursion, get_trees
            from filetransfer.client.selection import Selection

            recursion = Recursion(Selection(include, exclude), connections=connections)
            return await get_trees(work, pairs, getting, recursion)

        return await transfer_matching(work, names, get_all, has_directories=recursive)

    return invocation.perform("get", act)


def choose_targets(names: Sequence[str], output: str | None) -> list[Pair]:
    """Give the local path for each name. Raises ValueError: two of them would be one."""
    if output == STANDARD_OUTPUT:
        return [(name, STANDARD_OUTPUT) for name in names]
    if output is not None and not os.path.isdir(output):
        if len(names) > 1:
            raise ValueError(f"there are several names, and {output!r} is not a directory")
        return [(name, output) for name in names]
    pairs = [(name, os.path.join(output or "", name.rpartition("/")[2])) for name in names]
    first: dict[str, str] = {}
    for name, target in pairs:
        if first.setdefault(target, name) != name:
            raise ValueError(f"{first[target]!r} and {name!r} would be written to the same file")
    return pairs
