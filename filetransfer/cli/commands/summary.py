"""``ft-client summary``: statistics of a file of numbers on the server."""

from __future__ import annotations

import click

from filetransfer.cli.documented import DocumentedCommand
from filetransfer.cli.invocation import Invocation, Work


@click.command(
    cls=DocumentedCommand,
    examples=[
        "ft-client summary measurements.csv",
    ],
)
@click.argument("name")
@click.pass_obj
def summary(invocation: Invocation, name: str) -> int:
    """Print the largest, the smallest and the mean of the numbers in NAME."""

    async def show(work: Work) -> None:
        statistics = await work.session.summary(name)
        work.console.show(f"Max: {statistics.max}\nMin: {statistics.min}\nAvg: {statistics.mean}")

    async def act(work: Work) -> int:
        return await work.attempt(name, show(work))

    return invocation.perform("summary", act)
