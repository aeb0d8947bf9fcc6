"""Version 2, requests: octets on the left, on the right what the server's end makes of them.

Written from section 2 of the protocol. Octets stand as they travel, with nothing computed by the code under test.
"""

from typing import Any

import pytest
from feeding import Failed, Happening, drive, split_every_way
from packing import END, Pairs, Raw, chunk, message, pack, read_octets, trailer

from filetransfer.errors import Cancelled, Invalid, LocalProtocolError, RequestRefused, SizeMismatch
from filetransfer.wire.messages import (
    Authenticate,
    BodyEnd,
    BodyRun,
    Change,
    Copy,
    Delete,
    Digest,
    EndOfMessages,
    Get,
    Help,
    List,
    MakeDirectory,
    Malformed,
    Put,
    Request,
    Stat,
    Summary,
    Unknown,
)
from filetransfer.wire.v2 import ClientCodec, ServerCodec

TOKEN = b"sixteen octets!!"
NAME_31 = "a-name-of-exactly-31-octets.txt"


def stored(request: Put, *runs: bytes, end: BodyEnd | None = None) -> list[Happening]:
    return [request, *(BodyRun() for _ in runs), b"".join(runs), end or BodyEnd()]


# What a client can say: octets <-> requests.
SAYABLE: dict[str, tuple[str, list[Happening]]] = {
    "put": (
        """80 00 00 12 82 A4 "path" A5 "a.txt" A4 "size" 05
        00 00 00 05 "hello"
        00 00 00 00 00 00 01 80""",
        stored(Put("a.txt", 5), b"hello"),
    ),
    "put, in three chunks": (
        """80 00 00 0E 82 A4 "path" A1 "a" A4 "size" 06
        00 00 00 01 "a" 00 00 00 02 "bc" 00 00 00 03 "def"
        00 00 00 00 00 00 01 80""",
        stored(Put("a", 6), b"a", b"bc", b"def"),
    ),
    "put, of unknown size": (
        """80 00 00 08 81 A4 "path" A1 "a"
        00 00 00 02 "hi"
        00 00 00 00 00 00 01 80""",
        stored(Put("a"), b"hi"),
    ),
    "put, an empty file": (
        """80 00 00 0E 82 A4 "path" A1 "a" A4 "size" 00
        00 00 00 00 00 00 01 80""",
        stored(Put("a", 0)),
    ),
    "put, an empty file of unknown size": (
        '80 00 00 08 81 A4 "path" A1 "a" 00 00 00 00 00 00 01 80',
        stored(Put("a")),
    ),
    "put, with a digest behind it": (
        """80 00 00 0E 82 A4 "path" A1 "a" A4 "size" 01
        00 00 00 01 "x"
        00 00 00 00 00 00 24 81 A6 "digest" 81 A8 "xxh3-128" C4 10 "0123456789abcdef" """,
        stored(Put("a", 1), b"x", end=BodyEnd({"xxh3-128": b"0123456789abcdef"})),
    ),
    "put, with all that can be said": (
        """80 00 00 CC 8B A4 "path" A1 "a" A4 "size" CE 00 01 00 01
        A6 "digest" 82 A6 "sha256" C4 20 "0123456789abcdef0123456789abcdef"
                       A8 "xxh3-128" C4 10 "0123456789abcdef"
        A9 "algorithm" A6 "sha256"
        A8 "modified" FF A4 "mode" CD 01 A4 A7 "parents" C3
        A8 "if_match" A4 "etag" AD "if_none_match" C3
        A6 "upload" C4 10 "sixteen octets!!" A6 "offset" CE 00 01 00 00
        00 00 00 01 "x"
        00 00 00 00 00 00 01 80""",
        stored(
            Put(
                "a",
                65537,
                {"sha256": b"0123456789abcdef" * 2, "xxh3-128": b"0123456789abcdef"},
                "sha256",
                -1,
                0o644,
                True,
                "etag",
                True,
                TOKEN,
                65536,
            ),
            b"x",
        ),
    ),
    "put, a body of requests": (
        """80 00 00 0E 82 A4 "path" A1 "a" A4 "size" 05
        00 00 00 05 04 00 00 01 80
        00 00 00 00 00 00 01 80""",
        stored(Put("a", 5), b"\x04\0\0\x01\x80"),
    ),
    "get": ('01 00 00 0C 81 A4 "path" A5 "a.txt"', [Get("a.txt")]),
    "get, UTF-8": ('01 00 00 0D 81 A4 "path" A6 "é.txt"', [Get("é.txt")]),
    "get, 31 octets of name": (
        '01 00 00 26 81 A4 "path" BF "a-name-of-exactly-31-octets.txt"',
        [Get(NAME_31)],
    ),
    "get, 32 octets of name": (
        '01 00 00 28 81 A4 "path" D9 20 "a-name-of-exactly-32-octets.html"',
        [Get("a-name-of-exactly-32-octets.html")],
    ),
    "get, a line break": ('01 00 00 0A 81 A4 "path" A3 "a" 0D 0A', [Get("a\r\n")]),
    "get, with all that can be said": (
        """01 00 00 33 85 A4 "path" A1 "a" A6 "offset" 01 A5 "count" 00
        A8 "if_match" A1 "e" A9 "algorithm" A6 "sha256" """,
        [Get("a", 1, 0, "e", "sha256")],
    ),
    "change": (
        '02 00 00 0D 82 A4 "path" A1 "a" A2 "to" A1 "b"',
        [Change("a", "b")],
    ),
    "change, with all that can be said": (
        """02 00 00 21 84 A4 "path" A1 "a" A2 "to" A1 "b" A7 "replace" C3
        A8 "if_match" A1 "e" """,
        [Change("a", "b", True, "e")],
    ),
    "summary": ('03 00 00 08 81 A4 "path" A1 "n"', [Summary("n")]),
    "summary, of a numbered column": (
        """03 00 00 22 84 A4 "path" A1 "n" A6 "column" 01 A9 "delimiter" A1 3B
        A4 "skip" 02""",
        [Summary("n", 1, ";", 2)],
    ),
    "summary, of a named column": (
        """03 00 00 21 83 A4 "path" A1 "n" A6 "column" A4 "cost" A9 "delimiter" A2 C2 A7""",
        [Summary("n", "cost", "§")],
    ),
    "help": ("04 00 00 01 80", [Help()]),
    "list": ("05 00 00 01 80", [List()]),
    "list, with all that can be said": (
        """05 00 00 28 84 A4 "path" A1 "d" A9 "recursive" C3 A5 "after" A3 "d/e"
        A5 "limit" CE 00 01 86 9F""",
        [List("d", True, "d/e", 99_999)],
    ),
    "stat, of a path": ('06 00 00 08 81 A4 "path" A1 "a"', [Stat("a")]),
    "stat, of an upload": (
        '06 00 00 1A 81 A6 "upload" C4 10 "sixteen octets!!"',
        [Stat(upload=TOKEN)],
    ),
    "delete": ('07 00 00 08 81 A4 "path" A1 "a"', [Delete("a")]),
    "delete, with all that can be said of a path": (
        '07 00 00 1E 83 A4 "path" A1 "a" A9 "recursive" C3 A8 "if_match" A1 "e"',
        [Delete("a", True, "e")],
    ),
    "delete, of an upload": (
        '07 00 00 1A 81 A6 "upload" C4 10 "sixteen octets!!"',
        [Delete(upload=TOKEN)],
    ),
    "make a directory": ('08 00 00 08 81 A4 "path" A1 "d"', [MakeDirectory("d")]),
    "make a directory, and its parents": (
        '08 00 00 13 82 A4 "path" A3 "d/e" A7 "parents" C3',
        [MakeDirectory("d/e", True)],
    ),
    "authenticate": (
        '09 00 00 1B 82 A9 "mechanism" A1 "m" A8 "response" C4 03 00 FF 01',
        [Authenticate("m", b"\0\xff\x01")],
    ),
    "authenticate, with nothing": (
        '09 00 00 18 82 A9 "mechanism" A1 "m" A8 "response" C4 00',
        [Authenticate("m", b"")],
    ),
    "digest": ('0A 00 00 08 81 A4 "path" A1 "a"', [Digest("a")]),
    "digest, with all that can be said": (
        '0A 00 00 24 83 A4 "path" A1 "a" A9 "algorithm" A6 "sha256" A8 "if_match" A1 "e"',
        [Digest("a", "sha256", "e")],
    ),
    "copy": ('0B 00 00 0D 82 A4 "path" A1 "a" A2 "to" A1 "b"', [Copy("a", "b")]),
    "copy, with all that can be said": (
        """0B 00 00 21 84 A4 "path" A1 "a" A2 "to" A1 "b" A7 "replace" C3
        A8 "if_match" A1 "e" """,
        [Copy("a", "b", True, "e")],
    ),
}

