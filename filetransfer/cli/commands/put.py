"""``ft-client put``: store files on the server."""

from __future__ import annotations

import os

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation
from filetransfer.cli.options import TRANSFER, option

STANDARD_INPUT = "-"


@click.command(
    cls=ClientCommand,
    examples=[
        "ft-client put report.csv figures/map.png",
        "ft-client put report.csv --as 2024/report.csv",
        "tar c notes | ft-client put - notes.tar",
    ],
    params=[
        TRANSFER["parents"],
        TRANSFER["preserve"],
        TRANSFER["no_clobber"],
        TRANSFER["if_match"],
    ],
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=click.Path())
@option("--as", "name", metavar="NAME", help="Store the one FILE under this name.")
@click.pass_obj
def put(
    invocation: Invocation,
    files: tuple[str, ...],
    name: str | None,
    parents: bool,
    preserve: bool,
    no_clobber: bool,
    if_match: str | None,
) -> int:
    """Store each FILE on the server, under its last component.

    A file of that name on the server is replaced, whole and at once. - is standard input, followed
    by the NAME to store it under.
    """
    if name is None and len(files) == 2 and files[0] == STANDARD_INPUT:
        name = files[1]
        files = files[:1]
    if name is not None and len(files) > 1:
        raise click.UsageError("--as names one file; there are several")
    if if_match is not None and len(files) > 1:
        raise click.UsageError("--if-match is of one file; there are several")
    if name is None and STANDARD_INPUT in files:
        raise click.UsageError("standard input has no name: say one behind it")
    names = [name if name is not None else os.path.basename(file) for file in files]
    _refuse_twins(files, names)
    from filetransfer.cli.moving import Putting, put_files

    putting = Putting(preserve, parents, no_clobber, if_match)
    return invocation.perform(
        "put", lambda work: put_files(work, list(zip(files, names, strict=True)), putting)
    )


def _refuse_twins(files: tuple[str, ...], names: list[str]) -> None:
    first: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if first.setdefault(name, file) != file:
            raise click.UsageError(
                f"{first[name]!r} and {file!r} would have the same name on the server"
            )
