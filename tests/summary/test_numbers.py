"""SUMMARY of a file that holds nothing but numbers: what is one, and what the statistics are."""

import math
import os
import re
import sys
from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from measuring import NUMERAL, assert_statistics, measuring, opened, summarise

from filetransfer.summary import blocks, child, numerals
from filetransfer.summary.blocks import NotANumber
from filetransfer.summary.process import Statistics

# Each way octets become numbers: the rule itself, and two JSON parsers with the rule behind them.
WAYS = ["exactly", "simdjson", "msgspec"]


def read_by_the_book(octets: bytes, max_numeral: int) -> list[float] | tuple[int, int]:
    """Give the numbers of a file, or line and octet of what is not one."""
    start = 3 if octets.startswith(b"\xef\xbb\xbf") else 0
    numbers = []
    for match in re.compile(rb"[^ \t\r\n,]+").finditer(octets, start):
        token = match.group()
        if len(token) > max_numeral or not NUMERAL.fullmatch(token) or math.isinf(float(token)):
            return octets.count(b"\n", 0, match.start()) + 1, match.start()
        numbers.append(float(token))
    return numbers or (octets.count(b"\n") + 1, len(octets))


# ---------------------------------------------------------------------- what is a number


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("text", "number"),
    [
        (b"0", 0.0),
        (b"7", 7.0),
        (b"+1", 1.0),
        (b"-1", -1.0),
        (b".5", 0.5),
        (b"5.", 5.0),
        (b"-.5e-3", -0.0005),
        (b"+5.E+3", 5000.0),
        (b"007", 7.0),
        (b"1e5", 1e5),
        (b"1E0005", 1e5),
        (b"18446744073709551615", 2.0**64),
        (b"18446744073709551616", 2.0**64),
        (b"-9223372036854775809", -(2.0**63)),
        (b"9007199254740993", 9007199254740992.0),
        (b"9007199254740993.00000000000000000000000000000000001", 9007199254740994.0),
        (b"1.7976931348623157e308", sys.float_info.max),
        # More than the largest, but nearest to it.
        (b"179769313486231580793" + b"1" * 288, sys.float_info.max),
        (b"5e-324", 5e-324),
        (b"2.4703282292062328e-324", 5e-324),
        (b"2.4703282292062327e-324", 0.0),
        (b"1e-999999999999", 0.0),
        (b"0e999999999999", 0.0),
        (b"0.1", 0.1),
        (b"0.30000000000000004", 0.1 + 0.2),
    ],
)
def test_one_number(way: str, text: bytes, number: float) -> None:
    statistics = summarise(text, way)

    assert statistics == Statistics(1, number, number, number, number, 0.0)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "octets",
    [
        b"1\n2\n3",
        b"1\n2\n3\n",
        b"1\r\n2\r\n3\r\n",
        b"1\r2\r3\r",
        b"1 2 3",
        b"1\t2\t3\t",
        b"1,2,3",
        b"1,2,3,",
        b"1, 2, 3\r\n",
        b"\n\n1\n\n\n2\n   \n3\n\n",
        b",,1,,2,\n,3,,",
        b"  1 ,2\t,\t3  ",
        b"\xef\xbb\xbf1\n2\n3\n",
        b"\xef\xbb\xbf\r\n1\n2\n3\n",
    ],
)
def test_separators(way: str, octets: bytes) -> None:
    assert summarise(octets, way) == Statistics(3, 3.0, 1.0, 2.0, 6.0, math.sqrt(2 / 3))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "token",
    [
        *[b"inf", b"-inf", b"Infinity", b"nan", b"NaN", b"-nan"],
        *[
            b"0x1",
            b"1_000",
            b"1e",
            b"e5",
            b"1e+",
            b".",
            b"+",
            b"-",
            b"+-1",
            b"1.2.3",
            b"1-2",
            b".e5",
        ],
        *[b"1e309", b"-1e309", b"1e999999999999", b"9" * 400],
        # The smallest that rounds to infinity.
        str(2**1024 - 2**970).encode(),
        *[
            b"true",
            b"false",
            b"null",
            b'"1"',
            b"[1]",
            b"[2",
            b"3]",
            b"[]",
            b"[[]]",
            b"{}",
            b'{"a":1}',
        ],
        *[
            b"1;2",
            b"1\x002",
            b"\x00",
            b"\x0b",
            b"1\x0c",
            b"\x1c",
            b"\x7f",
            b"\x85",
            b"\xa0",
            b"\xff",
        ],
        *["\u0661".encode(), "1\u00a0".encode(), "\uff11".encode(), b"\xef\xbb\xbf1"],
        *[b"x" * 40, b"1\\", b"#1", b"'1'", b"$1", b"1%"],
    ],
)
def test_anything_else_is_refused_by_line_and_octet(way: str, token: bytes) -> None:
    for before in (b"", b"1\n", b"1\n\n2, 3 ", b"\xef\xbb\xbf4\r\n"):
        for after in (b"", b"\n", b" ", b" 5 x\n"):
            if token == b"\xef\xbb\xbf1" and not before:
                continue  # At the very start of a file this is the number 1.

            with pytest.raises(NotANumber) as caught:
                summarise(before + token + after, way)

            assert caught.value.line == 1 + before.count(b"\n")
            assert caught.value.octet == len(before)
            assert caught.value.reason.isascii()
            assert caught.value.reason.isprintable()
            assert len(caught.value.reason) < 200


