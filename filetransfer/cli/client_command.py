"""The class of every command of ``ft-client``: the options of the program itself may follow it."""

from __future__ import annotations

from typing import Any

import click

from filetransfer.cli.documented import DocumentedCommand
from filetransfer.cli.invocation import Invocation
from filetransfer.cli.options import COMMON, TRANSFER, find_key


class ClientCommand(DocumentedCommand):
    """A command with examples that takes the common options as well.

    Args:
        arguments: as for :class:`~filetransfer.cli.documented.DocumentedCommand`.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        own = [each for each in self.params if each not in TRANSFER.values()]
        shared = [each for each in self.params if each in TRANSFER.values()]
        self.params = [*COMMON, *own, *shared]

    def invoke(self, ctx: click.Context) -> Any:
        """See :class:`click.Command`: with the invocation that all the options together make."""
        invocation = ctx.find_object(Invocation)
        assert invocation is not None  # noqa: S101 - the group sets it
        ctx.obj = invocation.choose(ctx)
        common = {find_key(each) for each in COMMON}
        own = {name: value for name, value in ctx.params.items() if name not in common}
        assert self.callback is not None  # noqa: S101
        return ctx.invoke(self.callback, **own)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own options; those of the program are in its own help."""
        records = [
            record
            for each in self.get_params(ctx)
            if each not in COMMON and isinstance(each, click.Option)
            if (record := each.get_help_record(ctx)) is not None
        ]
        with formatter.section("Options"):
            formatter.write_dl(records)
        formatter.write_paragraph()
        formatter.write_text(
            "The options of ft-client itself, such as --server, --json and -v, may follow the "
            "command as well: see ft-client --help."
        )