SHORT_PUT = message(0, {"path": "a", "size": 5})[1:]


def malformed(refusal: RequestRefused | None = None) -> list[Happening]:
    return [Malformed(refusal or Invalid(""))]


# What the server's end must understand besides. What is wrong with it is said here by the kind of its refusal alone.
HEARD: dict[str, tuple[bytes, list[Happening]]] = {
    "an unknown key": (message(1, {"path": "a", "color": "red"}), [Get("a")]),
    "a key of another request": (message(1, {"path": "a", "skip": "much"}), [Get("a")]),
    "an unknown key of any type": (
        message(1, {"x": [None, {}, 1.5, b"", {"y": [True]}], "path": "a", "z": Raw(b"\xd4\x05a")}),
        [Get("a")],
    ),
    "an unknown key that is nil": (message(1, {"path": "a", "x": None}), [Get("a")]),
    "an unknown key in a head without any": (message(4, {"path": None}), [Help()]),
    "of a duplicate key the last counts": (
        message(1, Pairs([("path", "a"), ("path", "b")])),
        [Get("b")],
    ),
    "of a duplicate key the last counts, though it is wrong": (
        message(1, Pairs([("path", "a"), ("path", 1)])),
        malformed(),
    ),
    "defaults that are said": (
        message(1, {"path": "a", "offset": 0}),
        [Get("a")],
    ),
    "integers in long forms": (
        message(1, {"path": "a", "offset": Raw(b"\xcf" + bytes(7) + b"\x05")}),
        [Get("a", 5)],
    ),
    "text and maps in long forms": (
        message(1, Raw(b"\xdf\0\0\0\x01\xdb\0\0\0\x04path\xda\0\x01a")),
        [Get("a")],
    ),
    "names are not judged here": (message(1, {"path": "../\0"}), [Get("../\0")]),
    "an empty name": (message(1, {"path": ""}), [Get("")]),
    "nested as deep as may be": (
        message(4, {"x": [[[[[[[]]]]]]]}),
        [Help()],
    ),
    "unknown 12": (message(12, {}), [Unknown(12)]),
    "unknown 127": (message(127, {"path": 1}), [Unknown(127)]),
    "unknown, with a body": (message(12, {}, chunk(b"abc"), chunk(b"d"), END), [Unknown(12)]),
    "unknown, with an empty body": (message(96, {}, END), [Unknown(96)]),
    "a body that nobody expects": (
        message(1, {"path": "a"}, chunk(b"abc"), trailer({"error": 5})),
        malformed(),
    ),
    "no body where there must be one": (message(0, {"path": "a", "size": 5}), malformed()),
    "a malformed put, and its body": (
        message(0, {"size": 5}, chunk(b"hello"), chunk(b"!"), END),
        malformed(),
    ),
    "a put ended early": (
        message(0, {"path": "a", "size": 5}, chunk(b"he"), trailer({"error": "cancelled"})),
        stored(Put("a", 5), b"he", end=BodyEnd(refusal=Cancelled(""))),
    ),
    "a put ended early, for its own reasons": (
        message(0, {"path": "a", "size": 5}, trailer({"error": "whatever", "digest": {}})),
        stored(Put("a", 5), end=BodyEnd(refusal=Cancelled(""))),
    ),
    "a put that is too short": (
        message(0, {"path": "a", "size": 5}, chunk(b"hell"), END),
        stored(Put("a", 5), b"hell", end=BodyEnd(refusal=SizeMismatch(""))),
    ),
    "a put that is too long by a chunk": (
        message(0, {"path": "a", "size": 5}, chunk(b"hello"), chunk(b"!"), END),
        stored(Put("a", 5), b"hello", end=BodyEnd(refusal=SizeMismatch(""))),
    ),
    "a put that is too long within its first chunk": (
        message(0, {"path": "a", "size": 5}, chunk(b"hello!"), chunk(b"!"), END),
        stored(Put("a", 5), end=BodyEnd(refusal=SizeMismatch(""))),
    ),
    "a put that is too long, then given up": (
        message(0, {"path": "a", "size": 0}, chunk(b"!"), trailer({"error": "cancelled"})),
        stored(Put("a", 0), end=BodyEnd(refusal=SizeMismatch(""))),
    ),
    "a put from behind its end": (
        message(0, {"path": "a", "size": 5, "offset": 6}, END),
        stored(Put("a", 5, offset=6), end=BodyEnd(refusal=SizeMismatch(""))),
    ),
    "a put from an offset": (
        message(0, {"path": "a", "size": 5, "offset": 3}, chunk(b"lo"), END),
        stored(Put("a", 5, offset=3), b"lo"),
    ),
    "a trailer with an unknown key": (
        message(0, {"path": "a"}, trailer({"more": 5, "hidden": None})),
        stored(Put("a")),
    ),
    "a trailer that makes no sense": (
        message(0, {"path": "a"}, trailer({"digest": b"abc"})),
        stored(Put("a"), end=BodyEnd(refusal=Invalid(""))),
    ),
    "a trailer with text for a digest": (
        message(0, {"path": "a"}, trailer({"digest": {"sha256": "YWJj"}})),
        stored(Put("a"), end=BodyEnd(refusal=Invalid(""))),
    ),
    "a trailer with nil for an error": (
        message(0, {"path": "a"}, trailer({"error": None})),
        stored(Put("a"), end=BodyEnd(refusal=Invalid(""))),
    ),
}

