"""SUMMARY: what is a number, what the statistics are, and the child process that finds out."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filetransfer.summary import blocks, child, numerals
from filetransfer.summary.blocks import NotANumber
from filetransfer.summary.process import Statistics, child_arguments, parse_result

# Each way octets become numbers: the rule itself, and two JSON parsers with the rule behind them.
WAYS = ["exactly", "simdjson", "msgspec"]


@contextmanager
def measuring(way: str, max_numeral: int | None = None) -> Iterator[None]:
    """Make `child.summarise` go one way, in blocks as small as the test likes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numerals, "SMALL_FILE", 2**40 if way == "exactly" else -1)
        if way == "msgspec":
            patch.setitem(sys.modules, "simdjson", None)
        if max_numeral is not None:
            patch.setattr(blocks, "MAX_NUMERAL", max_numeral)
        yield


@contextmanager
def opened(octets: bytes) -> Iterator[int]:
    """Give the descriptor of a file with a content, at another position than its start."""
    descriptor = os.memfd_create("numbers")
    try:
        os.write(descriptor, octets)
        yield descriptor
    finally:
        os.close(descriptor)


def summarise(octets: bytes, way: str = "exactly", max_numeral: int | None = None) -> Statistics:
    with measuring(way, max_numeral), opened(octets) as descriptor:
        return Statistics(*child.summarise(descriptor))


# ---------------------------------------------------------------------- oracles

