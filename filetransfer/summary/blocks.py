"""Reading a file in blocks that never cut a numeral, or a line, in two."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing's own would cost its import, 10 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NUMERAL = 2**18 - 1
"""Octets of the longest numeral taken, and of the longest row. With its separator it fills a block of
256 KiB. Blocks of 64 KiB and of 1 MiB were both slower, by 9 and 2 %: more turns through Python,
more misses of the cache."""

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


class Blocks:
    """Cuts a file into blocks that end after a separator.

    What follows the last separator is held and moves to the front of the next block, so no octet
    moves more than twice, whatever the file holds, and a piece of `MAX_NUMERAL` octets always fits.
    Never by mmap: a file that shrinks meanwhile would end the process by SIGBUS.

    Iterating gives the offset of a block and its octets, of which the last is a separator and the
    first begins a piece or is a separator. They are overwritten when the next block is asked for. It
    raises Unparsable when a piece is longer than `MAX_NUMERAL`, OSError when reading failed.

    Args:
        descriptor: a regular file; its position is neither used nor moved.
        start: the offset of the first octet to read.
        size: of the file; what it grows by later is ignored.
        separators: after which of them to cut.

    Attributes:
        is_last: whether the block that was given is the last.
    """

    def __init__(
        self, descriptor: int, start: int, size: int, separators: bytes = SEPARATORS
    ) -> None:
        self.is_last = False
        self._descriptor = descriptor
        self._size = size
        self._separators = separators
        self._capacity = MAX_NUMERAL + 1
        self._octets = bytearray(self._capacity + 1)
        self._view = memoryview(self._octets)
        # octets[:cut] are the block, which begins at offset in the file; octets[cut:end] are held.
        self._offset = start
        self._cut = self._end = 0

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        return self

    def __next__(self) -> tuple[int, memoryview]:
        if self.is_last:
            raise StopIteration
        held = self._end - self._cut
        self._octets[:held] = self._octets[self._cut : self._end]
        self._offset += self._cut
        self._cut, self._end = 0, held
        while self._cut == 0:
            self._check_room()
            self._read()
        return self._offset, self._view[: self._cut]

    def hold_back(self, count: int) -> None:
        """Takes back the last octets of the block, which is not the last: they will begin the next.

        Raises:
            Unparsable: the next could not be longer.
        """
        self._cut -= count
        if self._cut == 0:
            self._check_room()

    def _check_room(self) -> None:
        if self._end == self._capacity:
            piece = "numeral" if len(self._separators) > 1 else "row"
            raise Unparsable(self._offset, f"a {piece} of more than {MAX_NUMERAL} octets")

    def _read(self) -> None:
        end = self._end
        wanted = min(self._capacity, self._size - self._offset)
        count = 0
        if end < wanted:
            count = os.preadv(self._descriptor, [self._view[end:wanted]], self._offset + end)
        self._end += count
        if count:
            self._cut = find_last(self._separators, self._octets, self._end) + 1
        else:
            self.is_last = True
            self._octets[end] = NEWLINE
            self._cut = self._end = end + 1


def find_start(descriptor: int, size: int, skip: int) -> int:
    """Finds where reading starts: after `skip` lines, or else after a byte-order mark.

    Returns:
        An offset; `size` if there are no more lines than that.
    """
    if skip == 0:
        mark = os.pread(descriptor, len(BYTE_ORDER_MARK), 0)
        return len(BYTE_ORDER_MARK) if mark == BYTE_ORDER_MARK else 0
    offset = 0
    while octets := os.pread(descriptor, min(MAX_NUMERAL, size - offset), offset):
        newlines = octets.count(b"\n")
        if newlines >= skip:
            position = 0
            for _ in range(skip):
                position = octets.index(b"\n", position) + 1
            return offset + position
        skip -= newlines
        offset += len(octets)
    return size


def find_last(separators: bytes, octets: bytearray, end: int) -> int:
    """Finds the last separator before `end`; -1 if there is none.

    It is nearly always near: a search for all five through a whole block would cost 10 % of all.
    """
    near = max(0, end - 256)
    last = max(octets.rfind(separator, near, end) for separator in separators)
    if last < 0:
        last = max(octets.rfind(separator, 0, near) for separator in separators)
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
