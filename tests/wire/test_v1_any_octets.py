"""Any octets, split in any way, give the same messages or the same failure."""

from feeding import Failed
from hypothesis import given
from hypothesis import strategies as st
from oracle import ASKED, Drive, check_octets, check_requests, check_responses

NAMES = st.binary(max_size=31)
SIZES = st.integers(0, 12).map(lambda size: size.to_bytes(4, "big"))


def head(code: int) -> st.SearchStrategy[bytes]:
    return NAMES.map(lambda name: bytes([code << 5 | len(name)]) + name)


# Pieces of both languages, so that octets at random go beyond their first message.
PIECES = st.one_of(
    st.binary(max_size=12),
    head(1),
    head(3),
    st.tuples(head(0) | head(1) | head(2), SIZES, st.binary(max_size=12)).map(b"".join),
    st.sampled_from(
        [
            b"\x00",
            b"\x60",
            b"\x80",
            b"\xa0",
            b"\x41a\x01b",
            b"GET ",
            b"\x16\x03",
            b"\r\n",
            b"\xc2ok",
            b"Max: 3\nMin: 1\nAvg: 2\n",
            b"Max: 3\nMin: 1\nAvg: 2",
            b"\x4bsummary.txt\0\0\0\x15Max: 3\nMin: 1\nAvg: 2\n",
        ]
    ),
)
OCTETS = st.lists(PIECES, max_size=8).map(b"".join)


def drives(asked: st.SearchStrategy[object]) -> st.SearchStrategy[Drive]:
    return st.builds(
        Drive,
        asked=asked,
        cuts=st.lists(st.integers(0, 300), max_size=6),
        has_eof=st.booleans(),
        limit=st.integers(1, 20),
        moves_bodies=st.booleans(),
        discards_bodies=st.booleans(),
    )


@given(OCTETS, drives(st.none()))
def test_server(octets: bytes, how: Drive) -> None:
    happened = check_octets(octets, how)
    assert not any(isinstance(each, Failed) for each in happened[:-1])
    check_requests(happened)


@given(OCTETS, drives(st.lists(st.sampled_from(ASKED), max_size=8)))
def test_client(octets: bytes, how: Drive) -> None:
    assert how.asked is not None
    happened = check_octets(octets, how)
    assert not any(isinstance(each, Failed) for each in happened[:-1])
    check_responses(happened, how.asked)