NUMERAL = re.compile(rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


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


def root(square: Fraction) -> float:
    """Give a square root to more than binary64's precision, whatever the magnitude."""
    return math.isqrt((square.numerator << 4800) // square.denominator) / (1 << 2400)


def assert_statistics(statistics: Statistics, numbers: list[float]) -> None:
    """Compare statistics with exact arithmetic."""
    exact = [Fraction(number) for number in numbers]
    total = sum(exact, Fraction())
    mean = total / len(exact)
    tolerance = sum(map(abs, exact), Fraction()) / len(exact) / 10**12
    assert statistics.count == len(numbers)
    assert statistics.max == max(numbers)
    assert statistics.min == min(numbers)
    # Where the exact mean lies between two denormals, the nearer is as near as can be.
    half_of_the_smallest = Fraction(1, 2**1075)
    assert abs(Fraction(statistics.mean) - mean) <= tolerance + half_of_the_smallest
    if math.isinf(statistics.sum):
        assert abs(total) >= (2 - Fraction(1, 2**53)) * 2**1023 - tolerance * len(exact)
        assert (statistics.sum > 0) == (total > 0)
    else:
        assert abs(Fraction(statistics.sum) - total) <= tolerance * len(exact)
    deviation = root(sum(((number - mean) ** 2 for number in exact), Fraction()) / len(exact))
    assert statistics.stddev == pytest.approx(deviation, rel=1e-12, abs=5e-324)


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
        turns = len(list(blocks.read_blocks(descriptor, os.fstat(descriptor).st_size)))
        assert child.summarise(descriptor)[0] == len(numbers)

    assert len(texts) == turns + (not is_plain)


def test_growth_and_shrinking_are_no_fault() -> None:
    with opened(b"1\n2\n3\n4") as descriptor:
        assert [bytes(block) for _, block in blocks.read_blocks(descriptor, 4)] == [
            b"1\n2\n",
            b"\n",
        ]
        assert [bytes(block) for _, block in blocks.read_blocks(descriptor, 9)] == [
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
        child.summarise(descriptor, lambda: next(answers))


# ---------------------------------------------------------------------- the answer of the child


def test_answer() -> None:
    with opened(b"10\n44\n24\n26") as descriptor:
        line = child.answer(descriptor, os.getppid())
    assert line == "done 4 44.0 10.0 26.0 104.0 12.083045973594572\n"
    assert parse_result(line.encode()) == Statistics(4, 44.0, 10.0, 26.0, 104.0, 12.083045973594572)


def test_answer_of_a_sum_that_overflows() -> None:
    with opened(b"1e308 " * 10) as descriptor:
        statistics = parse_result(child.answer(descriptor, os.getppid()).encode())
    assert statistics == Statistics(10, 1e308, 1e308, 1e308, math.inf, 0.0)


def test_answer_that_refuses() -> None:
    with opened(b"1\n2 two\xc3") as descriptor:
        line = child.answer(descriptor, os.getppid())
    assert line == "refused 2 4 'two\\xc3' is not a finite decimal number\n"
    with pytest.raises(NotANumber) as caught:
        parse_result(line.encode())
    assert (caught.value.line, caught.value.octet) == (2, 4)
    assert caught.value.reason == "'two\\xc3' is not a finite decimal number"


@pytest.mark.parametrize(
    "octets", [b"", b"done", b"done 1 2.0", b"refused", b"refused 1 x y", b"\xff", b"?"]
)
def test_no_result(octets: bytes) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        parse_result(octets)
    assert not isinstance(caught.value, NotANumber)


# ---------------------------------------------------------------------- the process


def run_child(path: Path, arguments: list[str] | None = None) -> tuple[bytes, bytes, int]:
    """Run a child as the server does, and give its output, complaint and exit status."""
    with path.open("rb") as file:
        result = subprocess.run(
            arguments or child_arguments(),
            stdin=file,
            capture_output=True,
            check=False,
            env={},
            cwd="/",
        )
    return result.stdout, result.stderr, result.returncode


def measure_child(path: Path) -> tuple[bytes, int]:
    """Run a child from a small process, and give its output and its memory at the peak in octets.

    A process counts what its parent had when it forked, and the tests have much.
    """
    code = (
        "import os, resource, subprocess, sys\n"
        f"subprocess.run([*{child_arguments()[:-1]}, str(os.getpid())], check=True)\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)"
    )
    output, complaint, status = run_child(path, [sys.executable, "-I", "-c", code])
    assert status == 0
    return output, int(complaint) * 1024


def test_child_of_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"10\n44\n24\n26\n")

    output, complaint, status = run_child(path)

    assert (complaint, status) == (b"", 0)
    assert parse_result(output).mean == 26.0


def test_child_that_refuses_has_done_its_work(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"ten\n")

    output, complaint, status = run_child(path)

    assert (complaint, status) == (b"", 0)
    with pytest.raises(NotANumber, match="line 1, octet 0: 'ten'"):
        parse_result(output)


MIB = 2**20


@pytest.mark.parametrize(
    ("piece", "times", "count"),
    [
        pytest.param(b"1\n" * MIB, 8, 8 * MIB, id="most numbers a block"),
        pytest.param(b"1\n" * 130_000 + b"+1\n", 30, 3_900_030, id="most numbers, by the rule"),
        pytest.param(b"1" + b" " * (32 * MIB), 1, 1, id="separators"),
        pytest.param(
            b"." + b"7" * (blocks.MAX_NUMERAL - 1) + b"\n", 100, 100, id="longest numerals"
        ),
    ],
)
def test_child_needs_less_than_64_mib(tmp_path: Path, piece: bytes, times: int, count: int) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(piece * times)

    output, peak = measure_child(path)

    assert parse_result(output).count == count
    assert MIB < peak < 64 * MIB


def test_child_refuses_one_long_line_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"1" * (100 * MIB))

    output, peak = measure_child(path)

    with pytest.raises(NotANumber, match="line 1, octet 0: a numeral of more than"):
        parse_result(output)
    assert MIB < peak < 64 * MIB


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"1\n" * MIB)
    nobody = "0"

    output, complaint, status = run_child(path, [*child_arguments()[:-1], nobody])

    assert (output, status) == (b"", 1)
    assert b"no longer wanted" in complaint


def run_code(code: str) -> list[str]:
    """Give what a fresh interpreter prints, as words."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    command = [sys.executable, "-I", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return result.stdout.split()


def test_child_starts_with_little() -> None:
    costly = {"dataclasses", "json", "numpy", "pathlib", "simdjson", "twisted", "typing"}

    modules = run_code(
        "import sys; before = set(sys.modules)\n"
        "from filetransfer.summary import child\n"
        "child.restrict_process()\n"
        "from filetransfer.summary import moments, numerals\n"
        "print(*(name for name in set(sys.modules) - before if sys.modules[name] is not None))"
    )

    assert not costly.intersection(modules)


def test_child_restricts_itself() -> None:
    values = run_code(
        "import os, resource, signal\n"
        "from filetransfer.summary import child\n"
        "child.restrict_process()\n"
        "print(os.nice(0), *resource.getrlimit(resource.RLIMIT_CORE),\n"
        "      resource.getrlimit(resource.RLIMIT_DATA)[0], signal.getsignal(signal.SIGINT).name)"
    )

    assert values == [str(min(19, os.nice(0) + 10)), "0", "0", str(2**27), "SIG_IGN"]