def test_reasons() -> None:
    with pytest.raises(NotANumber, match=r"^line 2, octet 2: '1x' is not a finite decimal number$"):
        summarise(b"1\n1x")
    with pytest.raises(NotANumber, match=r"'1e400' is too large$"):
        summarise(b"1e400")
    with pytest.raises(NotANumber, match=r"'\\xffx{31}'\.\.\. is not a finite"):
        summarise(b"\xff" + b"x" * 50)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("octets", [b"", b"\n", b" ,\r\n\t\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\n"])
def test_no_number_is_refused(way: str, octets: bytes) -> None:
    with pytest.raises(NotANumber, match="no number") as caught:
        summarise(octets, way)

    assert (caught.value.line, caught.value.octet) == (1 + octets.count(b"\n"), len(octets))


@pytest.mark.parametrize("way", WAYS)
def test_the_longest_numeral(way: str) -> None:
    longest = b"0." + b"7" * (blocks.MAX_NUMERAL - 2)
    assert summarise(b"1\n" + longest, way).min == float(longest)
    assert summarise(longest + b"\n" + longest + b"\n1", way).count == 3

    for octets in (b"1\n%b7", b"1\n%b7\n", b"1\n%b7\nx"):
        with pytest.raises(NotANumber, match="more than 262143 octets") as caught:
            summarise(octets % longest, way)
        assert (caught.value.line, caught.value.octet) == (2, 2)


@pytest.mark.parametrize("way", WAYS)
def test_a_file_of_several_blocks(way: str) -> None:
    numbers = [(i * 7919) % 100_003 / 8 for i in range(5000)]
    for separator in ("\n", "\r\n", " ", "\n\n"):
        octets = separator.join(map(repr, numbers)).encode()

        assert_statistics(summarise(octets, way, max_numeral=4095), numbers)

        with pytest.raises(NotANumber) as caught:
            summarise(octets + b"\nx", way, max_numeral=4095)
        assert caught.value.octet == len(octets) + 1
        assert caught.value.line == octets.count(b"\n") + 2


@pytest.mark.parametrize(
    ("separator", "is_plain"),
    [
        *[("\n", True), ("\r\n", True), (",", True), (", ", True), ("\t,", True)],
        *[(" ", False), ("\t", False), ("\n\n", False), (",\r\n", False), (" , \n \n", False)],
    ],
)
def test_no_block_is_left_for_the_rule(
    monkeypatch: pytest.MonkeyPatch, separator: str, is_plain: bool
) -> None:
    """All separators go the fast ways; once the plain one has failed it is not tried again."""
    texts = []
    load_json_parser = numerals.load_json_parser

    def load_spy() -> Callable[[memoryview], object]:
        parse = load_json_parser()

        def spy(text: memoryview) -> object:
            texts.append(bytes(text))
            return parse(text)

        return spy

    monkeypatch.setattr(numerals, "load_json_parser", load_spy)
    monkeypatch.setattr(numerals, "parse_exactly", None)
    monkeypatch.setattr(numerals, "SMALL_FILE", -1)
    # Blocks end anywhere in a run of separators, and begin with what is left of it.
    monkeypatch.setattr(blocks, "MAX_NUMERAL", 61)
    numbers = [10 ** (i % 13) for i in range(1000)]
    with opened((separator.join(map(str, numbers)) + separator).encode()) as descriptor:
        turns = len(list(blocks.Blocks(descriptor, 0, os.fstat(descriptor).st_size)))
        assert child.summarise(descriptor)[0] == len(numbers)

    assert len(texts) == turns + (not is_plain)


def test_growth_and_shrinking_are_no_fault() -> None:
    with opened(b"1\n2\n3\n4") as descriptor:
        assert [bytes(block) for _, block in blocks.Blocks(descriptor, 0, 4)] == [
            b"1\n2\n",
            b"\n",
        ]
        assert [bytes(block) for _, block in blocks.Blocks(descriptor, 0, 9)] == [
            b"1\n2\n3\n",
            b"4\n",
        ]
        # The file may also shrink between a fault and the count of the lines before it.
        assert blocks.count_newlines(descriptor, 100) == 3


LEGAL_TOKENS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(2**66), 2**66).map(str),
    st.from_regex(
        r"[+-]?([0-9]{1,20}(\.[0-9]{0,25})?|\.[0-9]{1,25})([eE][+-]?[0-9]{1,3})?", fullmatch=True
    ),
).map(str.encode)
SEPARATOR_RUNS = st.one_of(
    st.sampled_from([b"\n", b"\r\n", b" ", b",", b", ", b"\n\n"]),
    st.text("\n\r\t ,", min_size=1, max_size=6).map(str.encode),
)


