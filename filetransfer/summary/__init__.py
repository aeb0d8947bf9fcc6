"""SUMMARY: statistics over a file of numbers, computed in a child process.

A file of numbers is text: finite decimal numerals (optional sign, digits with an optional fraction,
``.5`` and ``5.`` too, optional exponent), separated by runs of newlines, carriage returns, blanks,
tabs and commas. A run counts once, so blank lines, CRLF and the empty field of ``1,,2`` are all
just separators. A UTF-8 byte-order mark may stand at the very start. Anything else is refused.

A thread would hold the interpreter's lock for a whole block of numbers and stop the reactor; so the
work is done in a child process, which reads the opened file from its descriptor 0 and answers with
one line. Here is what the server needs of it: how to start it (`child_arguments`) and how to read
its answer (`parse_result`). What the child does is in `filetransfer.summary.child`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from filetransfer.summary import child
from filetransfer.summary.child import NotANumber

__all__ = [
    "NotANumber",
    "Statistics",
    "child_arguments",
    "parse_result",
]


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

    The child wants the opened file as descriptor 0 (any position: it reads from offset 0 by itself)
    and a pipe as descriptor 1; it needs no environment and no working directory. Call this in the
    process that will be its parent: the child ends when it is no longer that process's child.

    The module runs as a plain file and not with ``-m``: that would import the whole package, and
    from a source tree ``-I`` would not find it.
    """
    return [sys.executable, "-I", child.__file__, str(os.getpid())]


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
