"""Entries of a listing: written, read in every split, and refused when they are none."""

from typing import Any

import msgspec
import pytest
from feeding import split_every_way
from hypothesis import given
from hypothesis import strategies as st
from packing import Pairs, Raw, pack

from filetransfer.errors import LocalProtocolError, RemoteProtocolError
from filetransfer.wire.listing import MAX_ENTRY_OCTETS, EntryDecoder, encode_entry
from filetransfer.wire.messages import Entry

FILE = Entry("a/b.txt", "file", 2**40, -1, 0o644, "e1")
DIRECTORY = Entry("a", "directory")
FIELDS = {
    "path": "a/b.txt",
    "kind": "file",
    "size": 2**40,
    "modified": -1,
    "mode": 0o644,
    "etag": "e1",
}


def read(*pieces: bytes) -> list[Entry]:
    decoder = EntryDecoder()
    entries = [entry for piece in pieces for entry in decoder.feed(piece)]
    decoder.close()
    return entries


def test_an_entry_is_a_map_of_what_is_known() -> None:
    assert encode_entry(FILE) == pack(FIELDS)
    assert encode_entry(DIRECTORY) == pack({"path": "a", "kind": "directory"})


def test_every_split_gives_the_same_entries() -> None:
    octets = encode_entry(DIRECTORY) + encode_entry(FILE)
    for pieces in split_every_way(octets):
        assert read(*pieces) == [DIRECTORY, FILE]


def test_no_octets_are_no_entries() -> None:
    assert read() == read(b"") == []


def test_an_entry_that_is_whole_is_given_before_the_next() -> None:
    decoder = EntryDecoder()
    assert decoder.feed(encode_entry(FILE) + b"\x82") == [FILE]
    assert decoder.feed(encode_entry(DIRECTORY)[1:]) == [DIRECTORY]


def test_a_list_that_ends_inside_an_entry_is_an_error() -> None:
    octets = encode_entry(FILE)
    for end in range(1, len(octets)):
        with pytest.raises(RemoteProtocolError, match="ends inside an entry"):
            read(octets[:end])


MAPS = (*range(0x80, 0x90), 0xDE, 0xDF)


@pytest.mark.parametrize(
    "value",
    [
        *(Raw(bytes([first])) for first in range(256) if first not in MAPS),
    ],
    ids=repr,
)
def test_what_is_no_map_is_no_entry(value: Any) -> None:
    with pytest.raises(RemoteProtocolError, match="no map"):
        read(pack(value) + bytes(300))


# One of each form, at its bounds.
VALUES = [
    0, 127, 128, 255, 256, 2**16, 2**32, 2**64 - 1, -1, -32, -33, -128, -129, -(2**15) - 1, -(2**31) - 1,
    True, False, 1.5, Raw(b"\xca" + bytes(4)),
    "", "a" * 31, "a" * 32, "a" * 256, "a" * 65_000, Raw(b"\xdb" + bytes(4)),
    b"", b"a" * 255, b"a" * 256, Raw(b"\xc6" + bytes(4)),
    [], [1] * 15, [1] * 16, Raw(b"\xdd\0\0\0\1\1"), [[], {}, [{}]],
    {}, {"a": 1}, {str(number): number for number in range(16)}, Raw(b"\xdf\0\0\0\1\xa1a\1"),
    *(Raw(bytes([0xD4 + power, 1]) + bytes(1 << power)) for power in range(5)),
    Raw(b"\xc7\3\1abc"), Raw(b"\xc8\0\3\1abc"), Raw(b"\xc9\0\0\0\3\1abc"),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=map(str, range(len(VALUES))))
def test_what_stands_under_an_unknown_key_is_stepped_over(value: Any) -> None:
    octets = pack({"unknown": value, "path": "a", "kind": "directory"})
    assert read(octets + encode_entry(FILE)) == [DIRECTORY, FILE]
    assert read(*(octets[index : index + 1] for index in range(len(octets)))) == [DIRECTORY]


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "file"},
        {"path": "a"},
        {"path": "a", "kind": "link"},
        {"path": b"a", "kind": "file"},
        {"path": "a", "kind": "file", "size": -1},
        {"path": "a", "kind": "file", "size": 2**63},
        {"path": "a", "kind": "file", "size": None},
        {"path": "a", "kind": "file", "etag": ""},
        Pairs([(1, 2)]),
        {"path": Raw(b"\xa1\xff"), "kind": "file"},
        {"path": "a", "kind": "file", "x": [[[[[[[[]]]]]]]]},
        {"path": "a", "kind": "file", "x": Raw(b"\xc1")},
    ],
    ids=repr,
)
def test_an_entry_that_makes_no_sense_is_an_error(fields: Any) -> None:
    with pytest.raises(RemoteProtocolError):
        read(pack(fields))


