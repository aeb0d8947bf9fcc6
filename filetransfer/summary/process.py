"""What the server needs of the child process: how to start it, and how to read its answer."""

from __future__ import annotations

import marshal
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import filetransfer
from filetransfer.errors import Invalid
from filetransfer.summary import child
from filetransfer.summary.blocks import SEPARATORS, NotANumber

_RUN_CHILD = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from filetransfer.summary.child import main; main(sys.argv[2:])"
)


MAX_NAME = 1024
"""Octets of the longest column name: the child is told by its arguments, which have a limit of 128 KiB."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which numbers of a file are meant.

    Attributes:
        column: its number, from 1 on, or its name in the first row that is not empty, blanks around
            it aside. None: all numbers there are, in a file that holds nothing else.
        delimiter: one character that separates columns; None: a comma. Without a column it must be
            one of those that separate numbers anyway.
        skip: lines to leave out at the front of the file, 0 or more.

    Raises:
        Invalid: there is no such selection.
    """

    column: int | str | None = None
    delimiter: str | None = None
    skip: int = 0

    def __post_init__(self) -> None:
        if self.delimiter is not None:
            if self.delimiter in '"\r\n\0':
                raise Invalid("a delimiter is neither a quote nor the end of a line")
            if self.column is None and self.delimiter not in SEPARATORS.decode():
                raise Invalid("a delimiter is of use only with a column")
        if isinstance(self.column, str) and len(self.column.encode()) > MAX_NAME:
            raise Invalid(f"the name of a column has at most {MAX_NAME} octets")


@dataclass(frozen=True, slots=True)
class Statistics:
    """What version 2 answers to SUMMARY; version 1 uses the max, min and mean.

    Attributes:
        count: how many numbers there are, at least 1.
        max: the largest, exact. A negative zero is given as 0.0, here and in the other fields.
        min: the smallest, exact.
        mean: within 1e-12 of the exact mean, relative to the mean absolute value; it never
            overflows.
        sum: as good as the mean; infinite, with its sign, where binary64 cannot hold it.
        stddev: the standard deviation of the population, finite, 0.0 or more.
    """

    count: int
    max: float
    min: float
    mean: float
    sum: float
    stddev: float


def child_arguments(selection: Selection) -> list[str]:
    """Gives the command that starts the child: its executable, then its arguments.

    The child wants the opened file as descriptor 0 (any position: it reads from offset 0 by itself)
    and a pipe as descriptor 1; it needs no environment and no working directory. Call this in the
    process that will be its parent: the child ends when it is no longer that process's child.

    It is told where the package is, because from a source tree ``-I`` would not find it.
    """
    root = Path(filetransfer.__file__).parent.parent
    wanted = marshal.dumps((selection.column, selection.delimiter, selection.skip))
    return [sys.executable, "-I", "-c", _RUN_CHILD, str(root), str(os.getpid()), wanted.hex()]


def parse_result(octets: bytes) -> Statistics:
    """Reads what the child wrote to its descriptor 1, all of it.

    Raises:
        NotANumber: the file holds something else than numbers, or no number.
        ValueError: this is no result; the child was ended or failed (see its descriptor 2).
    """
    word, _, rest = octets.decode("ascii").rstrip("\n").partition(" ")
    if word == child.REFUSED:
        line, octet, reason = rest.split(" ", 2)
        raise NotANumber(int(line), int(octet), reason)
    if word != child.DONE:
        raise ValueError(f"the child gave no result: {octets[:80]!r}")
    count, *numbers = rest.split()
    return Statistics(int(count), *map(float, numbers))
