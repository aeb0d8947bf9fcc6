"""``ft-client summary``: statistics of a file of numbers on the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click
from msgspec.structs import fields

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import option
from filetransfer.cli.values import CountType

if TYPE_CHECKING:
    from filetransfer.client import Statistics

# Version 1 has the first three, under these names.
_LABELS = {
    "max": "Max",
    "min": "Min",
    "mean": "Avg",
    "count": "Count",
    "sum": "Sum",
    "stddev": "Stddev",
}


@click.command(
    cls=ClientCommand,
    short_help="Print statistics of a file of numbers.",
    examples=[
        "ft-client summary measurements.csv",
        "ft-client summary weather.csv --column temperature --delimiter ';'",
        "ft-client summary weather.tsv --column 3 --delimiter '\\t' --skip 1",
    ],
)
@click.argument("name", type=NameType())
@option(
    "--column",
    metavar="COLUMN",
    help="Look at one column only: its number, from 1, or its name in the header.",
)
@option("--delimiter", metavar="CHARACTER", help=r"What is between columns; \t is a tab.")
@option(
    "--skip",
    type=CountType(),
    metavar="N",
    default=0,
    help="Leave out N lines at the beginning.",
)
@click.pass_obj
def summary(
    invocation: Invocation, name: str, column: str | None, delimiter: str | None, skip: int
) -> int:
    """Print the largest, the smallest and the mean of the numbers in NAME, and what else the server tells of them."""
    if delimiter == r"\t":
        delimiter = "\t"
    if delimiter is not None and len(delimiter) != 1:
        raise click.UsageError(f"--delimiter is one character, not {delimiter!r}")

    async def show(work: Work) -> None:
        statistics = await work.session.summary(
            name, column=_read_column(column), delimiter=delimiter, skip=skip
        )
        known = describe(statistics)
        text = "\n".join(
            f"{label}: {known[key]}" for key, label in _LABELS.items() if known[key] is not None
        )
        work.console.show(text, {"action": "summary", "subject": name, **known})

    async def act(work: Work) -> int:
        return await work.attempt(name, show(work))

    return invocation.perform("summary", act)


def _read_column(column: str | None) -> int | str | None:
    """Give the number of a column, or its name."""
    if column is None or not column.isascii() or not column.isdigit():
        return column
    return int(column)


def describe(statistics: Statistics) -> dict[str, float | int | None]:
    """Give what is known, for programs."""
    return {each.name: getattr(statistics, each.name) for each in fields(statistics)}
