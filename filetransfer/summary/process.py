"""What the server needs of the child process: how to start it, and how to read its answer."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

import filetransfer
from filetransfer.summary import child
from filetransfer.summary.blocks import NotANumber

_RUN_CHILD = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from filetransfer.summary.child import main; main(sys.argv[2:])"
)


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

    It is told where the package is, because from a source tree ``-I`` would not find it.
    """
    root = Path(filetransfer.__file__).parent.parent
    return [sys.executable, "-I", "-c", _RUN_CHILD, str(root), str(os.getpid())]


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