MESSAGES: dict[str, tuple[bytes, list[Happening]]] = {
    **{name: (read_octets(text), expected) for name, (text, expected) in SAYABLE.items()},
    **HEARD,
}
A_TRAILING_REQUEST = message(1, {"path": "z"})
HELP = message(4, {})


def simplify(happened: list[Happening]) -> list[Happening | tuple[Any, ...]]:
    """Put the kind of a refusal in the place of the refusal: two exceptions are never equal."""
    return [
        (type(each), type(each.refusal))
        if isinstance(each, Malformed | BodyEnd) and each.refusal is not None
        else each
        for each in happened
    ]


def serve(pieces: list[bytes], *, has_eof: bool = True) -> list[Happening | tuple[Any, ...]]:
    return simplify(drive(ServerCodec(), pieces, has_eof=has_eof))


def fail(octets: bytes) -> str:
    """Feed octets that must fail the connection, after no event; gives the reason."""
    (failure,) = drive(ServerCodec(), [octets], has_eof=False)
    assert isinstance(failure, Failed)
    return failure.reason


cases = pytest.mark.parametrize(("octets", "expected"), MESSAGES.values(), ids=MESSAGES)


@cases
def test_request_is_read_however_it_is_split(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets):
        assert serve(pieces) == simplify([*expected, EndOfMessages()]), pieces


