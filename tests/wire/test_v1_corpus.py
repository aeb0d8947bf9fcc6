"""The inputs that the fuzzer (fuzz_v1.py) found worth keeping."""

from pathlib import Path

import pytest
from oracle import check

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 20


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_input_of_the_fuzzer(path: Path) -> None:
    check(path.read_bytes())
