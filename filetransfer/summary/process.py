"""What the server needs of the child process: how to start it, and how to read its answer."""

from __future__ import annotations

import marshal
import os
import sys
from dataclasses import dataclass

import filetransfer
from filetransfer.errors import Invalid
from filetransfer.summary import child
from filetransfer.summary.blocks import SEPARATORS, NotANumber

_RUN_CHILD = """
import sys, types
package = sys.modules["filetransfer"] = types.ModuleType("filetransfer")
package.__path__ = [sys.argv[1]]
from filetransfer.summary.child import main
main(sys.argv[2:])
"""
"""The package is not looked for but told: it may be a source tree that ``-I`` does not find, and the
sandbox lets nobody list the directory that the daemon was started in."""


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

    def pack(self) -> bytes:
        """Gives what the child is asked with."""
        return marshal.dumps((self.column, self.delimiter, self.skip))


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


def child_arguments() -> list[str]:
    """Gives the command that starts the child: its executable, then its arguments.

    The child wants a socket of sequential packets as descriptor 0 and a pipe as descriptor 1; it
    needs no environment and no working directory. It waits for one packet: `Selection.pack`, and
    with it the descriptor of the opened file (at any position: it reads from offset 0 by itself). If
    the socket is closed without one, it ends. Call this in the process that will be its parent: the
    child also ends when it is no longer that process's child.
    """
    [directory] = filetransfer.__path__
    return [sys.executable, "-I", "-c", _RUN_CHILD, directory, str(os.getpid())]


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
