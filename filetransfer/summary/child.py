"""The child process of SUMMARY: reads a file of numbers in blocks and measures them.

It is started before there is a file to measure, or when there is one; it measures one, and ends. One
line on standard output is its answer::

    done COUNT MAX MIN MEAN SUM STDDEV
    refused LINE OCTET REASON ...

How the numbers flow: `blocks` cuts the file after separators; `numerals` makes floats of a block, or
`columns` where one column is asked for; the floats of a block become `Moments`, and these are added
up in a `Total`: exact integers, so that nothing overflows, underflows or cancels however large the
file is.

Of ten million mixed numbers' 230 ms, 160 are the JSON parser's, 48 its copying of the result, 12 the
kernel's reading, 10 the measuring, and 25 more the start (an interpreter 11, simdjson 11).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing's own would cost its import, 10 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from filetransfer.summary.blocks import Blocks
    from filetransfer.summary.numerals import Floats

DONE = "done"
REFUSED = "refused"

MAX_SELECTION = 2**17
"""Octets: a selection comes from a request's head, which is half as long at most."""


def summarise(
    descriptor: int,
    column: int | str | None = None,
    delimiter: str | None = None,
    skip: int = 0,
    *,
    is_wanted: Callable[[], bool] = lambda: True,
) -> tuple[int, float, float, float, float, float]:
    """Measures the numbers of a file in one pass, in bounded memory.

    Args:
        descriptor: a regular file; its position is neither used nor moved.
        column: where the numbers are, as `filetransfer.summary.process.Selection` says, and
        delimiter: what separates columns, and
        skip: lines at the front to leave out.
        is_wanted: asked before each block.

    Returns:
        count, max, min, mean, sum and standard deviation, as `filetransfer.summary.process.Statistics`
        describes them.

    Raises:
        NotANumber: something in it is not a number, or it holds none.
        InterruptedError: it was no longer wanted.
        OSError: reading failed.
    """
    from filetransfer.summary import blocks
    from filetransfer.summary.moments import Total, measure

    size = os.fstat(descriptor).st_size
    total = Total()
    try:
        source, parse = choose_way(descriptor, size, column, delimiter, skip)
        for offset, block in source:
            if not is_wanted():
                raise InterruptedError("the summary is no longer wanted")
            numbers = parse(offset, block)
            if len(numbers):
                total.add(measure(numbers))
        if not total.count:
            raise blocks.Unparsable(size, "there is no number in the file")
    except blocks.Unparsable as refusal:
        line = 1 + blocks.count_newlines(descriptor, refusal.octet)
        raise blocks.NotANumber(line, refusal.octet, refusal.reason) from None
    return total.finish()


def choose_way(
    descriptor: int, size: int, column: int | str | None, delimiter: str | None, skip: int
) -> tuple[Blocks, Callable[[int, memoryview], Floats]]:
    """Gives the blocks of a file, and what parses them."""
    from filetransfer.summary import blocks

    start = blocks.find_start(descriptor, size, skip)
    if column is not None:
        from filetransfer.summary.columns import ColumnBlocks

        source = blocks.Blocks(descriptor, start, size, b"\n")
        return source, ColumnBlocks(source, column, delimiter or ",").parse

    from filetransfer.summary import numerals

    is_small = size <= numerals.SMALL_FILE
    parse = numerals.parse_exactly if is_small else numerals.JSONBlocks().parse
    return blocks.Blocks(descriptor, start, size), parse


def restrict_process() -> None:
    """Takes from this process what reading numbers does not need."""
    import resource
    import signal

    # Ctrl-C goes to the whole foreground group; it is for the daemon to drain or end its children.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(10)
    # Where numpy is installed numkong would import it, which costs 60 ms.
    sys.modules["numpy"] = None  # type: ignore[assignment]
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Measured: 37 MiB in memory at most. A fault ends here, not in the machine's swap.
    _, most = resource.getrlimit(resource.RLIMIT_DATA)
    soft = 2**27 if most == resource.RLIM_INFINITY else min(2**27, most)
    resource.setrlimit(resource.RLIMIT_DATA, (soft, most))


def answer(descriptor: int, parent: int, selection: bytes) -> str:
    """Gives the line that tells about a file, working only while `parent` is our parent process.

    Args:
        descriptor: the file.
        parent: the process that wants to know.
        selection: column, delimiter and skip, as marshal writes them.
    """
    import marshal

    from filetransfer.summary.blocks import NotANumber

    try:
        # A look at the parent takes 0.1 us a block, and unlike a signal on its death has no race.
        numbers = summarise(
            descriptor,
            *marshal.loads(selection),  # noqa: S302 - from our parent
            is_wanted=lambda: os.getppid() == parent,
        )
    except NotANumber as refusal:
        return f"{REFUSED} {refusal.line} {refusal.octet} {refusal.reason}\n"
    return " ".join([DONE, *map(repr, numbers)]) + "\n"


def wait_for_request() -> tuple[int, bytes] | None:
    """Waits at descriptor 0 for a file and a selection; loads in the meantime what may be of use.

    Returns:
        The file's descriptor and the selection; None if there will be no request.
    """
    import select
    import socket

    with socket.socket(fileno=0) as asking:
        if not select.select([asking], [], [], 0)[0]:
            from filetransfer.summary import moments, numerals  # noqa: F401

            numerals.load_json_parser()
        selection, descriptors, _, _ = socket.recv_fds(asking, MAX_SELECTION, 1)
    return (descriptors[0], selection) if descriptors else None


def main(arguments: list[str]) -> None:  # pragma: no cover - coverage does not survive _exit
    """Answers on descriptor 1 about the file that is asked for at descriptor 0."""
    restrict_process()
    (parent,) = arguments
    request = wait_for_request()
    if request is not None:
        descriptor, selection = request
        os.write(1, answer(descriptor, int(parent), selection).encode("ascii"))
    # Taking the interpreter apart would take longer.
    os._exit(0)
