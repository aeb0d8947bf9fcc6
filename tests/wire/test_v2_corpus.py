"""The inputs that the fuzzer (fuzz_v2.py) found worth keeping."""

from pathlib import Path

import pytest
from oracle_v2 import check

CORPUS = sorted((Path(__file__).parent / "corpus_v2").iterdir())


def test_there_is_a_corpus_of_version_2() -> None:
    assert len(CORPUS) >= 20


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_input_of_the_fuzzer_of_version_2(path: Path) -> None:
    check(path.read_bytes())
