"""Reading a file in blocks that never cut a numeral, or a line, in two."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own would cost its import, 10 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NUMERAL = 2**18 - 1
"""Octets of the longest numeral taken. With its separator it fills a block of 256 KiB. Blocks of 64 KiB
and of 1 MiB were both slower, by 9 and 2 %: more turns through Python, more misses of the cache."""

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SEPARATORS = b"\n ,\r\t"
NEWLINE = 10


class NotANumber(ValueError):
    """The file holds something else than numbers, or no number at all.

    Attributes:
        line: where, counted from 1 by the newlines before it.
        octet: where, the offset in the file of the first octet of what is not a number.
        reason: what is wrong there, in ASCII, on one line.
    """

    def __init__(self, line: int, octet: int, reason: str) -> None:
        super().__init__(f"line {line}, octet {octet}: {reason}")
        self.line = line
        self.octet = octet
        self.reason = reason


class Unparsable(Exception):
    """What `NotANumber` says, before the line is known: lines are not counted until they matter."""

    def __init__(self, octet: int, reason: str) -> None:
        super().__init__(octet, reason)
        self.octet = octet
        self.reason = reason


def read_blocks(descriptor: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """Cuts a file into blocks of whole numerals.

    Never by mmap: a file that shrinks meanwhile would end the process by SIGBUS.

    Args:
        descriptor: a regular file; its position is neither used nor moved.
        size: octets to read, 0 <= size; what the file grows by later is ignored.

    Yields:
        The offset of a block and its octets, of which the last is a separator and the first begins a
        numeral or is a separator. They are overwritten when the next block is asked for.

    Raises:
        Unparsable: a numeral is longer than `MAX_NUMERAL`.
        OSError: reading failed.
    """
    capacity = MAX_NUMERAL + 1
    octets = bytearray(capacity + 1)
    view = memoryview(octets)
    mark = os.pread(descriptor, len(BYTE_ORDER_MARK), 0)
    offset = len(BYTE_ORDER_MARK) if mark == BYTE_ORDER_MARK else 0
    held = 0
    while True:
        wanted = min(capacity, size - offset)
        count = os.preadv(descriptor, [view[held:wanted]], offset + held) if held < wanted else 0
        if count == 0:
            octets[held] = NEWLINE
            yield offset, view[: held + 1]
            return
        end = held + count
        cut = find_last_separator(octets, end) + 1
        if cut > 0:
            yield offset, view[:cut]
        elif end == capacity:
            raise Unparsable(offset, f"a numeral of more than {MAX_NUMERAL} octets")
        held = end - cut
        octets[:held] = octets[cut:end]
        offset += cut


def find_last_separator(octets: bytearray, end: int) -> int:
    """Finds the last separator before `end`; -1 if there is none.

    It is nearly always near: a search for all five through a whole block would cost 10 % of all.
    """
    near = max(0, end - 256)
    last = max(octets.rfind(separator, near, end) for separator in SEPARATORS)
    if last < 0:
        last = max(octets.rfind(separator, 0, near) for separator in SEPARATORS)
    return last


def count_newlines(descriptor: int, end: int) -> int:
    """Counts the newlines in the first `end` octets of a file, by reading them again."""
    count = offset = 0
    while offset < end:
        octets = os.pread(descriptor, min(MAX_NUMERAL, end - offset), offset)
        if not octets:
            break
        count += octets.count(b"\n")
        offset += len(octets)
    return count
