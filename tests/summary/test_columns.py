"""SUMMARY of one column of a file of rows, and of a file after some of its lines."""

import math
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from measuring import NUMERAL, assert_statistics, summarise

from filetransfer.errors import Invalid
from filetransfer.summary import blocks
from filetransfer.summary.blocks import NotANumber
from filetransfer.summary.process import Selection, Statistics

Fault = tuple[int, int]

# ---------------------------------------------------------------------- the oracle


class Refused(Exception):
    """Carries the offset of what is at fault."""


def find_row_start(octets: bytes, skip: int) -> int:
    start = 3 if octets.startswith(b"\xef\xbb\xbf") and not skip else 0
    for _ in range(skip):
        start = octets.find(b"\n", start) + 1 or len(octets)
    return start


def read_row(octets: bytes, start: int, delimiter: bytes) -> tuple[list[tuple[int, bytes]], int]:
    """Give a row's fields with their offsets, and the offset after its end; octet by octet."""
    fields, position = [], start
    while True:
        first, content = position, b""
        if octets[position : position + 1] == b'"':
            position += 1
            while octets[position : position + 2] == b'""' or octets[position] != ord('"'):
                content += octets[position : position + 1]
                position += 1 + (octets[position : position + 2] == b'""')
            position += 1
        else:
            while not octets.startswith((delimiter, b"\r", b"\n"), position):
                content += octets[position : position + 1]
                position += 1
        fields.append((first, content))
        if octets.startswith(delimiter, position):
            position += len(delimiter)
            continue
        while octets[position] == ord("\r"):
            position += 1
        if octets[position] != ord("\n"):
            raise IndexError
        return (
            [] if fields == [(start, b"")] and octets[start] != ord('"') else fields
        ), position + 1


def read_by_the_book(
    octets: bytes, max_row: int, column: int | str, delimiter: str, skip: int
) -> list[float] | Fault:
    """Give the numbers of a column, or line and octet of what is at fault."""
    index = column - 1 if isinstance(column, int) else None
    numbers: list[float] = []
    position = find_row_start(octets, skip)
    ended = octets + b"\n"
    try:
        while position < len(octets):
            start = position
            try:
                row, position = read_row(ended, start, delimiter.encode())
            except IndexError:
                raise Refused(start) from None
            if position - start > max_row + 1:
                raise Refused(start)
            if not row:
                continue
            if index is None:
                names = [field.decode("utf-8", "replace").strip() for _, field in row]
                if names.count(str(column).strip()) != 1:
                    raise Refused(start)
                index = names.index(str(column).strip())
                continue
            if index >= len(row):
                raise Refused(start)
            offset, field = row[index]
            token = field.strip(b" \t")
            if not NUMERAL.fullmatch(token) or math.isinf(float(token)):
                raise Refused(offset)
            numbers.append(float(token))
        if not numbers:
            raise Refused(len(octets))
    except Refused as refusal:
        [offset] = refusal.args
        return octets.count(b"\n", 0, offset) + 1, offset
    return numbers


# ---------------------------------------------------------------------- examples

THREE = Statistics(3, 3.0, 1.0, 2.0, 6.0, math.sqrt(2 / 3))


@pytest.mark.parametrize(
    ("octets", "column", "delimiter", "skip"),
    [
        (b"1,a\n2,b\n3,c\n", 1, None, 0),
        (b"a,1\nb,2\nc,3", 2, None, 0),
        (b"a,1\r\nb,2\r\nc,3\r\n", 2, None, 0),
        (b"a;1\nb;2\nc;3\n", 2, ";", 0),
        (b"a\t 1\nb\t+2.\nc\t03 \n", 2, "\t", 0),
        (b"a 1\nb 2\nc 3\n", 2, " ", 0),
        ("a\u00a71\nb\u00a72\nc\u00a73\n".encode(), 2, "\u00a7", 0),
        (b"\n\r\n1\n\n2\n3\n\n", 1, None, 0),
        (b"\xef\xbb\xbf1\n2\n3\n", 1, None, 0),
        (b'"1",\n"2",\n"3",\n', 1, None, 0),
        (b'"a, ""b""\n,c",1\n,2\n"\r\n",3\n', 2, None, 0),
        (b'5" pipe,1\n,2\n,3\n', 2, None, 0),
        (b"\xff,1\n\xc2,2\n\xed\xa0\x80,3\n", 2, None, 0),
        (b"kg,m\n1,x\n2,\n3,\n", "kg", None, 0),
        ("kg,m²\n,1\n,2\n,3\n".encode(), "m²", None, 0),
        (b'kg, "m" \n,1\n,2\n,3\n', '"m"', None, 0),
        (b'"1,5";"a ""b"" c"\n;1\n;2\n;3\n', 'a "b" c', ";", 0),
        (b"\n\r\n7,8\n1,\n2,\n3,\n", "7", None, 0),
        (b"\xef\xbb\xbfkg\n1\n2\n3\n", "kg", None, 0),
        (b"from\nsomewhere\nkg\n1\n2\n3\n", "kg", None, 2),
        (b"kg\n1\n2\n3\n", 1, None, 1),
        # Without a column, too.
        (b"kg\n1 2\n3\n", None, None, 1),
        (b"what,\nfor\n1,2,3\n", None, ",", 2),
        (b"\xef\xbb\xbf\xff\n1\n2\n3\n", None, None, 1),
    ],
)
def test_what_is_selected(
    octets: bytes, column: int | str | None, delimiter: str | None, skip: int
) -> None:
    Selection(column, delimiter, skip)

    assert summarise(octets, "simdjson", None, column, delimiter, skip) == THREE


