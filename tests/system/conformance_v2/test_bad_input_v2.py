"""What must be refused, what must fail the connection, and what must be taken although it looks odd.

Each case is sent whole, octet by octet, and cut at random. Source: protocol, section 2, "Types", "Fail or refuse" and
"Framing".
"""

import os
from typing import Any

import pytest
from framing import (
    AUTHENTICATE,
    CHANGE,
    CHUNK_LIMIT,
    COPY,
    DELETE,
    DIGEST,
    DONE,
    GET,
    HEAD_LIMIT,
    HELP,
    LIST,
    MAKE_DIRECTORY,
    PUT,
    STAT,
    SUMMARY,
    ask,
    nest,
    pack,
    pairs,
    put,
    say_body,
    say_chunk,
    say_map,
    xxh3,
)
from msgspec.msgpack import Ext
from running import Daemon
from talking import Talk, converse, cut_anywhere, cut_everywhere

ETAG_64, TOKEN = "e" * 64, b"sixteen octets!!"
BODY = say_body([b"new"], {"digest": xxh3(b"new")})
BULK = bytes(range(256)) * 8192

# Heads that are well, each with every key of its request; a case changes one of them.
WELL: dict[int, dict[str, Any]] = {
    PUT: {
        "path": "new",
        "size": 3,
        "digest": xxh3(b"new"),
        "algorithm": "xxh3-128",
        "modified": 1,
        "mode": 0o600,
        "parents": True,
    },
    GET: {"path": "a.txt", "offset": 1, "count": 2, "algorithm": "sha256"},
    CHANGE: {"path": "a.txt", "to": "b.txt", "replace": True},
    SUMMARY: {"path": "table.csv", "column": 1, "delimiter": ",", "skip": 1},
    LIST: {"path": "d", "recursive": True, "after": "d/e", "limit": 1},
    STAT: {"path": "a.txt"},
    DELETE: {"path": "a.txt", "recursive": False},
    MAKE_DIRECTORY: {"path": "new", "parents": True},
    AUTHENTICATE: {"mechanism": "none", "response": b""},
    DIGEST: {"path": "a.txt", "algorithm": "sha256"},
    COPY: {"path": "a.txt", "to": "b.txt", "replace": True},
}

TEXTS = {"path", "to", "algorithm", "after", "mechanism"}
INTEGERS = {"size", "offset", "count", "limit", "skip", "modified", "mode"}
TRUTHS = {"parents", "replace", "recursive"}
BINARY = {"upload", "response"}
NOTHING: list[Any] = [None, Ext(1, b"x")]


def list_wrong_values(key: str) -> list[Any]:
    """Give a value of every type that a key may not have."""
    values: dict[str, Any] = {
        "text": "a",
        "binary": b"sixteen octets!!",
        "integer": 1,
        "number": 1.0,
        "fraction": 1.5,
        "truth": True,
        "list": [],
        "map": {},
    }
    right = {
        **dict.fromkeys(TEXTS, "text"),
        **dict.fromkeys(INTEGERS, "integer"),
        **dict.fromkeys(TRUTHS, "truth"),
        **dict.fromkeys(BINARY, "binary"),
        "digest": "map",
    }
    wrong = [value for kind, value in values.items() if kind != right.get(key)]
    if key == "column":
        wrong = [value for value in wrong if value not in ("a", 1) or type(value) in (bool, float)]
    if key == "delimiter":
        wrong = [value for value in wrong if value != "a"]
    return wrong + NOTHING


def say(code: int, head: dict[str, Any] | bytes) -> bytes:
    return ask(code, head, BODY if code == PUT else b"")


def show(value: Any) -> str:
    """Give a value as it is every time: pytest-xdist compares the names of tests."""
    return "an extension" if isinstance(value, Ext) else repr(value)


def list_wrong_types() -> dict[str, bytes]:
    return {
        f"{code}: {key} {show(value)}": say(code, {**head, key: value})
        for code, head in WELL.items()
        for key in head
        for value in list_wrong_values(key)
    }


def list_missing_keys() -> dict[str, bytes]:
    needed = {"path", "to", "mechanism", "response"}
    return {
        f"{code}: without {key}": say(code, {each: head[each] for each in head if each != key})
        for code, head in WELL.items()
        for key in sorted(needed & head.keys())
        if (code, key) != (LIST, "path")
    }


