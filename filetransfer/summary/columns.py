"""From rows to floats: one column of a file of rows.

Rows are lines, and fields are separated by a delimiter. Quotes are as in CSV (RFC 4180): a field that
begins with a quote ends with one, and may hold delimiters, newlines, and quotes twice. Lines without
an octet are ignored. The column's field of every row must be a number as `numerals` knows them, with
blanks and tabs around it if need be.

The csv module reads a block as a whole (70 MB/s for three fields a row, float() included). Where that
fails it does so row by row: the rule itself, and the only place that refuses. A row that its block
does not have whole (there is a newline in quotes) comes again at the front of the next block.
"""

from __future__ import annotations

import csv
import math
import re
from array import array
from itertools import islice

from filetransfer.summary import blocks
from filetransfer.summary.blocks import Blocks, Unparsable
from filetransfer.summary.numerals import IN_NUMERALS, find_fault, show

TYPE_CHECKING = False  # typing's own would cost its import, 10 ms
if TYPE_CHECKING:
    from _csv import Reader

LEGAL = IN_NUMERALS + b" \t"


class ColumnBlocks:
    """Parses blocks of lines.

    Args:
        source: gives the blocks.
        column: its number, from 1 on, or its name in the first row that is not empty.
        delimiter: one character.
    """

    def __init__(self, source: Blocks, column: int | str, delimiter: str) -> None:
        # The limit of rows is enough.
        csv.field_size_limit(blocks.MAX_NUMERAL + 1)
        self._source = source
        self._delimiter = delimiter
        self._name = column if isinstance(column, str) else None
        self._index = column - 1 if isinstance(column, int) else None

    def parse(self, offset: int, block: memoryview) -> array[float]:
        """Parses a block, row by row if it must.

        Raises:
            Unparsable: at the first row that has no such field, or whose field is not a number; or
                there is no column with that name.
        """
        lines = split_lines(block)
        numbers = self._parse_quickly(lines)
        return self._parse_rows(offset, lines) if numbers is None else numbers

    def _parse_quickly(self, lines: list[str]) -> array[float] | None:
        index = self._index
        if index is None:
            return None
        try:
            fields = [row[index] for row in self._read(lines) if row]
            numbers = array("d", map(float, fields))
        except (IndexError, ValueError, csv.Error):
            return None
        # float() takes ``1_000``, ``nan``, ``infinity`` and other alphabets' digits.
        if encode("".join(fields)).translate(None, LEGAL) or not all(map(math.isfinite, numbers)):
            return None
        return numbers

    def _parse_rows(self, offset: int, lines: list[str]) -> array[float]:
        numbers = array("d")
        reader = self._read(lines)
        first, start, index = 0, offset, self._index
        while True:
            try:
                row = next(reader, None)
            except csv.Error as error:
                if reader.line_num < len(lines) or self._source.is_last:
                    raise Unparsable(start, f"a malformed row: {ascii(str(error))[1:-1]}") from None
                self._source.hold_back(measure_lines(lines[first:]))
                return numbers
            if row is None:
                return numbers
            row_lines = lines[first : reader.line_num]
            if row:
                if index is None:
                    self._index = index = self._find_column(start, row)
                else:
                    numbers.append(self._read_number(index, start, row, row_lines))
            first += len(row_lines)
            start += measure_lines(row_lines)

    def _find_column(self, start: int, header: list[str]) -> int:
        name = (self._name or "").strip()
        found = [index for index, field in enumerate(header) if field.strip() == name]
        if len(found) != 1:
            raise Unparsable(
                start, f"{len(found) or 'no'} columns have the name {show(encode(name))}"
            )
        return found[0]

    def _read_number(self, index: int, start: int, row: list[str], lines: list[str]) -> float:
        if index >= len(row):
            raise Unparsable(start, f"the row has {len(row)} columns, not {index + 1}")
        token = encode(row[index])
        fault = find_fault(token)
        if fault or token.translate(None, LEGAL):
            fault = fault or f"{show(token)} is not a finite decimal number"
            raise Unparsable(start + self._find_field("".join(lines), index), fault)
        return float(token)

    def _find_field(self, text: str, index: int) -> int:
        """Gives the octets before a field of the row at the front of a text."""
        delimiter = re.escape(self._delimiter)
        field = re.compile(rf'(?:"(?:[^"]|"")*"|[^{delimiter}]*){delimiter}')
        end = 0
        for match in islice(field.finditer(text), index):
            end = match.end()
        return len(encode(text[:end]))

    def _read(self, lines: list[str]) -> Reader:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)


def split_lines(block: memoryview) -> list[str]:
    """Gives the lines of a block as text, each with its newline; `encode` makes the same octets again."""
    text = str(block, "utf-8", "surrogateescape")
    return [line + "\n" for line in text[:-1].split("\n")]


def measure_lines(lines: list[str]) -> int:
    """Gives the octets of lines."""
    return len(encode("".join(lines)))


def encode(text: str) -> bytes:
    """Gives the octets of lines, or of a part of them."""
    return text.encode("utf-8", "surrogateescape")
