"""Commands whose help ends with what the usual layout has no place for: examples, tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click


class DocumentedCommand(click.Command):
    """A command with examples.

    Args:
        examples: command lines.
        arguments: as for :class:`click.Command`.
    """

    def __init__(self, *, examples: Sequence[str], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples as they are typed."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(" " * formatter.current_indent + example + "\n")
