"""Any octets, split in any way, give the same messages or the same failure."""

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from oracle_v2 import ASKED, DriveV2, check_any
from packing import END, Pairs, chunk, message, pack, trailer
from test_v2_requests import CODES, HOSTILE_MAPS, LIMITS, MESSAGES, REQUIRED
from test_v2_responses import ANSWERS, GREETING
from test_v2_responses import MESSAGES as RESPONSES

# Heads that are often right: each key with values that it may have, and values that it may not.
KEYS: dict[str, list[Any]] = {}
for (_, name), (must, must_not) in LIMITS.items():
    KEYS.setdefault(name, []).extend([*must, *must_not])
for _, _, name, (must, must_not), _ in ANSWERS:
    KEYS.setdefault(name, []).extend([*must, *must_not])

LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)
ENTRIES = st.sampled_from(sorted(KEYS)).flatmap(
    lambda key: st.tuples(st.just(key), st.sampled_from(KEYS[key]) | VALUES)
)
MAPS = st.builds(
    lambda required, pairs: Pairs([*required.items(), *pairs]),
    st.sampled_from(list(REQUIRED.values())),
    st.lists(ENTRIES, max_size=3),
)
BODIES = st.builds(
    lambda chunks, last: [*map(chunk, chunks), last],
    st.lists(st.binary(min_size=1, max_size=9), max_size=4),
    st.builds(trailer, MAPS) | st.just(END) | st.binary(max_size=8),
)
SOUND = st.builds(
    lambda code, head, body: message(code, head, *body),
    st.integers(0, len(CODES)),
    MAPS,
    st.just([]) | BODIES,
)
UNSOUND = st.sampled_from(
    [octets for name, octets in HOSTILE_MAPS.items() if "deep" not in name]
).map(lambda octets: b"\x01" + len(octets).to_bytes(3, "big") + octets)
REQUESTS = st.one_of(
    SOUND,
    st.sampled_from([octets for octets, _ in MESSAGES.values()]),
    UNSOUND,
    st.binary(max_size=12),
)
ANSWERED = st.one_of(
    st.sampled_from([(request, octets) for request, octets, _ in RESPONSES.values()]),
    st.tuples(st.sampled_from(ASKED), SOUND),
    st.tuples(st.sampled_from(ASKED), st.builds(lambda head: message(3, head), MAPS)),
    st.tuples(st.sampled_from(ASKED), UNSOUND | st.binary(max_size=12)),
)


def drives(asked: st.SearchStrategy[Any]) -> st.SearchStrategy[DriveV2]:
    return st.builds(
        DriveV2,
        asked=asked,
        cuts=st.lists(st.integers(0, 2000), max_size=6),
        has_eof=st.booleans(),
        limit=st.integers(1, 20),
        moves_bodies=st.booleans(),
        discards_bodies=st.booleans(),
        is_opening=st.just(False),
    )


@settings(max_examples=150)
@given(st.lists(REQUESTS, max_size=5).map(b"".join), drives(st.none()))
def test_server_of_version_2(octets: bytes, how: DriveV2) -> None:
    check_any(octets, how)


@settings(max_examples=150)
@given(
    st.sampled_from([GREETING, b"", message(1, {"error": "busy"}), message(0, {})]),
    st.lists(ANSWERED, max_size=5),
    drives(st.none()),
)
def test_client_of_version_2(greeting: bytes, answered: list[Any], how: DriveV2) -> None:
    how.asked = [request for request, _ in answered]
    check_any(greeting + b"".join(octets for _, octets in answered), how)


@settings(max_examples=60)
@given(
    st.sampled_from([b"", b"\xe0", b"\x80", b"\xa0"]),
    st.lists(REQUESTS | st.just(GREETING), max_size=2).map(b"".join),
    drives(st.none() | st.just([])),
)
def test_choice_of_a_version(first: bytes, octets: bytes, how: DriveV2) -> None:
    how.is_opening = True
    check_any(first + octets, how)


@given(VALUES)
def test_our_own_packing_is_messagepack(value: Any) -> None:
    """The tests write octets of their own: these are what they are taken for."""
    assert repr(msgspec.msgpack.decode(pack(value))) == repr(value)
