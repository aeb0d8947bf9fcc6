"""``ft-client get``: fetch files from the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.options import option

if TYPE_CHECKING:
    from filetransfer.store.stable import Durability

STANDARD_OUTPUT = "-"


@click.command(
    cls=ClientCommand,
    examples=[
        "ft-client get report.csv",
        "ft-client get 2024/report.csv -o last-year.csv",
        "ft-client get notes.tar -o - | tar x",
    ],
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@option(
    "-o",
    "--output",
    metavar="FILE",
    help="Write to this file, or into this directory; - is standard output.",
)
@option(
    "--durability",
    type=click.Choice(["full", "none"]),
    default="full",
    show_default=True,
    help="full: a power cut does not take a fetched file away. none: it may, and it is faster.",
)
@click.pass_obj
def get(
    invocation: Invocation, names: tuple[str, ...], output: str | None, durability: Durability
) -> int:
    """Fetch each NAME from the server into the current directory, under its last component.

    A local file appears whole or not at all, and replaces what had its name.
    """
    targets = _choose_targets(names, output)

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import note_transfer, transfer_all

        async def get_one(item: tuple[str, str]) -> None:
            name, target = item
            bar = work.progress.begin(name)
            try:
                destination = 1 if target == STANDARD_OUTPUT else target
                fetched = await work.session.get(
                    name, destination, durability=durability, progress=bar
                )
            finally:
                work.progress.end(bar)
            note_transfer(work, name, target, fetched.size)

        work.progress.expect(len(names))
        items = list(zip(names, targets, strict=True))
        if output == STANDARD_OUTPUT:
            # One after the other: the octets of two files must not mix.
            return await transfer_all(work, items, lambda item: item[0], get_one, at_once=1)
        return await transfer_all(work, items, lambda item: item[0], get_one)

    return invocation.perform("get", act)


def _choose_targets(names: tuple[str, ...], output: str | None) -> list[str]:
    """Give the local path for each name."""
    if output == STANDARD_OUTPUT:
        return [STANDARD_OUTPUT] * len(names)
    if output is not None and not os.path.isdir(output):
        if len(names) > 1:
            raise click.UsageError(f"there are several names, and {output!r} is not a directory")
        return [output]
    targets = [os.path.join(output or "", name.rpartition("/")[2]) for name in names]
    first: dict[str, str] = {}
    for name, target in zip(names, targets, strict=True):
        if first.setdefault(target, name) != name:
            raise click.UsageError(
                f"{first[target]!r} and {name!r} would be written to the same file"
            )
    return targets