def list_wrong_body_flags() -> dict[str, bytes]:
    cases = {"0: no body": ask(PUT, WELL[PUT])}
    for code, head in {HELP: {}, **WELL}.items():
        if code != PUT:
            cases[f"{code}: a body"] = ask(code, head, BODY)
            cases[f"{code}: an empty body"] = ask(code, head, say_body([], {}))
            cases[f"{code}: a body that ends with an error"] = ask(
                code, head, say_body([b"x"], {"error": "cancelled"})
            )
    return cases


INVALID: dict[str, bytes] = {
    **list_wrong_types(),
    **list_missing_keys(),
    **list_wrong_body_flags(),
    "a path and an upload to stat": ask(STAT, path="a.txt", upload=TOKEN),
    "a path and an upload to delete": ask(DELETE, path="a.txt", upload=TOKEN),
    "an upload of 15 octets": ask(STAT, upload=TOKEN[1:]),
    "an upload of 17 octets": ask(STAT, upload=TOKEN + b"!"),
    "an upload of no octets": ask(STAT, upload=b""),
    "an upload that is text": ask(STAT, upload=TOKEN.decode()),
    "an etag of 65 octets": ask(GET, path="a.txt", if_match="e" * 65),
    "an etag of 65 octets in 33 characters": ask(GET, path="a.txt", if_match="é" * 32 + "e"),
    "an etag of no octets": ask(GET, path="a.txt", if_match=""),
    "an etag that is binary": ask(GET, path="a.txt", if_match=b"e"),
    "if_none_match is false": say(PUT, {**WELL[PUT], "if_none_match": False}),
    "if_none_match is 1": say(PUT, {**WELL[PUT], "if_none_match": 1}),
    "a digest that is text": say(PUT, {**WELL[PUT], "digest": {"xxh3-128": "sixteen octets!!"}}),
    "a digest that is nil": say(PUT, {**WELL[PUT], "digest": {"xxh3-128": None}}),
    "a digest in the trailer that is a list": ask(
        PUT, {"path": "new"}, say_body([], {"digest": [1]})
    ),
    "a digest in the trailer that is nil": ask(
        PUT, {"path": "new"}, say_body([], {"digest": None})
    ),
    "an error in the trailer that is no text": ask(
        PUT, {"path": "new"}, say_body([], {"error": 1})
    ),
    "a column 0": say(SUMMARY, {**WELL[SUMMARY], "column": 0}),
    "a delimiter of no character": say(SUMMARY, {**WELL[SUMMARY], "delimiter": ""}),
    "a delimiter of two": say(SUMMARY, {**WELL[SUMMARY], "delimiter": "ab"}),
    "an offset without an upload": say(PUT, {**WELL[PUT], "offset": 1}),
    "the last of two counts, and is wrong": ask(
        GET, pairs(("path", "a.txt"), ("offset", 1), ("offset", "1"))
    ),
}

# Integers at their limits, beside what they give. No file here is large.
LARGE = [2**63, 2**64 - 1]
IN_RANGE = [0, 1, 2, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1]
for _code, _key in [
    *((PUT, "size"), (PUT, "offset"), (PUT, "mode"), (GET, "offset"), (GET, "count")),
    *((SUMMARY, "skip"), (LIST, "limit"), (SUMMARY, "column")),
]:
    for _value in [-(2**63), -1, *LARGE]:
        INVALID[f"{_code}: {_key} {_value}"] = say(_code, {**WELL[_code], _key: _value})
for _value in LARGE:
    INVALID[f"modified {_value}"] = say(PUT, {**WELL[PUT], "modified": _value})
for _value in (0, 100_001, 2**31, 2**32 - 1, 2**63 - 1):
    INVALID[f"limit {_value}"] = ask(LIST, limit=_value)