def make_entry(size: int) -> bytes:
    """Give an entry of so many octets."""
    empty = len(pack({"path": "a", "kind": "file", "x": b"a" * 65_000})) - 65_000
    return pack({"path": "a", "kind": "file", "x": b"a" * (size - empty)})


def test_an_entry_is_as_large_as_a_head_at_the_most() -> None:
    assert read(encode_entry(FILE), make_entry(MAX_ENTRY_OCTETS)) == [FILE, Entry("a", "file")]
    with pytest.raises(RemoteProtocolError, match="too large"):
        read(encode_entry(FILE), make_entry(MAX_ENTRY_OCTETS + 1))


@pytest.mark.parametrize("first", [b"\xdb", b"\xc6", b"\xc9"])
def test_an_entry_that_will_be_too_large_is_not_waited_for(first: bytes) -> None:
    octets = b"\x81\xa1x" + first + b"\xff\xff\xff\xff"
    with pytest.raises(RemoteProtocolError, match="too large"):
        EntryDecoder().feed(octets + bytes(MAX_ENTRY_OCTETS + 1 - len(octets)))


@pytest.mark.parametrize("first", [b"\xdf", b"\x81\xa1x\xdf", b"\x81\xa1x\xdd"])
def test_what_claims_many_items_allocates_nothing(first: bytes) -> None:
    decoder = EntryDecoder()
    with pytest.raises(RemoteProtocolError, match="too large"):
        decoder.feed(first + b"\xff\xff\xff\xff")


def test_a_key_that_cannot_be_one_is_an_error() -> None:
    with pytest.raises(RemoteProtocolError):
        read(b"\x81\x91\xa1x\xa1y")


def test_an_etag_has_as_many_octets_as_it_may() -> None:
    assert read(pack({**FIELDS, "etag": "\u00e9" * 32}))
    with pytest.raises(RemoteProtocolError, match="too long"):
        read(pack({**FIELDS, "etag": "\u00e9" * 33}))


def test_what_cannot_be_said_is_not_written() -> None:
    with pytest.raises(LocalProtocolError):
        encode_entry(Entry("a" * MAX_ENTRY_OCTETS, "file"))
    with pytest.raises(LocalProtocolError):
        encode_entry(Entry("\ud800", "file"))
    with pytest.raises(LocalProtocolError):
        encode_entry(Entry("a", "file", 2**64))


@given(
    st.lists(
        st.builds(
            Entry,
            path=st.text(max_size=300).filter(lambda text: "\ud800" not in text),
            kind=st.sampled_from(["file", "directory", "other"]),
            size=st.none() | st.integers(0, 2**63 - 1),
            modified=st.none() | st.integers(-(2**63), 2**63 - 1),
            mode=st.none() | st.integers(0, 0o777),
            etag=st.none() | st.text("abcdef0123456789", min_size=1, max_size=64),
        ),
        max_size=5,
    ),
    st.integers(1, 1000),
)
def test_what_was_written_is_read(entries: list[Entry], step: int) -> None:
    octets = b"".join(map(encode_entry, entries))
    assert read(*(octets[at : at + step] for at in range(0, len(octets), step))) == entries


@given(st.binary(max_size=200), st.integers(1, 200))
def test_any_octets_give_the_same_in_any_split(octets: bytes, cut: int) -> None:
    assert outcome(octets) == outcome(octets[:cut], octets[cut:])


def outcome(*pieces: bytes) -> list[Entry] | None:
    try:
        return read(*pieces)
    except RemoteProtocolError:
        return None


VALUE = st.recursive(
    st.integers(-(2**63), 2**64 - 1)
    | st.text(max_size=40)
    | st.binary(max_size=40)
    | st.booleans()
    | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=20) | st.dictionaries(st.text(max_size=3), inner, max_size=20)
    ),
    max_leaves=20,
)


@given(VALUE)
def test_a_map_ends_where_a_library_says(value: Any) -> None:
    octets = msgspec.msgpack.encode({"path": "a", "kind": "directory", "x": value})
    outcome_alone = outcome(octets)
    if outcome_alone is not None:
        assert outcome(octets + encode_entry(FILE)) == [*outcome_alone, FILE]