@cases
def test_request_needs_none_of_what_follows(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets):
        end = ServerCodec()
        assert simplify(drive(end, pieces, has_eof=False)) == simplify(expected), pieces
        assert end.is_between_messages
        assert end.available == end.run == 0
        assert not end.has_body


@cases
def test_request_takes_nothing_of_what_follows(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets + A_TRAILING_REQUEST):
        assert serve(pieces) == simplify([*expected, Get("z"), EndOfMessages()]), pieces


@cases
def test_request_is_read_behind_another(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(HELP + octets):
        assert serve(pieces) == simplify([Help(), *expected, EndOfMessages()]), pieces


@cases
def test_request_that_is_cut_is_a_truncation(octets: bytes, expected: list[Happening]) -> None:
    for cut in range(1, len(octets)):
        *happened, last = drive(ServerCodec(), [octets[:cut]])
        assert isinstance(last, Failed)
        assert "ended inside a message" in last.reason
        assert all(each.refusal for each in happened if isinstance(each, BodyEnd))
        end = ServerCodec()
        drive(end, [octets[:cut]], has_eof=False)
        assert not end.is_between_messages


@pytest.mark.parametrize(("text", "expected"), SAYABLE.values(), ids=SAYABLE)
def test_request_is_written(text: str, expected: list[Happening]) -> None:
    (request,) = (happening for happening in expected if isinstance(happening, Request))
    client = ClientCodec()
    written = client.encode(request)
    if isinstance(request, Put):
        body = next(happening for happening in expected if isinstance(happening, bytes))
        sizes = [1, 2, 3] if len(body) == 6 else [len(body)] * bool(body)
        for size in sizes:
            written += client.encode_run(size) + body[:size]
            body = body[size:]
        end = expected[-1]
        assert isinstance(end, BodyEnd)
        written += client.encode_body_end(end)
    assert written == read_octets(text)


def test_all_requests_in_one_segment() -> None:
    octets = b"".join(octets for octets, _ in MESSAGES.values())
    expected = [happening for _, happenings in MESSAGES.values() for happening in happenings]
    for pieces in ([octets], [octets[index : index + 1] for index in range(len(octets))]):
        assert serve(pieces) == simplify([*expected, EndOfMessages()])


def test_body_is_expected_where_there_is_one() -> None:
    for octets, expected in MESSAGES.values():
        end = ServerCodec()
        end.receive(octets)
        assert type(end.next_event()) is type(expected[0])
        assert end.has_body is isinstance(expected[0], Put)


@cases
def test_request_whose_body_nobody_wants(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets + A_TRAILING_REQUEST):
        happened = drive(ServerCodec(), pieces, discards_bodies=True)
        assert happened[-2:] == [Get("z"), EndOfMessages()]
        if isinstance(expected[0], Put):
            assert [type(each) for each in happened[:-2]] == [Put, bytes, BodyEnd]
            assert happened[1] == b""


# A table of the limits: for each key, values that must do and values that must not.
SIZES = ([0, 1, 2**31, 2**32 - 1, 2**63 - 1], [-1, 2**63, 2**64 - 1])
TEXTS: tuple[list[Any], list[Any]] = (["", "a", "é" * 3000], [b"a", 1, 1.5, True, ["a"], {"a": 1}])
BOOLEANS = ([True, False], [0, 1, "true", b"\1"])
ETAGS = (
    ["e", "e" * 64, "é" * 32],
    ["", "e" * 65, "é" * 33, "é" * 64, b"e", 1, {"e": 1}],
)
TOKENS = (
    [TOKEN],
    [b"", TOKEN[1:], TOKEN + b"!", "sixteen octets!!", "c2l4dGVlbiBvY3RldHMhIQ==", 16],
)
DIGESTS = (
    [{}, {"xxh3-128": b"x" * 16}, {"a": b"", "b": b"\xff" * 5000}],
    [b"", [], "x", {"sha256": "YWJj"}, {"sha256": 1}, {"sha256": None}, {"sha256": {}}],
)
NOT_INTEGERS: list[Any] = [5.0, 1.5, "5", b"5", True, False, [5], {"5": 5}]
TIMESTAMP = Raw(b"\xd6\xff\0\0\0\1")
EXTENSION = Raw(b"\xd4\x05a")
NEVER: list[Any] = [None, EXTENSION, TIMESTAMP]

LIMITS: dict[tuple[type[Request], str], tuple[list[Any], list[Any]]] = {
    (Put, "path"): TEXTS,
    (Put, "size"): (SIZES[0], SIZES[1] + NOT_INTEGERS),
    (Put, "digest"): DIGESTS,
    (Put, "algorithm"): TEXTS,
    (Put, "modified"): ([0, 1, -1, 2**31, 2**63 - 1, -(2**63)], [2**63, 2**64 - 1, *NOT_INTEGERS]),
    (Put, "mode"): ([0, 1, 0o777, 2**63 - 1], [-1, 2**63, 2**64 - 1, *NOT_INTEGERS]),
    (Put, "parents"): BOOLEANS,
    (Put, "if_match"): ETAGS,
    (Put, "if_none_match"): ([True], [False, 0, 1, "etag"]),
    (Put, "upload"): TOKENS,
    (Put, "offset"): (SIZES[0], SIZES[1] + NOT_INTEGERS),
    (Get, "path"): TEXTS,
    (Get, "offset"): (SIZES[0], SIZES[1] + NOT_INTEGERS),
    (Get, "count"): (SIZES[0], SIZES[1] + NOT_INTEGERS),
    (Get, "if_match"): ETAGS,
    (Get, "algorithm"): TEXTS,
    (Change, "path"): TEXTS,
    (Change, "to"): TEXTS,
    (Change, "replace"): BOOLEANS,
    (Change, "if_match"): ETAGS,
    (Summary, "path"): TEXTS,
    (Summary, "column"): (
        [1, 2**31, 2**32 - 1, 2**63 - 1, "cost", "1", ""],
        [0, -1, 2**63, 2**64 - 1, 1.0, True, b"cost", [1]],
    ),
    (Summary, "delimiter"): ([",", "\t", "é", "\U0001f30d"], ["", ";;", b";", 59, True]),
    (Summary, "skip"): (SIZES[0], SIZES[1] + NOT_INTEGERS),
    (List, "path"): TEXTS,
    (List, "recursive"): BOOLEANS,
    (List, "after"): TEXTS,
    (List, "limit"): (
        [1, 100_000],
        [0, 100_001, -1, 2**31, 2**32 - 1, 2**63, 2**64 - 1, *NOT_INTEGERS],
    ),
    (Stat, "path"): TEXTS,
    (Stat, "upload"): TOKENS,
    (Delete, "path"): TEXTS,
    (Delete, "recursive"): BOOLEANS,
    (Delete, "if_match"): ETAGS,
    (Delete, "upload"): TOKENS,
    (MakeDirectory, "path"): TEXTS,
    (MakeDirectory, "parents"): BOOLEANS,
    (Authenticate, "mechanism"): TEXTS,
    (Authenticate, "response"): ([b"", b"\0" * 60_000], ["", "YWJj", 1, [1], True]),
    (Digest, "path"): TEXTS,
    (Digest, "algorithm"): TEXTS,
    (Digest, "if_match"): ETAGS,
    (Copy, "path"): TEXTS,
    (Copy, "to"): TEXTS,
    (Copy, "replace"): BOOLEANS,
    (Copy, "if_match"): ETAGS,
}
CODES: list[type[Request]] = [
    Put,
    Get,
    Change,
    Summary,
    Help,
    List,
    Stat,
    Delete,
    MakeDirectory,
    Authenticate,
    Digest,
    Copy,
]
REQUIRED: dict[type[Request], dict[str, Any]] = {
    Put: {"path": "p"},
    Get: {"path": "p"},
    Change: {"path": "p", "to": "t"},
    Summary: {"path": "p"},
    Help: {},
    List: {},
    Stat: {},
    Delete: {},
    MakeDirectory: {"path": "p"},
    Authenticate: {"mechanism": "m", "response": b"r"},
    Digest: {"path": "p"},
    Copy: {"path": "p", "to": "t"},
}


def ask(kind: type[Request], head: Any) -> Any:
    """Send one request with this head, and give the event."""
    end = ServerCodec()
    end.receive(message(CODES.index(kind), head, *([b""] if kind is Put else [])))
    return end.next_event()


@pytest.mark.parametrize(
    ("kind", "key"), LIMITS, ids=[f"{kind.__name__}-{key}" for kind, key in LIMITS]
)
def test_limits(kind: type[Request], key: str) -> None:
    must, must_not = LIMITS[kind, key]
    # STAT and DELETE have one of two.
    rest = {"path": "p"} if kind is Delete and key not in ("path", "upload") else REQUIRED[kind]
    for value in must:
        request = ask(kind, {**rest, key: value})
        assert type(request) is kind, value
        assert getattr(request, key) == value
        assert type(getattr(request, key)) is type(value)
    for value in [*must_not, *NEVER]:
        request = ask(kind, {**rest, key: value})
        assert isinstance(request, Malformed), value
        assert type(request.refusal) is Invalid
        assert key in str(request.refusal), "it says what is wrong"


@pytest.mark.parametrize("kind", CODES)
def test_keys_that_must_be_there(kind: type[Request]) -> None:
    for key in REQUIRED[kind]:
        head = {name: value for name, value in REQUIRED[kind].items() if name != key}
        request = ask(kind, head)
        assert isinstance(request, Malformed)
        assert key in str(request.refusal)
    if kind in (Stat, Delete):
        assert isinstance(ask(kind, {}), Malformed)
        assert isinstance(ask(kind, {"path": "p", "upload": TOKEN}), Malformed)
    else:
        assert type(ask(kind, REQUIRED[kind])) is kind


@pytest.mark.parametrize("kind", CODES)
def test_every_kind_with_its_body_and_without(kind: type[Request]) -> None:
    head = REQUIRED[kind] or {"path": "p"}
    code = CODES.index(kind)
    for pieces in split_every_way(message(code, head) + HELP):
        happened = serve(pieces, has_eof=False)
        assert happened[0] == (
            (Malformed, Invalid) if kind is Put else kind(**head if kind is not Help else {})
        )
        assert happened[1:] == [Help()]
    if kind is not Put:
        for pieces in split_every_way(message(code, head, chunk(b"abc"), END) + HELP):
            assert serve(pieces, has_eof=False) == [(Malformed, Invalid), Help()]


def test_every_code() -> None:
    for code in range(128):
        for body in ([], [END], [chunk(b"\x04\0\0\x01\x80"), END]):
            octets = message(code, {"path": "p", "to": "t"}, *body)
            happened = serve([octets + HELP], has_eof=False)
            assert happened[-1] == Help()
            if code > 11:
                assert happened[:-1] == [Unknown(code)]


# What fails the connection.

HOSTILE_MAPS: dict[str, bytes] = {
    "nothing": b"",
    "nil": pack(None),
    "a list": pack([["path", "a"]]),
    "text": pack("path"),
    "an integer": pack(5),
    "two maps": pack({}) + pack({}),
    "a map and an octet": pack({"path": "a"}) + b"\0",
    "a map that is cut": pack({"path": "a"})[:-1],
    "a map of more than there is": b"\x82\xa4path\xa1a",
    "a map of 2**32 - 1 keys": b"\xdf\xff\xff\xff\xff",
    "a list of 2**32 - 1 values": b"\x81\xa1x\xdd\xff\xff\xff\xff",
    "a list of 2**28 values": b"\x81\xa1x\xdd\x0f\xff\xff\xff" + b"\xc0" * 1000,
    "text of 2**32 - 1 octets": b"\x81\xa1x\xdb\xff\xff\xff\xffx",
    "octets of 2**32 - 1 octets": b"\x81\xa1x\xc6\xff\xff\xff\xffx",
    "an extension of 2**32 - 1 octets": b"\x81\xa1x\xc9\xff\xff\xff\xff\x05x",
    "the octet that means nothing": b"\x81\xa1x\xc1",
    "a key of octets": pack(Pairs([(b"path", "a")])),
    "a key of an integer": pack(Pairs([(1, "a")])),
    "a key of nil": pack(Pairs([(None, "a")])),
    "a key of a map": pack(Pairs([({}, "a")])),
    "a key that is not text, further in": pack({"x": [Pairs([(1, 1)])]}),
    "a key of a list, further in": pack({"x": Pairs([([1], 1)])}),
    "text that is not UTF-8": b"\x81\xa4path\xa1\xff",
    "a key that is not UTF-8": b"\x81\xa1\xff\x01",
    "a surrogate": b"\x81\xa4path\xa3\xed\xa0\x80",
    "a timestamp that is none": b"\x81\xa1x\xc7\x0c\xff\xff\xff\xff\xff" + bytes(8),
    "nested too deep, in lists": pack({"x": [[[[[[[[]]]]]]]]}),
    "nested too deep, in maps": pack({"x": {"x": {"x": {"x": {"x": {"x": {"x": {"x": {}}}}}}}}}),
    "nested a hundred deep": b"\x81\xa1x" * 100 + b"\x80",
    "nested a thousand deep": b"\x81\xa1x" * 1000 + b"\x80",
    "nested ten thousand deep": b"\x81\xa1x" + b"\x91" * 10_000 + b"\x80",
}


@pytest.mark.parametrize("octets", HOSTILE_MAPS.values(), ids=HOSTILE_MAPS)
def test_what_is_not_one_map_fails(octets: bytes) -> None:
    head = len(octets).to_bytes(3, "big") + octets
    for header in (b"\x01", b"\x80", b"\x7f"):
        assert "head or trailer" in fail(header + head)
    for start in (message(0, {"path": "a"}, b""), message(12, {}, b"")):
        event, *rest = drive(ServerCodec(), [start + b"\0\0\0\0" + head])
        assert isinstance(event, Put | Unknown)
        assert isinstance(rest[-1], Failed)
        assert "head or trailer" in rest[-1].reason


def padded(size: int) -> bytes:
    """Give a map of so many octets."""
    return b"\x81\xa1x\xc5" + (size - 6).to_bytes(2, "big") + b"x" * (size - 6)


def test_largest_head() -> None:
    head = padded(65_536)
    assert len(head) == 65_536
    octets = b"\x04\x01\x00\x00" + head
    for pieces in ([octets], [octets[:4], octets[4:-1], octets[-1:]]):
        assert serve(pieces) == [Help(), EndOfMessages()]
    assert "65537 octets" in fail(b"\x04\x01\x00\x01")
    assert "octets" in fail(b"\x04\xff\xff\xff")


@pytest.mark.parametrize("start", [message(0, {"path": "a"}, b""), message(12, {}, b"")])
def test_largest_trailer(start: bytes) -> None:
    end = ServerCodec()
    happened = drive(end, [start, b"\0\0\0\0\x01\x00\x00" + padded(65_536)], has_eof=False)
    assert type(happened[-1]) is not Failed
    assert end.is_between_messages
    failure = drive(ServerCodec(), [start, b"\0\0\0\0\x01\x00\x01"], has_eof=False)[-1]
    assert isinstance(failure, Failed)
    assert "a trailer of 65537 octets" in failure.reason


def test_largest_chunk() -> None:
    """The claim is believed, and costs nothing."""
    for start in (message(0, {"path": "a"}, b""), message(12, {}, b"")):
        for size in (1, 2**24 - 1, 2**24):
            end = ServerCodec()
            happened = drive(end, [start + size.to_bytes(4, "big")], has_eof=False)
            assert not isinstance(happened[-1], Failed)
            assert end.run == size
        for size in (2**24 + 1, 2**28, 2**28 + 1, 2**31, 2**32 - 1):
            failure = drive(ServerCodec(), [start + size.to_bytes(4, "big")], has_eof=False)[-1]
            assert isinstance(failure, Failed)
            assert f"{size:#010x}" in failure.reason


@pytest.mark.parametrize("discards_bodies", [False, True])
@pytest.mark.parametrize("code", [0, 12])
def test_chunks_that_are_too_small(code: int, discards_bodies: bool) -> None:
    """More than 1,024 of them averaging under a kibibyte: each costs as much as one of a mebibyte."""
    start = message(code, {"path": "a"}, b"")
    for sizes, is_allowed in [
        ([1] * 1024, True),
        ([1] * 1025, False),
        ([1024] * 1500, True),
        ([1024] * 1500 + [1023], False),
        ([2**20] + [1] * 2000, False),
        ([2**20] + [1] * 1024, True),
        ([2**20] + [1] * 1025, False),
        ([2**21] + [1] * 2047, True),
    ]:
        body = b"".join(chunk(bytes(size)) for size in sizes)
        happened = drive(
            ServerCodec(), [start + body + END], has_eof=False, discards_bodies=discards_bodies
        )
        failed = isinstance(happened[-1], Failed)
        assert failed is not is_allowed, (sizes[:2], len(sizes))
        if failed:
            assert "too small" in happened[-1].reason  # type: ignore[union-attr]


def test_octets_of_many_discarded_chunks_at_once() -> None:
    end = ServerCodec()
    octets = message(12, {}, *[chunk(b"x")] * 1024, END)
    assert drive(end, [octets * 20], has_eof=False) == [Unknown(12)] * 20
    assert end.is_between_messages


def test_nothing_fails_before_it_must() -> None:
    for octets in (b"\x04\x01\x00\x01", message(0, {"path": "a"}, b"\x01\0\0\x01")):
        for cut in range(len(octets)):
            happened = drive(ServerCodec(), [octets[:cut]], has_eof=False)
            assert not any(isinstance(each, Failed) for each in happened)


def test_end_before_the_first_request() -> None:
    assert serve([]) == [EndOfMessages()]
    assert serve([b"", b""]) == [EndOfMessages()]


# Bodies: what the driver does with them.


def begin(*body: bytes, **head: Any) -> ServerCodec:
    end = ServerCodec()
    end.receive(message(0, {"path": "a", **head}, *body))
    assert isinstance(end.next_event(), Put)
    return end


def test_run_is_what_is_left_of_the_chunk() -> None:
    end = begin(chunk(b"hello")[:6], size=7)
    assert (end.run, end.has_body) == (0, True)
    assert end.next_event() == BodyRun()
    assert (end.run, end.available, end.has_body) == (5, 2, True)
    assert end.next_event() is None
    assert end.take_body(9) == b"he"
    end.body_moved(2)
    assert end.next_event() is None
    with pytest.raises(LocalProtocolError):
        end.body_moved(2)
    end.body_moved(1)
    assert end.next_event() is None
    assert end.has_body
    end.receive(chunk(b"!!") + END + HELP)
    assert end.take_body(9) == b""
    assert end.next_event() == BodyRun()
    assert end.take_body(9) == b"!!"
    assert end.next_event() == BodyEnd()
    assert not end.has_body
    assert end.next_event() == Help()


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 100])
@pytest.mark.parametrize("moves_bodies", [False, True])
def test_body_is_the_same_however_it_is_taken(limit: int, moves_bodies: bool) -> None:
    octets = message(0, {"path": "a", "size": 8}, chunk(b"hello"), chunk(b"!"), chunk(b"??"), END)
    for pieces in split_every_way(octets + HELP):
        happened = drive(ServerCodec(), pieces, limit=limit, moves_bodies=moves_bodies)
        assert happened == [
            *stored(Put("a", 8), b"hello", b"!", b"??"),
            Help(),
            EndOfMessages(),
        ], pieces