@st.composite
def files_of_numbers(draw: st.DrawFn) -> bytes:
    """Files that are mostly legal, with the same separator throughout or a new one each time."""
    tokens = draw(st.lists(LEGAL_TOKENS, max_size=30))
    runs = st.just(draw(SEPARATOR_RUNS)) if draw(st.booleans()) else SEPARATOR_RUNS
    octets = b"".join(token + draw(runs) for token in tokens)
    mark = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b"\n", b","]))
    return mark + (octets.rstrip(b"\n\r\t ,") if draw(st.booleans()) else octets)


ANY_OCTETS = st.lists(
    st.sampled_from(
        [bytes([octet]) for octet in b'0123456789+-.eE ,\n\r\t[]{}":tn_x\x00\x0b\x0c\xff']
    )
    | st.sampled_from(
        [b"1", b"2\n", b"-3.5", b"4e1,", b"\xef\xbb\xbf", b"inf", b"nan", b"null", b"true"]
    ),
    max_size=25,
).map(b"".join)


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)  # The machine may be busy.
@given(
    octets=files_of_numbers() | ANY_OCTETS | st.binary(max_size=40),
    max_numeral=st.sampled_from([3, 7, 16, 50, 2**18 - 1]),
)
@example(octets=b"1,[2,3],4", max_numeral=50)
@example(octets=b"1\n2 3 ", max_numeral=50)
@example(octets=b"12\r\n3\r\n", max_numeral=3)
@example(octets=b"1 2\n3\n", max_numeral=3)
@example(octets=b"-0\n-0.0", max_numeral=3)
def test_any_octets_as_by_the_book(way: str, octets: bytes, max_numeral: int) -> None:
    expected = read_by_the_book(octets, max_numeral)
    if isinstance(expected, list):
        assert_statistics(summarise(octets, way, max_numeral), expected)
    else:
        with pytest.raises(NotANumber) as caught:
            summarise(octets, way, max_numeral)
        assert (caught.value.line, caught.value.octet) == expected


# ---------------------------------------------------------------------- what the statistics are

FINITE = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize("way", WAYS)
@settings(deadline=None)  # The machine may be busy.
@given(
    numbers=st.one_of(
        st.lists(FINITE, min_size=1, max_size=60),
        st.lists(st.floats(1e307, 1.7976931348623157e308), min_size=1, max_size=60),
        st.lists(st.floats(-2.3e-308, 2.3e-308), min_size=1, max_size=60),
        # Far from 0 and close together: the difference of two large squares would be all noise.
        st.lists(st.integers(0, 9).map(lambda n: 1e15 + n), min_size=1, max_size=60),
        st.lists(st.integers(0, 9).map(lambda n: 1 + n * 2.0**-52), min_size=1, max_size=60),
    ),
    max_numeral=st.sampled_from([30, 100, 2**18 - 1]),
)
def test_statistics_are_exact_enough(way: str, numbers: list[float], max_numeral: int) -> None:
    octets = "\n".join(map(repr, numbers)).encode()

    assert_statistics(summarise(octets, way, max_numeral), numbers)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("max_numeral", [30, 2**18 - 1])
@pytest.mark.parametrize(
    "numbers",
    [
        [sys.float_info.max, sys.float_info.max, -sys.float_info.max, -sys.float_info.max],
        [sys.float_info.max] * 9,
        [-sys.float_info.max] * 9,
        [sys.float_info.max, -sys.float_info.max],
        [5e-324, 0.0, 0.0],
        [5e-324, 5e-324, 1e-323],
        [1e300, 1.0, -1e300],
        [1e308, 1e-308, 5e-324],
        [0.1] * 1000,
        [1e16, 1.0] * 500 + [-1e16] * 500,
    ],
)
def test_magnitudes(way: str, max_numeral: int, numbers: list[float]) -> None:
    octets = ",".join(map(repr, numbers)).encode()

    assert_statistics(summarise(octets, way, max_numeral), numbers)


@pytest.mark.parametrize("way", WAYS)
def test_negative_zero_is_zero(way: str) -> None:
    statistics = summarise(b"-0.0 -0\n", way)

    assert [
        math.copysign(1, value) for value in (statistics.max, statistics.min, statistics.mean)
    ] == [1, 1, 1]
    assert (math.copysign(1, statistics.sum), statistics.stddev) == (1, 0.0)


def test_it_is_asked_before_each_block_whether_it_is_wanted() -> None:
    answers = iter([True, True, False])
    with (
        measuring("simdjson", max_numeral=3),
        opened(b"1\n2\n" * 4) as descriptor,
        pytest.raises(InterruptedError),
    ):
        child.summarise(descriptor, is_wanted=lambda: next(answers))
