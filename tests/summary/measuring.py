"""How the tests have files of numbers measured, and what exact arithmetic says."""

import math
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction

import pytest

from filetransfer.summary import blocks, child, numerals
from filetransfer.summary.process import Statistics

NUMERAL = re.compile(rb"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")


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


def summarise(
    octets: bytes,
    way: str = "exactly",
    max_numeral: int | None = None,
    column: int | str | None = None,
    delimiter: str | None = None,
    skip: int = 0,
) -> Statistics:
    """Measure a file with a content."""
    with measuring(way, max_numeral), opened(octets) as descriptor:
        return Statistics(*child.summarise(descriptor, column, delimiter, skip))


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
