import hashlib

import pytest

from filetransfer.digests import DEFAULT_ALGORITHM, is_known_algorithm, start_digest
from filetransfer.errors import Unsupported

# Of no octets: the constants that the specifications give.
EMPTY = {
    "xxh3-128": "99aa06d3014798d86001c324468d497f",
    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}


@pytest.mark.parametrize("algorithm", EMPTY)
def test_of_nothing(algorithm: str) -> None:
    assert is_known_algorithm(algorithm)
    assert start_digest(algorithm).digest().hex() == EMPTY[algorithm]


@pytest.mark.parametrize("algorithm", EMPTY)
def test_pieces_of_any_kind_give_the_digest_of_the_whole(algorithm: str) -> None:
    whole, pieces = start_digest(algorithm), start_digest(algorithm)
    whole.update(b"abcdef")
    for piece in (b"ab", bytearray(b"cd"), memoryview(b"ef")):
        pieces.update(piece)
        pieces.digest()
    assert pieces.digest() == whole.digest()


def test_sha256_is_that_of_everybody() -> None:
    digest = start_digest("sha256")
    digest.update(b"abc")
    assert digest.digest() == hashlib.sha256(b"abc").digest()


def test_the_default_is_the_fast_one() -> None:
    assert start_digest().digest() == start_digest("xxh3-128").digest()
    assert DEFAULT_ALGORITHM == "xxh3-128"


def test_an_unknown_algorithm() -> None:
    assert not is_known_algorithm("md5")
    with pytest.raises(Unsupported, match="known are xxh3-128, sha256"):
        start_digest("md5")