@pytest.mark.parametrize(
    ("octets", "column", "delimiter", "skip", "line", "octet", "reason"),
    [
        (b"1,2\n3,x\n", 2, None, 0, 2, 6, "'x' is not a finite decimal number"),
        (b"1,2\n3,\n", 2, None, 0, 2, 6, "'' is not a finite decimal number"),
        (b"1,2\n3\n", 2, None, 0, 2, 4, "the row has 1 columns, not 2"),
        (b"1,2\n", 2**63 - 1, None, 0, 1, 0, "the row has 2 columns, not 9223372036854775807"),
        (b"1,2\n3,1e999\n", 2, None, 0, 2, 6, "'1e999' is too large"),
        (b"1,2\n3,1_0\n", 2, None, 0, 2, 6, "'1_0' is not a finite decimal number"),
        (b"1,2\n3,nan\n", 2, None, 0, 2, 6, "'nan' is not a finite decimal number"),
        (b"1,2\n3,1\x0b\n", 2, None, 0, 2, 6, r"'1\\x0b' is not a finite decimal number"),
        (
            "1,2\n3,\u0661\n".encode(),
            2,
            None,
            0,
            2,
            6,
            r"'\\xd9\\xa1' is not a finite decimal number",
        ),
        (
            b'1,2\n"a\n\xc3\xa4,b","1\n2"\n',
            2,
            None,
            0,
            3,
            13,
            r"'1\\n2' is not a finite decimal number",
        ),
        (b'1,2\n3,"1\n"\n', 2, None, 0, 2, 6, r"'1\\n' is not a finite decimal number"),
        (b'1,2\n3,"1,000"\n', 2, None, 0, 2, 6, "'1,000' is not a finite decimal number"),
        (b'1,2\n"3"4,5\n', 2, None, 0, 2, 4, "a malformed row: "),
        (b'1,2\n"3\n4,5\n', 2, None, 0, 2, 4, "a malformed row: unexpected end of data"),
        ('1\u00a72\n"3"4\u00a75\n'.encode(), 2, "\u00a7", 0, 2, 5, r"a malformed row: .*\\xa7"),
        (b"1,2\r3,4\n", 2, None, 0, 1, 0, "a malformed row: "),
        (b"a,b\n1,2\n", "c", None, 0, 1, 0, "no columns have the name 'c'"),
        (b"x\na,a\n1,2\n", "a", None, 1, 2, 2, "2 columns have the name 'a'"),
        (b"a,b\n", "a", None, 0, 2, 4, "there is no number"),
        (b"", "a", None, 0, 1, 0, "there is no number"),
        (b"1\n2\n", 1, None, 2, 3, 4, "there is no number"),
        (b"1\n2", 1, None, 3, 2, 3, "there is no number"),
        (b"1\n2", None, None, 2**63 - 1, 2, 3, "there is no number"),
        (b"a\n1\nx\n", None, None, 1, 3, 4, "'x' is not a finite decimal number"),
    ],
)
def test_what_is_refused(
    octets: bytes,
    column: int | str | None,
    delimiter: str | None,
    skip: int,
    line: int,
    octet: int,
    reason: str,
) -> None:
    with pytest.raises(NotANumber, match=reason) as caught:
        summarise(octets, "simdjson", None, column, delimiter, skip)

    assert (caught.value.line, caught.value.octet) == (line, octet)
    assert caught.value.reason.isascii()
    assert caught.value.reason.isprintable()


@pytest.mark.parametrize("quote", [b"", b'"'])
def test_the_longest_row(quote: bytes) -> None:
    longest = b"1," + quote + b"x" * (blocks.MAX_NUMERAL - 2 - 2 * len(quote)) + quote + b"\n"

    assert summarise(b"1\n" + longest * 3, column=1).count == 4
    assert summarise(longest[:-1], column=1).count == 1
    for octets in (b"1\n1" + longest, b"1\n1" + longest + b"x", b"1\n1" + longest[:-1]):
        with pytest.raises(NotANumber, match="a row of more than 262143 octets") as caught:
            summarise(octets, column=1)
        assert (caught.value.line, caught.value.octet) == (2, 2)