def test_rest_of_a_body_is_discarded() -> None:
    """In the middle of a chunk, between two, and before the first."""
    octets = message(0, {"path": "a", "size": 5}, chunk(b"he"), chunk(b"llo"), END)
    for fed in range(len(octets)):
        end = ServerCodec()
        drive(end, [octets[:fed]], has_eof=False)
        if not end.has_body:
            continue
        end.discard_body()
        end.receive(octets[fed:] + HELP)
        assert end.next_event() == BodyEnd()
        assert end.next_event() == Help()
        assert end.is_between_messages


def test_only_a_body_is_discarded() -> None:
    end = ServerCodec()
    end.discard_body()
    octets = message(0, {"path": "a"}, chunk(b"x"), END)
    drive(end, [octets[:7]], has_eof=False)
    end.discard_body()
    assert drive(end, [octets[7:]]) == [*stored(Put("a"), b"x"), EndOfMessages()]


def test_end_of_the_connection_waits_for_the_octets_that_were_fed() -> None:
    end = begin(chunk(b"hello"), END, size=5)
    end.receive_eof()
    assert end.next_event() == BodyRun()
    assert end.next_event() is None
    assert end.take_body(5) == b"hello"
    assert [end.next_event() for _ in range(3)] == [BodyEnd(), EndOfMessages(), EndOfMessages()]


