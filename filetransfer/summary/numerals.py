"""From octets to floats, each the nearest binary64: numbers separated by runs of separators.

There are two ways. `JSONBlocks` rewrites the separators so that a block is a JSON array and lets a
JSON parser read it: 650 MB/s. JSON knows fewer numerals than we do (no ``+1``, ``.5``, ``5.``,
``01``) and the parser stops at 64-bit integers; a block it does not take, for whatever reason, goes
to `parse_exactly`: the rule itself, 40 to 85 MB/s, and the only place that refuses. Hence both ways
must agree on every block that JSON takes, and what JSON takes and we do not (``[``) is kept from it.
"""

from __future__ import annotations

import math
from array import array

from filetransfer.summary import blocks
from filetransfer.summary.blocks import SEPARATORS, Unparsable

TYPE_CHECKING = False  # typing's own would cost its import, 10 ms
if TYPE_CHECKING:
    from collections.abc import Callable

    from simdjson import Array

    Floats = array[float] | memoryview[float]

SMALL_FILE = 2**19
"""Octets up to which a file is parsed by the rule alone: loading a JSON parser takes as long."""

IN_NUMERALS = b"0123456789+-.eE"
LEGAL = IN_NUMERALS + SEPARATORS
COMMAS_TO_BLANKS = bytes.maketrans(b",", b" ")
NEWLINES_TO_COMMAS = bytes.maketrans(b"\n[", b",\0")
"""What JSON ignores, blanks, tabs and carriage returns, stays; an array in the array becomes illegal."""
TO_SPLIT = bytes.maketrans(b",[\v\f", b" \0\0\0")
"""Leaves what bytes.split() splits at, and what JSON takes, no more than separators and numerals."""

COMMA, BLANK = b", "
OPENING_BRACKET, CLOSING_BRACKET = b"[]"


def parse_exactly(offset: int, block: memoryview) -> array[float]:
    """Parses a block by the rule itself.

    Only once the octets are known to be legal may float() decide: it would take ``1_000``, ``nan``,
    ``infinity`` and other alphabets' digits, and split() would take the form feed. Both are linear
    in the length of a numeral: 0.1 ms for one of `blocks.MAX_NUMERAL` digits.

    Raises:
        Unparsable: at the first that is not a finite decimal numeral, or too large.
    """
    octets = bytes(block)
    if not octets.translate(None, LEGAL):
        try:
            numbers = list(map(float, octets.translate(COMMAS_TO_BLANKS).split()))
        except ValueError:
            pass
        else:
            if math.inf not in numbers and -math.inf not in numbers:
                return array("d", numbers)
    raise find_unparsable(offset, octets)


def find_unparsable(offset: int, octets: bytes) -> Unparsable:
    """Finds what is wrong in a block that is known to hold something wrong."""
    import re

    for match in re.finditer(rb"[^%b]+" % SEPARATORS, octets):
        if reason := find_fault(match.group()):
            return Unparsable(offset + match.start(), reason)
    raise AssertionError("a block was refused without a reason")  # pragma: no cover


def find_fault(token: bytes) -> str:
    """Says why something is no number, in ASCII and on one line; an empty text if it is one."""
    fault = ""
    try:
        if math.isinf(float(token)):
            fault = "is too large"
    except ValueError:
        fault = "is not a finite decimal number"
    if token.translate(None, LEGAL):
        fault = "is not a finite decimal number"
    return fault and f"{show(token)} {fault}"


def show(token: bytes) -> str:
    """Shows the beginning of what is in a file, in ASCII and on one line."""
    return ascii(token[:32])[1:] + ("..." if len(token) > 32 else "")


def load_json_parser() -> Callable[[bytes | memoryview], Floats]:
    """Loads a parser of JSON arrays of numbers, the fastest there is.

    pysimdjson hands out the numbers as one buffer, without a Python object each: 20 ns a number for
    ten million integers and 17-digit decimals in random order, where C++ from_chars takes 14.
    msgspec's list takes 60, lists of fastsimdjson 70 and fastnumbers 90. It has no wheels for Python
    3.14, though; msgspec has, and version 2 needs it anyway.

    Returns:
        A function that raises ValueError, TypeError or RuntimeError for what is not an array of
        numbers; but pysimdjson flattens an array within the array.
    """
    try:
        from simdjson import Parser
    except ImportError:
        from msgspec.json import Decoder

        decoder = Decoder(list[float])
        return lambda text: array("d", decoder.decode(text))

    parser = Parser()

    def parse(text: bytes | memoryview) -> Floats:
        parsed: Array = parser.parse(text)  # type: ignore[assignment]  # or a scalar: not for "["
        return memoryview(parsed.as_buffer(of_type="d")).cast("d")

    return parse


class JSONBlocks:
    r"""Parses blocks as JSON arrays.

    JSON ignores blanks, tabs and both line ends, so for most files it is enough to turn newlines
    into commas, and an array that does not become well-formed that way is no harm::

        block   1 \r \n 2 , blank 3 \n
        text  [ 1 \r  , 2 , blank 3 ]

    Where numbers are separated by blanks alone or by more than one newline or comma, the block is
    split and joined again. The former costs 0.01 ns an octet (stringzilla; bytes.translate takes
    0.4), the latter 40 ns a number, twice what the parser takes.

    Attributes:
        is_plain: the former has not failed yet.
    """

    def __init__(self) -> None:
        from stringzilla import translate

        self.translate = translate
        self.parse_json = load_json_parser()
        self.is_plain = True
        self.text = bytearray(blocks.MAX_NUMERAL + 2)
        self.text[0] = OPENING_BRACKET
        self.written = memoryview(self.text)[1:]

    def parse(self, offset: int, block: memoryview) -> Floats:
        """Parses a block, by `parse_exactly` if it must.

        Raises:
            Unparsable: as `parse_exactly`.
        """
        if self.is_plain:
            numbers = self.parse_text(self.write_plainly(block))
            if numbers is not None:
                return numbers
        joined = b",".join(bytes(block).translate(TO_SPLIT).split())
        numbers = self.parse_text(b"[%b]" % joined)
        if numbers is None:
            return parse_exactly(offset, block)
        self.is_plain = False
        return numbers

    def parse_text(self, text: bytes | memoryview) -> Floats | None:
        """Parses a text; None if it is not an array of numbers."""
        try:
            return self.parse_json(text)
        except (ValueError, TypeError, RuntimeError):
            return None

    def write_plainly(self, block: memoryview) -> memoryview:
        """Writes and gives a text with commas for newlines."""
        size = len(block)
        self.translate(block, NEWLINES_TO_COMMAS, out=self.written)
        # A file with CRLF is now and then cut between the two.
        if self.text[1] == COMMA:
            self.text[1] = BLANK
        # The bracket takes the place of a comma that only blanks follow, or else of the separator
        # that ends every block.
        last = self.text.rfind(COMMA, 1, size + 1)
        if self.text[last + 1 : size + 1].strip(b" \t\r"):
            last = size
        self.text[last] = CLOSING_BRACKET
        return memoryview(self.text)[: last + 1]