REFUSED: dict[str, tuple[bytes, str]] = {
    **{name: (octets, "invalid") for name, octets in INVALID.items()},
    **{f"code {code}": (ask(code, {}), "unsupported") for code in (12, 13, 64, 126, 127)},
    **{f"code {code}, a body": (ask(code, {}, BODY), "unsupported") for code in (12, 127)},
    "an unknown code with any head": (ask(99, {"path": 1, "x": [None]}, BODY), "unsupported"),
    "an etag of 64 octets": (ask(GET, path="a.txt", if_match=ETAG_64), "precondition-failed"),
    "an algorithm that nobody knows": (ask(GET, path="a.txt", algorithm="crc"), "unsupported"),
    "an algorithm without a name": (ask(GET, path="a.txt", algorithm=""), "unsupported"),
    "a body shorter than its size": (ask(PUT, {"path": "new", "size": 4}, BODY), "size-mismatch"),
    "a body longer than its size": (ask(PUT, {"path": "new", "size": 2}, BODY), "size-mismatch"),
    "a body where the size is 0": (ask(PUT, {"path": "new", "size": 0}, BODY), "size-mismatch"),
    "no body where the size is 1": (put("new", b"", size=1), "size-mismatch"),
    "a body that was given up": (
        ask(PUT, {"path": "new"}, say_body([b"ne"], {"error": "cancelled"})),
        "cancelled",
    ),
    "a body that was given up at once": (
        ask(PUT, {"path": "new", "size": 3}, say_body([], {"error": "internal"})),
        "cancelled",
    ),
}


def check_refused(town: Daemon, octets: bytes, error: str, cuts: Any = ()) -> None:
    answer, then = converse(town.port, octets + ask(HELP), cuts)
    assert answer.error == error, answer
    assert then.code == DONE
    assert (town.root / "a.txt").read_bytes() == b"hello"
    assert not (town.root / "new").exists()
    assert not (town.root / "b.txt").exists()


@pytest.mark.parametrize(("octets", "error"), REFUSED.values(), ids=REFUSED)
def test_refused(town: Daemon, octets: bytes, error: str) -> None:
    check_refused(town, octets, error)
    check_refused(town, octets, error, cut_everywhere(octets))
    for seed in range(3):
        check_refused(town, octets, error, cut_anywhere(octets, seed))


