"""What was measured, as tables in reStructuredText."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.runs import Spread


@dataclass(frozen=True, slots=True)
class Table:
    """One table.

    Attributes:
        caption: what it shows, and under which conditions.
        headings: of the columns.
        rows: cells.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Bars:
    """What is drawn: for each group (a server) one bar for each series.

    Attributes:
        title: above the panel.
        unit: of the axis.
        groups: names, from top to bottom.
        series: name and values, one for each group; None where there is none.
    """

    title: str
    unit: str
    groups: Sequence[str]
    series: Sequence[tuple[str, Sequence[Spread | None]]]


@dataclass(frozen=True, slots=True)
class Report:
    """What one workload found.

    Attributes:
        tables: in order.
        bars: panels of its drawing, if it has one.
    """

    tables: Sequence[Table]
    bars: Sequence[Bars] = field(default_factory=tuple)


def format_number(value: float) -> str:
    """Give three figures of a number, as a person writes it."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 0.095 else 3
    return f"{value:.{digits}f}"


def format_spread(spread: Spread) -> str:
    """Give a median with the least and the greatest value."""
    low, high = format_number(spread.least), format_number(spread.greatest)
    return f"{format_number(spread.median)} ({low}–{high})"


def format_table(table: Table) -> str:
    """Give a table in reStructuredText."""
    rows = [table.headings, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.headings))]

    def line(cells: Sequence[str]) -> str:
        padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        return "   " + "  ".join(padded).rstrip()

    rule = line(["=" * width for width in widths])
    lines = [f".. table:: {table.caption}", "   :class: benchmark", "", rule, line(rows[0]), rule]
    return "\n".join([*lines, *map(line, rows[1:]), rule]) + "\n"


def format_report(
    report: Report, command: str, facts: Sequence[tuple[str, str]], left_out: Sequence[str]
) -> str:
    """Give the file of one workload: how it was made, then its tables."""
    lines = [".. Written by", f"..     {command}", ""]
    for table in report.tables:
        lines += [format_table(table)]
    lines += ["*Where:* " + "; ".join(f"{name.lower()}: {fact}" for name, fact in facts) + "."]
    lines += ["", f"*Command:* ``{command}``"]
    if left_out:
        lines += ["", "*Left out:* " + "; ".join(left_out) + "."]
    return "\n".join(lines) + "\n"