def test_a_row_that_never_ends() -> None:
    with pytest.raises(NotANumber, match="a row of more than 262143 octets") as caught:
        summarise(b"1,2\n" + b'"\n",' * 200_000, column=1)

    assert (caught.value.line, caught.value.octet) == (2, 4)


@pytest.mark.parametrize(
    ("column", "delimiter"),
    [
        (1, '"'),
        (1, "\n"),
        (1, "\r"),
        (1, "\0"),
        (None, ";"),
        (None, "1"),
    ],
)
def test_what_cannot_be_selected(column: int | str | None, delimiter: str | None) -> None:
    with pytest.raises(Invalid):
        Selection(column, delimiter)


# ---------------------------------------------------------------------- any octets

TOKENS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**66), 2**66).map(str),
    st.sampled_from(["+1", ".5", "5.", "01", " 7 ", "\t8"]),
).map(str.encode)
TEXTS = st.sampled_from([b"", b"a", b"kg", "m²".encode(), b'5" pipe', b"\xff", b" "])
QUOTED = st.sampled_from([b"", b"a", b"\n", b"\r\n", b'""', b",", b";", "§".encode(), b"x\n\ny"])


@st.composite
def files_of_rows(draw: st.DrawFn) -> bytes:
    """Files that are mostly legal, with numbers in the second of three columns."""
    delimiter = draw(st.sampled_from([b",", b";", "§".encode()]))
    quoted = QUOTED.map(lambda octets: b'"' + octets + b'"')
    numbers = TOKENS | TOKENS.map(lambda octets: b'"' + octets + b'"')
    others = TEXTS | quoted
    octets = draw(st.sampled_from([b"", b"\xef\xbb\xbf", b"a,kg,b\n", b"a;kg;b\r\n"]))
    for _ in range(draw(st.integers(0, 12))):
        fields = [draw(others), draw(numbers), draw(others)]
        octets += delimiter.join(fields) + draw(st.sampled_from([b"\n", b"\r\n", b"\n\n"]))
    return octets


ANY_OCTETS = st.lists(
    st.sampled_from([b"1", b"-2.5", b"x", b",", b",", b";", b'"', b"\n", b"\n", b"\r", b"\r\n"])
    | st.sampled_from(
        ["§".encode(), b"\xc2", b"\xa7", b"\0", b" ", b"kg", b"\xef\xbb\xbf", b"1e999"]
    ),
    max_size=30,
).map(b"".join)


@settings(deadline=None, max_examples=400)  # The machine may be busy.
@given(
    octets=files_of_rows() | ANY_OCTETS | st.binary(max_size=40),
    max_row=st.sampled_from([3, 7, 16, 50, 2**18 - 1]),
    column=st.sampled_from([1, 2, 2, 3, "kg", "", "1"]),
    delimiter=st.sampled_from([",", ";", "§"]),
    skip=st.sampled_from([0, 0, 0, 1, 2, 5]),
)
@example(octets=b'1\n"2\n3\n', max_row=3, column=1, delimiter=",", skip=0)
@example(octets=b'1\n"2"\n3\n"4"x', max_row=7, column=1, delimiter=",", skip=0)
@example(octets=b"1\r\r\n2\r", max_row=3, column=1, delimiter=",", skip=0)
@example(octets=b'"kg\n"\n1\n', max_row=7, column="kg", delimiter=",", skip=0)
def test_any_octets_as_by_the_book(
    octets: bytes, max_row: int, column: int | str, delimiter: str, skip: int
) -> None:
    expected = read_by_the_book(octets, max_row, column, delimiter, skip)
    if isinstance(expected, list):
        found = summarise(octets, "simdjson", max_row, column, delimiter, skip)
        assert_statistics(found, expected)
    else:
        with pytest.raises(NotANumber) as caught:
            summarise(octets, "simdjson", max_row, column, delimiter, skip)
        assert (caught.value.line, caught.value.octet) == expected


@given(octets=ANY_OCTETS, skip=st.integers(0, 6), max_numeral=st.sampled_from([3, 16, 2**18 - 1]))
def test_skipped_lines_count_for_nothing(octets: bytes, skip: int, max_numeral: int) -> None:
    """What is left is a file of its own, but for the byte-order mark that a file may have."""
    start = find_row_start(octets, skip)
    lines = octets.count(b"\n", 0, start)
    rest = octets[start:]
    if rest.startswith(b"\xef\xbb\xbf") and skip:
        return
    try:
        expected = summarise(rest if skip else octets, "simdjson", max_numeral)
    except NotANumber as error:
        moved = (error.line + lines, error.octet + start) if skip else (error.line, error.octet)
        with pytest.raises(NotANumber, match=re.escape(error.reason)) as caught:
            summarise(octets, "simdjson", max_numeral, skip=skip)
        assert (caught.value.line, caught.value.octet) == moved
    else:
        assert summarise(octets, "simdjson", max_numeral, skip=skip) == expected
