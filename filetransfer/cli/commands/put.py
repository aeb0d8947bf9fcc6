"""``ft-client put``: store files on the server."""

from __future__ import annotations

import os

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.options import option

STANDARD_INPUT = "-"


@click.command(
    cls=ClientCommand,
    examples=[
        "ft-client put report.csv figures/map.png",
        "ft-client put report.csv --as 2024/report.csv",
        "tar c notes | ft-client put - --as notes.tar",
    ],
)
@click.argument("files", metavar="FILE...", nargs=-1, required=True)
@option("--as", "name", metavar="NAME", help="Store the one FILE under this name.")
@click.pass_obj
def put(invocation: Invocation, files: tuple[str, ...], name: str | None) -> int:
    """Store each FILE on the server, under its last component.

    A file of that name on the server is replaced. - is standard input, and needs --as.
    """
    if name is not None and len(files) > 1:
        raise click.UsageError("--as names one file; there are several")
    if name is None and STANDARD_INPUT in files:
        raise click.UsageError("standard input has no name: say one with --as")
    names = [name if name is not None else os.path.basename(file) for file in files]
    _refuse_twins(files, names)

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import note_transfer, transfer_all

        async def put_one(item: tuple[str, str]) -> None:
            file, name = item
            bar = work.progress.begin(file)
            try:
                source = 0 if file == STANDARD_INPUT else file
                stored = await work.session.put(source, name, progress=bar)
            finally:
                work.progress.end(bar)
            note_transfer(work, file, name, stored.size)

        work.progress.expect(len(files))
        return await transfer_all(
            work, list(zip(files, names, strict=True)), lambda item: item[0], put_one
        )

    return invocation.perform("put", act)


def _refuse_twins(files: tuple[str, ...], names: list[str]) -> None:
    first: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if first.setdefault(name, file) != file:
            raise click.UsageError(
                f"{first[name]!r} and {file!r} would have the same name on the server"
            )