# What the client's end must not say.


@pytest.mark.parametrize(
    "request_",
    [
        Get("a\udcff"),
        Get("a" * 65_536),
        Get("a", 2**64),
        Put("a", modified=-(2**63) - 1),
        Put("a", digest={"\udcff": b""}),
        Unknown(12),
        Malformed(Invalid("")),
    ],
)
def test_what_version_2_cannot_say(request_: Request) -> None:
    client = ClientCodec()
    with pytest.raises(LocalProtocolError):
        client.encode(request_)
    client.encode(Help())
    client.receive(message(0, {"version": 2}) + message(3, {}))
    assert client.next_event() is not None
    assert client.next_event() is not None


def test_largest_head_is_written() -> None:
    path = "p" * (65_536 - 9)
    assert len(ClientCodec().encode(Get(path))) == 4 + 65_536
    with pytest.raises(LocalProtocolError, match="65537 octets"):
        ClientCodec().encode(Get(path + "p"))


@pytest.mark.parametrize("count", [-1, 0, 2**24 + 1, 2**32])
def test_chunks_that_cannot_be(count: int) -> None:
    with pytest.raises(LocalProtocolError):
        ClientCodec().encode_run(count)


def test_largest_chunk_is_written() -> None:
    assert ClientCodec.max_run == 2**24
    assert ClientCodec().encode_run(2**24) == b"\1\0\0\0"


@pytest.mark.parametrize("kind", [Stat, Delete])
def test_one_thing_is_named(kind: type[Stat] | type[Delete]) -> None:
    with pytest.raises(ValueError, match="a path or an upload"):
        kind()
    with pytest.raises(ValueError, match="a path or an upload"):
        kind("a", upload=TOKEN)