# The connection fails, at the latest when another request follows.
FAILED: dict[str, bytes] = {
    "a head over the limit": ask(GET, pack({"path": "a.txt", "x": "x" * HEAD_LIMIT})),
    "a head of 65,537 octets": b"\x01\x01\x00\x01",
    "a head of 2**24 - 1 octets": b"\x01\xff\xff\xff",
    "a head over the limit, unknown code": b"\x7f\x01\x00\x01",
    "no octets": ask(HELP, b""),
    "nil": ask(HELP, b"\xc0"),
    "an integer": ask(HELP, b"\x01"),
    "text": ask(HELP, b"\xa1x"),
    "a list": ask(HELP, b"\x90"),
    "binary": ask(HELP, b"\xc4\x01x"),
    "an extension": ask(HELP, b"\xd4\x01x"),
    "an octet that means nothing": ask(HELP, b"\xc1"),
    "two maps": ask(HELP, b"\x80\x80"),
    "an octet behind the map": ask(HELP, b"\x80\x00"),
    "half a map": ask(GET, pack({"path": "a.txt"})[:-1]),
    "a map without its last value": ask(GET, b"\x82" + pack("path") + pack("a.txt") + pack("x")),
    "a map of 2**32 - 1 keys": ask(GET, b"\xdf\xff\xff\xff\xff"),
    "a map of 2**16 - 1 keys": ask(GET, b"\xde\xff\xff"),
    "a text of 2**32 - 1 octets": ask(GET, b"\x81\xa4path\xdb\xff\xff\xff\xff"),
    "a list of 2**32 - 1 values": ask(GET, b"\x81\xa4path\xdd\xff\xff\xff\xff"),
    "an extension of 2**32 - 1 octets": ask(GET, b"\x81\xa4path\xc9\xff\xff\xff\xff\x01"),
    "a key that is an integer": ask(GET, pairs(("path", "a.txt"), (1, 1))),
    "a key that is binary": ask(GET, pairs(("path", "a.txt"), (b"x", 1))),
    "a key that is nil": ask(GET, pairs(("path", "a.txt"), (None, 1))),
    "a key that is a truth": ask(GET, pairs(("path", "a.txt"), (True, 1))),
    "a key that is a number": ask(GET, pairs(("path", "a.txt"), (1.5, 1))),
    "a key that is a list": ask(GET, pairs(("path", "a.txt"), ([], 1))),
    "a key that is a map": ask(GET, pairs(("path", "a.txt"), ({}, 1))),
    "a key that is an extension": ask(GET, pairs(("path", "a.txt"), (Ext(1, b"x"), 1))),
    "a key deeper that is an integer": ask(GET, pairs(("path", "a.txt"), ("x", {1: 1}))),
    "a key that is not UTF-8": ask(GET, b"\x82\xa4path\xa5a.txt\xa1\xff\x01"),
    "text that is not UTF-8": ask(GET, b"\x81\xa4path\xa1\xff"),
    "text with a surrogate": ask(GET, b"\x81\xa4path\xa3\xed\xa0\x80"),
    "nested 9 deep": ask(GET, nest(9)),
    "nested 1,000 deep": ask(GET, nest(1_000)),
    "nested 60,000 deep": ask(GET, nest(60_000)),
    "maps nested 1,000 deep": ask(GET, b"\x81\xa1x" * 1_000 + b"\x01"),
    "a map that is nested and has no end": ask(GET, b"\x81\xa1x" * 20_000),
    "a chunk of 2**24 + 1": ask(PUT, {"path": "new"}, (CHUNK_LIMIT + 1).to_bytes(4, "big")),
    **{
        f"reserved bit {bit}": ask(PUT, {"path": "new"}, (1 << bit | 3).to_bytes(4, "big") + b"new")
        for bit in range(25, 32)
    },
    "a chunk of 2**32 - 1": ask(PUT, {"path": "new"}, b"\xff\xff\xff\xff"),
    "such a chunk of a body that nobody wants": ask(HELP, {}, b"\xff\xff\xff\xff"),
    "such a chunk of an unknown request": ask(99, {}, b"\x10\x00\x00\x01x"),
    "such a chunk behind the size": ask(PUT, {"path": "new", "size": 1}, b"\0\0\0\x02xy\xff\0\0\0"),
    "a trailer of 65,537 octets": ask(PUT, {"path": "new"}, b"\0\0\0\0\x01\x00\x01"),
    "a trailer of no octets": ask(PUT, {"path": "new"}, b"\0\0\0\0" + say_map(b"")),
    "a trailer that is nil": ask(PUT, {"path": "new"}, b"\0\0\0\0" + say_map(b"\xc0")),
    "a trailer that is a list": ask(PUT, {"path": "new"}, b"\0\0\0\0" + say_map(b"\x90")),
    "a trailer that is two maps": ask(PUT, {"path": "new"}, b"\0\0\0\0" + say_map(b"\x80\x80")),
    "a trailer with a key that is no text": ask(
        PUT, {"path": "new"}, b"\0\0\0\0" + say_map(pairs((1, 1)))
    ),
    "a trailer that is nested 9 deep": ask(PUT, {"path": "new"}, b"\0\0\0\0" + say_map(nest(9))),
    "such a trailer of a body that nobody wants": ask(HELP, {}, b"\0\0\0\0" + say_map(b"\xc0")),
    "such a trailer of an unknown request": ask(99, {}, b"\0\0\0\0" + say_map(b"\xc0")),
    "2,000 chunks of an octet": ask(PUT, {"path": "new"}, say_chunk(b"x") * 2_000),
    "HTTP": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("octets", FAILED.values(), ids=FAILED)
def test_failed(town: Daemon, octets: bytes) -> None:
    before = town.list_visible()
    for seed in (None, 1, 2):
        with Talk(town.port) as talk:
            assert talk.ask(ask(HELP)).code == DONE
            cuts = [] if seed is None or len(octets) < 2 else cut_anywhere(octets, seed)
            for start, end in zip([0, *cuts], [*cuts, len(octets)], strict=True):
                talk.send(octets[start:end])
            talk.send(ask(HELP) * 20)
            assert talk.is_failed()
    assert town.list_visible() == before


@pytest.mark.parametrize(
    "octets", [each for each in FAILED.values() if len(each) < 100], ids=lambda each: each.hex()
)
def test_failed_octet_by_octet(town: Daemon, octets: bytes) -> None:
    with Talk(town.port) as talk:
        for octet in octets + ask(HELP) * 20:
            talk.send(bytes([octet]))
        assert talk.is_failed()


# What must be taken.
TAKEN: dict[str, bytes] = {
    "nested 8 deep": ask(GET, nest(8)),
    "a head of 65,536 octets": ask(GET, pack({"path": "a.txt", "x": "x" * (HEAD_LIMIT - 17)})),
    "unknown keys": ask(GET, {"path": "a.txt", "x": [1, {"y": b""}], "Path": 5, "": 1.5}),
    "unknown keys with nil and an extension": ask(
        GET, {"path": "a.txt", "x": None, "y": Ext(5, b"x"), "z": [None]}
    ),
    "the last of two counts": ask(GET, pairs(("path", "missing"), ("path", "a.txt"))),
    "the last of two counts, the first was wrong": ask(
        GET, pairs(("path", 5), ("offset", None), ("path", "a.txt"), ("offset", 0))
    ),
    "the longest forms": ask(GET, b"\xdf\0\0\0\1\xdb\0\0\0\4path\xdb\0\0\0\5a.txt"),
    "the longest form of 0": ask(GET, b"\x82\xa4path\xa5a.txt\xa6offset\xcf" + bytes(8)),
    "the longest signed form of 0": ask(GET, b"\x82\xa4path\xa5a.txt\xa6offset\xd3" + bytes(8)),
    "a key longer than 32 octets": ask(GET, {"k" * 60_000: 1, "path": "a.txt"}),
}


@pytest.mark.parametrize("octets", TAKEN.values(), ids=TAKEN)
def test_taken(town: Daemon, octets: bytes) -> None:
    for cuts in ([], cut_anywhere(octets, 1), cut_anywhere(octets, 2)):
        (answer,) = converse(town.port, octets, cuts)
        assert answer.body == b"hello"


def test_head_of_the_limit_is_one() -> None:
    assert len(TAKEN["a head of 65,536 octets"]) == HEAD_LIMIT + 4


def test_trailer_of_65536_octets(town: Daemon) -> None:
    trailer = {"digest": xxh3(b"new"), "x": "x" * (HEAD_LIMIT - 40)}
    trailer["x"] = "x" * (len(trailer["x"]) + HEAD_LIMIT - len(pack(trailer)))
    assert len(pack(trailer)) == HEAD_LIMIT
    (answer,) = converse(town.port, ask(PUT, {"path": "new"}, say_body([b"new"], trailer)))
    assert answer.code == DONE


@pytest.mark.parametrize("value", IN_RANGE)
def test_integers_in_range(town: Daemon, value: int) -> None:
    """Taken, or refused for what they say."""
    octets = [
        ask(GET, path="a.txt", count=value),
        ask(GET, path="a.txt", offset=value),
        ask(SUMMARY, path="numbers", skip=value),
        ask(SUMMARY, path="numbers", column=max(value, 1)),
        put("size", b"", size=value),
        put("modified", b"", modified=value),
        put("before", b"", modified=-value - 1),
        put("mode", b"", mode=value),
        put("offset", b"xy", upload=os.urandom(16), offset=value),
    ]
    answers = converse(town.port, b"".join(octets) + ask(HELP))
    errors = [answer.error for answer in answers]
    assert answers[0].body == b"hello"[:value]
    assert errors[1] == (None if value <= 5 else "offset-mismatch")
    assert errors[2] == (None if value < 3 else "not-numeric")
    assert errors[3] == (None if value < 2 else "not-numeric")
    assert errors[4] in ((None,) if value == 0 else ("size-mismatch", "no-space", "too-large"))
    assert errors[5:8] == [None] * 3
    # Nobody knows the upload; and it cannot go on behind its end.
    assert errors[8] == (None if value == 0 else "not-found" if value <= 2 else "invalid")
    assert (town.root / "mode").stat().st_mode & 0o7777 == value & 0o777
    if value < 2**33:
        assert (town.root / "modified").stat().st_mtime_ns == value
        assert (town.root / "before").stat().st_mtime_ns == -value - 1
    assert errors[9] is None


def test_chunks_of_every_small_size(town: Daemon) -> None:
    body = bytes(range(256)) * 16
    for size in (1, 2, 3, 255, 256, 4095, 4096):
        chunks = [body[start : start + size] for start in range(0, 1_000, size)]
        whole = b"".join(chunks)
        octets = ask(PUT, {"path": "new"}, say_body(chunks, {"digest": xxh3(whole)}))
        assert [answer.code for answer in converse(town.port, octets)] == [DONE]
        assert (town.root / "new").read_bytes() == whole


def test_1024_chunks_of_an_octet(town: Daemon) -> None:
    octets = ask(PUT, {"path": "new"}, say_body([b"x"] * 1_024, {"digest": xxh3(b"x" * 1_024)}))
    assert [answer.code for answer in converse(town.port, octets)] == [DONE]


def test_many_chunks_of_a_kib(town: Daemon) -> None:
    body = b"x" * 1_024 * 1_500
    octets = put("new", body, chunk=1_024)
    assert [answer.code for answer in converse(town.port, octets)] == [DONE]


def test_chunk_of_16_mib(town: Daemon) -> None:
    body = BULK * 8
    assert len(body) == CHUNK_LIMIT
    octets = put("new", body) + ask(HELP)
    assert [answer.code for answer in converse(town.port, octets)] == [DONE] * 2
    assert (town.root / "new").stat().st_size == CHUNK_LIMIT


@pytest.mark.parametrize(
    ("code", "head", "error"),
    [
        (HELP, {}, "invalid"),
        (99, {}, "unsupported"),
        (PUT, {"path": 5}, "invalid"),
        (PUT, {"path": ".."}, "name-invalid"),
        (PUT, {"path": "none/x", "size": len(BULK)}, "not-found"),
        (PUT, {"path": "d", "size": len(BULK)}, "is-directory"),
        (PUT, {"path": "new", "size": 5}, "size-mismatch"),
        (PUT, {"path": "new", "size": len(BULK) + 1}, "size-mismatch"),
        (PUT, {"path": "a.txt", "if_match": "x"}, "precondition-failed"),
        (PUT, {"path": "a.txt", "if_none_match": True}, "precondition-failed"),
        (PUT, {"path": "new", "if_match": "x"}, "precondition-failed"),
    ],
)
def test_bulk_that_is_refused_is_discarded(
    town: Daemon, code: int, head: dict[str, Any], error: str
) -> None:
    """There is one answer, whether it came before the body had ended or not."""
    chunks = [BULK[start : start + 700_000] for start in range(0, len(BULK), 700_000)]
    octets = ask(code, head, say_body(chunks, {"digest": xxh3(BULK)}))
    answers = converse(town.port, (octets + ask(HELP)) * 3)
    assert [answer.error for answer in answers] == [error, None] * 3
    assert not (town.root / "new").exists()
    assert (town.root / "a.txt").read_bytes() == b"hello"


def test_refused_before_the_body_has_ended(town: Daemon) -> None:
    """The client finishes its chunk, says that it gives up, and goes on; there is no second answer."""
    head = {"path": "none/x", "size": 10_000_000}
    with Talk(town.port) as talk:
        talk.send(bytes([PUT | 0x80]) + say_map(head) + say_chunk(b"the first chunk"))
        assert talk.answer().error == "not-found"
        talk.send(say_chunk(b"one more") + say_body([], {"error": "cancelled"}) + ask(HELP))
        assert talk.answer().code == DONE
        talk.half_close()
        assert talk.answers_until_the_end() == []


@pytest.mark.parametrize(
    "rest",
    [b"", b"the r", b"est" + say_chunk(b"x")[:3], b"\xff" * 100, bytes(3), bytes(7) + b"\xc0"],
    ids=bytes.hex,
)
def test_broken_off_after_it_was_refused(town: Daemon, rest: bytes) -> None:
    """There is nothing more to say, neither to the peer nor in the log."""
    head = {"path": "none/x", "size": 10_000_000}
    octets = ask(HELP) + ask(PUT, head, (8).to_bytes(4, "big"))
    with Talk(town.port) as talk:
        talk.send(octets)
        assert [answer.error for answer in talk.answers(2)] == [None, "not-found"]
        talk.send(rest)
        talk.half_close()
        assert talk.answers_until_the_end() == []
    with Talk(town.port) as talk:
        talk.send(octets)
        assert talk.answers(2)[1].error == "not-found"
        talk.send(rest)
        talk.reset()
    assert len(converse(town.port, ask(HELP))) == 1


def test_a_session_in_any_split(town: Daemon) -> None:
    """Requests of all kinds, refused and done; every split gives the same."""
    octets = (
        put("new", b"12345", chunk=2, if_none_match=True)
        + ask(HELP)
        + ask(GET, path="new", offset=1, count=3)
        + ask(99, {}, BODY)
        + ask(GET, path=5)
        + ask(CHANGE, path="new", to="newer")
        + put("none/x", b"12345", chunk=1)
        + ask(HELP, {}, BODY)
        + ask(LIST, path="d", recursive=True)
        + ask(DIGEST, path="newer", algorithm="sha256")
        + ask(DELETE, path="newer")
        + ask(SUMMARY, path="numbers")
        + ask(STAT, path="newer")
    )
    ways = [[], list(cut_everywhere(octets)), *(cut_anywhere(octets, seed) for seed in range(30))]
    seen = set()
    for cuts in ways:
        answers = converse(town.port, octets, cuts)
        for answer in answers:
            answer.head.pop("etag", None)
            answer.head.pop("modified", None)
        seen.add(repr(answers))
    assert len(seen) == 1
