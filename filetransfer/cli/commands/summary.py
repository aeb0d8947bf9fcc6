"""``ft-client summary``: statistics of a file of numbers on the server."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation, Work

if TYPE_CHECKING:
    from filetransfer.client import Statistics


def describe(statistics: Statistics) -> dict[str, float | int | None]:
    """Give what is known, for programs."""
    return {each.name: getattr(statistics, each.name) for each in fields(statistics)}


@click.command(
    cls=ClientCommand,
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
        work.console.show(
            f"Max: {statistics.max}\nMin: {statistics.min}\nAvg: {statistics.mean}",
            {"action": "summary", "subject": name, **describe(statistics)},
        )

    async def act(work: Work) -> int:
        return await work.attempt(name, show(work))

    return invocation.perform("summary", act)
