"""Version 2, the greeting and responses: octets on the left, on the right what the client's end makes of them.

Written from sections 2 and 3 of the protocol. Octets stand as they travel, nothing is computed by the code under test.
"""

import math
from typing import Any

import pytest
from feeding import Failed, Happening, drive, split_every_way
from packing import END, Raw, chunk, message, read_octets, trailer

from filetransfer import errors
from filetransfer.errors import (
    Busy,
    Cancelled,
    Internal,
    LocalProtocolError,
    NotFound,
    RequestRefused,
    ShuttingDown,
)
from filetransfer.wire.messages import (
    Authenticate,
    Authenticated,
    BodyEnd,
    BodyRun,
    Challenge,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Digested,
    Done,
    EndOfMessages,
    Get,
    Greeting,
    Help,
    HelpText,
    List,
    Listing,
    MakeDirectory,
    Put,
    Refused,
    Request,
    Response,
    Stat,
    Statistics,
    Status,
    Summary,
    Unavailable,
    Unknown,
    Working,
)
from filetransfer.wire.v2 import ClientCodec, ServerCodec

TOKEN = b"sixteen octets!!"
ETAG = "0123456789abcdef"
GREETING = message(0, {"version": 2})
PUT, GET, CHANGE, SUMMARY = Put("a"), Get("a"), Change("a", "b"), Summary("a")


def sent(content: Response, *runs: bytes, end: BodyEnd | None = None) -> list[Happening]:
    return [content, *(BodyRun() for _ in runs), b"".join(runs), end or BodyEnd()]


# What our server says: octets <-> responses.
SAYABLE: dict[str, tuple[Request, str, list[Happening]]] = {
    "done, to put": (
        PUT,
        '00 00 00 0E 82 A4 "size" 05 A4 "etag" A1 "e"',
        [Done(5, "e")],
    ),
    "done, to put, with a digest": (
        PUT,
        """00 00 00 2B 83 A4 "size" CE 00 01 00 00 A4 "etag" A1 "e"
        A6 "digest" 81 A6 "sha256" C4 08 "octets.." """,
        [Done(65536, "e", {"sha256": b"octets.."})],
    ),
    "done, to change": (CHANGE, '00 00 00 08 81 A4 "etag" A1 "e"', [Done(None, "e")]),
    "done, to delete": (Delete("a"), "00 00 00 01 80", [Done()]),
    "done, to make a directory": (MakeDirectory("a"), "00 00 00 01 80", [Done()]),
    "done, to copy": (
        Copy("a", "b"),
        '00 00 00 0E 82 A4 "size" 00 A4 "etag" A1 "e"',
        [Done(0, "e")],
    ),
    "content": (
        GET,
        """80 00 00 24 84 A4 "size" 05 A4 "etag" A1 "e" A8 "modified" CE 65 53 F1 00 A4 "mode" CD 01 A4
        00 00 00 05 "hello"
        00 00 00 00 00 00 0D 81 A6 "digest" 81 A1 "d" C4 00""",
        sent(Content("a", 5, 0, "e", 1_700_000_000, 0o644), b"hello", end=BodyEnd({"d": b""})),
    ),
    "content, empty": (
        GET,
        """80 00 00 1E 84 A4 "size" 00 A4 "etag" A1 "e" A8 "modified" 00 A4 "mode" 00
        00 00 00 00 00 00 01 80""",
        sent(Content("a", 0, 0, "e", 0, 0)),
    ),
    "content, a part in two chunks": (
        Get("a", 2, 3),
        """80 00 00 33 86 A4 "size" 09 A6 "offset" 02 A4 "etag" A1 "e" A8 "modified" FF A4 "mode" 00
        A6 "digest" 81 A1 "d" C4 01 FF
        00 00 00 01 "c" 00 00 00 02 "de"
        00 00 00 00 00 00 01 80""",
        sent(Content("a", 9, 2, "e", -1, 0, {"d": b"\xff"}), b"c", b"de"),
    ),
    "content, less than was asked for": (
        Get("a", 2, 3),
        """80 00 00 26 85 A4 "size" 03 A6 "offset" 02 A4 "etag" A1 "e" A8 "modified" 00 A4 "mode" 00
        00 00 00 01 "c"
        00 00 00 00 00 00 01 80""",
        sent(Content("a", 3, 2, "e", 0, 0), b"c"),
    ),
    "content, from the file's end on": (
        Get("a", 3),
        """80 00 00 26 85 A4 "size" 03 A6 "offset" 03 A4 "etag" A1 "e" A8 "modified" 00 A4 "mode" 00
        00 00 00 00 00 00 01 80""",
        sent(Content("a", 3, 3, "e", 0, 0)),
    ),
    "summary": (
        SUMMARY,
        """00 00 00 4D 86
        A3 "max" CB 40 46 00 00 00 00 00 00
        A3 "min" CB 40 24 00 00 00 00 00 00
        A4 "mean" CB 40 3A 00 00 00 00 00 00
        A5 "count" 03
        A3 "sum" CB 40 53 80 00 00 00 00 00
        A6 "stddev" CB 00 00 00 00 00 00 00 00""",
        [Statistics(44.0, 10.0, 26.0, 3, 78.0, 0.0)],
    ),
    "help": (
        Help(),
        """00 00 00 45 85 A4 "text" A2 "hi" A8 "requests" 92 A3 "PUT" A3 "GET"
        A8 "features" 90 A6 "limits" 81 A4 "path" CD 10 00 A8 "software" A6 "s/1.0." """,
        [HelpText("hi", ["PUT", "GET"], [], {"path": 4096}, "s/1.0.")],
    ),
    "list, of nothing": (List(), "80 00 00 01 80 00 00 00 00 00 00 01 80", sent(Listing())),
    "list": (
        List("d"),
        """80 00 00 01 80
        00 00 00 03 "abc"
        00 00 00 00 00 00 12 82 A4 "more" A3 "d/e" A6 "hidden" 02""",
        sent(Listing(), b"abc", end=BodyEnd({}, None, "d/e", 2)),
    ),
    "stat, of a file": (
        Stat("a"),
        """00 00 00 34 86 A4 "kind" A4 "file" A4 "size" 05 A8 "modified" 00 A4 "mode" 00 A4 "etag" A1 "e"
        A6 "digest" 81 A1 "d" C4 00""",
        [Status("file", 5, 0, 0, "e", {"d": b""})],
    ),
    "stat, of a directory": (
        Stat("a"),
        '00 00 00 10 81 A4 "kind" A9 "directory"',
        [Status("directory")],
    ),
    "stat, of an upload": (
        Stat(upload=TOKEN),
        '00 00 00 15 82 A6 "digest" 81 A1 "d" C4 00 A6 "offset" 00',
        [Status(digest={"d": b""}, offset=0)],
    ),
    "stat, of an upload that was published": (
        Stat(upload=TOKEN),
        """00 00 00 30 85 A4 "kind" A9 "published" A4 "size" 05 A4 "etag" A1 "e"
        A6 "digest" 81 A1 "d" C4 00 A4 "path" A1 "a" """,
        [Status("published", 5, None, None, "e", {"d": b""}, None, "a")],
    ),
    "authenticated": (
        Authenticate("m", b""),
        '00 00 00 0F 81 A8 "identity" A4 "anna"',
        [Authenticated("anna")],
    ),
    "challenge": (
        Authenticate("m", b""),
        '02 00 00 0E 81 A9 "challenge" C4 01 FF',
        [Challenge(b"\xff")],
    ),
    "digest": (
        Digest("a"),
        '00 00 00 1A 83 A6 "digest" 81 A1 "d" C4 00 A4 "size" 05 A4 "etag" A1 "e"',
        [Digested({"d": b""}, 5, "e")],
    ),
    "refused": (
        GET,
        '01 00 00 23 82 A5 "error" A9 "not-found" A7 "message" A9 "not found"',
        [Refused(NotFound("not found"))],
    ),
    "refused, for a while": (
        PUT,
        '01 00 00 2A 83 A5 "error" A4 "busy" A7 "message" A8 "too much" AB "retry_after" 05',
        [Refused(Busy("too much", retry_after=5))],
    ),
}

ALL_OF_CONTENT = {"size": 2, "etag": "e", "modified": 0, "mode": 0}


def working(octets: bytes, times: int = 1) -> bytes:
    return message(3, {}) * times + octets


# What the client's end must understand besides.
HEARD: dict[str, tuple[Request, bytes, list[Happening]]] = {
    "working, once": (
        Delete("a"),
        working(message(0, {})),
        [Working(), Done()],
    ),
    "working, often": (
        GET,
        working(message(1, {"error": "busy", "message": ""}), 5),
        [*[Working()] * 5, Refused(Busy("busy"))],
    ),
    "working, with keys": (
        Delete("a"),
        message(3, {"done": 0.5}) + message(0, {}),
        [Working(), Done()],
    ),
    "an unknown key": (
        Delete("a"),
        message(0, {"size": 5, "color": None}),
        [Done(5)],
    ),
    "numbers of a summary as integers": (
        SUMMARY,
        message(0, {"max": 4, "min": 1, "mean": 2, "count": 3, "sum": 7, "stddev": 0}),
        [Statistics(4.0, 1.0, 2.0, 3, 7.0, 0.0)],
    ),
    "a sum beyond all numbers": (
        SUMMARY,
        message(
            0, {"max": 1e308, "min": 1.0, "mean": 1.0, "count": 3, "sum": math.inf, "stddev": 0.0}
        ),
        [Statistics(1e308, 1.0, 1.0, 3, math.inf, 0.0)],
    ),
    "the name of a content is what was asked for": (
        GET,
        message(0, {**ALL_OF_CONTENT, "path": 5}, chunk(b"hi"), END),
        sent(Content("a", 2, 0, "e", 0, 0), b"hi"),
    ),
    "a content that is given up": (
        GET,
        message(0, ALL_OF_CONTENT, chunk(b"h"), trailer({"error": "internal"})),
        sent(
            Content("a", 2, 0, "e", 0, 0),
            b"h",
            end=BodyEnd(refusal=Internal("the server gave the body up")),
        ),
    ),
    "a refusal without a message": (
        GET,
        message(1, {"error": "not-found"}),
        [Refused(NotFound("not-found"))],
    ),
    "a refusal by a word of a later version": (
        GET,
        message(1, {"error": "too-late", "message": "come tomorrow", "retry_after": 1.5}),
        [Refused(RequestRefused("come tomorrow (too-late)", retry_after=1.5))],
    ),
    "a refusal by an unknown word alone": (
        GET,
        message(1, {"error": "too-late", "message": ""}),
        [Refused(RequestRefused("refused (too-late)"))],
    ),
}

MESSAGES: dict[str, tuple[Request, bytes, list[Happening]]] = {
    **{
        name: (request, read_octets(text), expected)
        for name, (request, text, expected) in SAYABLE.items()
    },
    **HEARD,
}
A_TRAILING_RESPONSE = message(0, {"etag": "z"})


def asking(*requests: Request) -> ClientCodec:
    """Give a client's end that was greeted, and has asked."""
    end = ClientCodec()
    end.receive(GREETING)
    assert end.next_event() == Greeting(2)
    for request in requests:
        end.encode(request)
    return end


def simplify(happened: list[Happening]) -> list[Happening | tuple[Any, ...]]:
    """Put what a refusal says in its place: two exceptions are never equal."""
    simple: list[Happening | tuple[Any, ...]] = []
    for each in happened:
        refusal = None
        if isinstance(each, Refused | Unavailable):
            refusal = each.error
        elif isinstance(each, BodyEnd):
            refusal = each.refusal
        simple.append(
            each
            if refusal is None
            else (type(each), type(refusal), str(refusal), refusal.retry_after)
        )
    return simple


def hear(pieces: list[bytes], *requests: Request, has_eof: bool = True) -> list[Any]:
    return simplify(drive(asking(*requests), pieces, has_eof=has_eof))


def fail(octets: bytes, *requests: Request) -> str:
    """Feed octets that must fail the connection; gives the reason."""
    failure = drive(asking(*requests), [octets], has_eof=False)[-1]
    assert isinstance(failure, Failed), failure
    return failure.reason


cases = pytest.mark.parametrize(("request_", "octets", "expected"), MESSAGES.values(), ids=MESSAGES)


@cases
def test_response_is_read_however_it_is_split(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets):
        assert hear(pieces, request_) == simplify([*expected, EndOfMessages()]), pieces


@cases
def test_response_needs_none_of_what_follows(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets):
        end = asking(request_)
        assert simplify(drive(end, pieces, has_eof=False)) == simplify(expected), pieces
        assert end.is_between_messages
        assert end.available == end.run == 0
        assert not end.has_body


@cases
def test_response_takes_nothing_of_what_follows(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets + A_TRAILING_RESPONSE):
        happened = hear(pieces, request_, CHANGE)
        assert happened == simplify([*expected, Done(None, "z"), EndOfMessages()]), pieces


@cases
def test_response_that_is_cut_is_a_truncation(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    if expected[0] == Working():
        return  # several messages: the end of one of them is no truncation
    for cut in range(1, len(octets)):
        *happened, last = drive(asking(request_), [octets[:cut]])
        assert last == Failed("the connection ended inside a message")
        assert not any(isinstance(each, BodyEnd) for each in happened)


@cases
def test_response_whose_body_nobody_wants(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets + A_TRAILING_RESPONSE):
        happened = drive(asking(request_, CHANGE), pieces, discards_bodies=True)
        assert happened[-2:] == [Done(None, "z"), EndOfMessages()]
        if isinstance(expected[0], Content | Listing):
            assert [type(each) for each in happened[:-2]] == [type(expected[0]), bytes, BodyEnd]
            assert happened[1] == b""


@pytest.mark.parametrize(("request_", "text", "expected"), SAYABLE.values(), ids=SAYABLE)
def test_response_is_written(request_: Request, text: str, expected: list[Any]) -> None:
    server = ServerCodec()
    written = server.encode(expected[0], request_)
    if len(expected) > 1:
        body = expected[-2]
        sizes = (
            [1, 2] if request_ == Get("a", 2, 3) and len(body) == 3 else [len(body)] * bool(body)
        )
        for size in sizes:
            written += server.encode_run(size) + body[:size]
            body = body[size:]
        written += server.encode_body_end(expected[-1])
    assert written == read_octets(text)


def test_all_responses_in_one_segment() -> None:
    octets = b"".join(octets for _, octets, _ in MESSAGES.values())
    requests = [request for request, _, _ in MESSAGES.values()]
    expected = [happening for _, _, happenings in MESSAGES.values() for happening in happenings]
    for pieces in ([octets], [octets[index : index + 1] for index in range(len(octets))]):
        assert hear(pieces, *requests) == simplify([*expected, EndOfMessages()])


@pytest.mark.parametrize("leaf", [*errors.RequestRefused.__subclasses__(), RequestRefused])
def test_refusals_cross_by_their_words(leaf: type[RequestRefused]) -> None:
    octets = ServerCodec().encode(Refused(leaf("why", retry_after=0)), GET)
    assert octets == message(1, {"error": leaf.word, "message": "why", "retry_after": 0})
    heard = Internal if leaf is RequestRefused else leaf
    assert hear([octets], GET)[:-1] == [(Refused, heard, "why", 0)]


def test_working_is_written() -> None:
    assert ServerCodec().encode(Working(), GET) == message(3, {})


def test_refusal_has_a_message_always() -> None:
    assert ServerCodec().encode(Refused(Busy("")), GET) == message(
        1, {"error": "busy", "message": ""}
    )


def test_body_that_is_given_up_is_written() -> None:
    """By a client that was refused early, and by a server whose disk fails."""
    for end in (ClientCodec(), ServerCodec()):
        octets = end.encode_body_end(BodyEnd({"d": b""}, Cancelled("enough")))
        assert octets == trailer({"error": "cancelled"})


def test_refusal_may_come_before_the_body_has_ended() -> None:
    """The client finishes its chunk and ends the body; there is no other answer to it."""
    client, server = asking(PUT), ServerCodec()
    server.receive(message(0, {"path": "a"}, chunk(b"hello")[:6]))
    request = server.next_event()
    assert isinstance(request, Put)
    client.receive(server.encode(Refused(NotFound("no such directory")), request))
    server.discard_body()
    assert isinstance(client.next_event(), Refused)
    server.receive(b"llo" + client.encode_body_end(BodyEnd(refusal=Cancelled(""))))
    server.receive(client.encode(Get("b")))
    assert simplify([server.next_event() or b""])[0] == (
        BodyEnd,
        Cancelled,
        "the sender gave the body up",
        None,
    )
    assert server.next_event() == Get("b")


# The greeting.

GREETINGS: dict[str, tuple[str, Greeting | Unavailable]] = {
    "greeting": (
        """00 00 00 74 85 A7 "version" 02 A8 "software" B2 "filetransfer/1.2.3" A8 "features" 91 A6 "resume"
        A6 "limits" 84 A4 "path" CD 10 00 A4 "head" CE 00 01 00 00 A5 "chunk" CE 01 00 00 00
        A8 "pipeline" CD 01 00 AA "mechanisms" 90""",
        Greeting(
            2,
            "filetransfer/1.2.3",
            ["resume"],
            {"path": 4096, "head": 65536, "chunk": 2**24, "pipeline": 256},
            [],
        ),
    ),
    "greeting, with nothing to say": (
        '00 00 00 32 85 A7 "version" 02 A8 "software" A0 A8 "features" 90 A6 "limits" 80 AA "mechanisms" 90',
        Greeting(2),
    ),
    "busy": (
        '01 00 00 2A 83 A5 "error" A4 "busy" A7 "message" A8 "too much" AB "retry_after" 3C',
        Unavailable(Busy("too much", retry_after=60)),
    ),
    "shutting down": (
        '01 00 00 21 82 A5 "error" AD "shutting-down" A7 "message" A3 "bye"',
        Unavailable(ShuttingDown("bye")),
    ),
}


@pytest.mark.parametrize(("text", "greeting"), GREETINGS.values(), ids=GREETINGS)
def test_greeting(text: str, greeting: Greeting | Unavailable) -> None:
    octets = read_octets(text)
    assert ServerCodec().encode_greeting(greeting) == octets
    for pieces in split_every_way(octets):
        happened = drive(ClientCodec(), pieces)
        assert simplify(happened) == simplify([greeting, EndOfMessages()]), pieces


def test_greeting_with_keys_of_a_later_version() -> None:
    octets = message(0, {"version": 3, "color": "red"})
    assert drive(ClientCodec(), [octets]) == [Greeting(3), EndOfMessages()]


def test_requests_are_sent_before_the_greeting() -> None:
    """Over TLS the client need not wait for it."""
    client = ClientCodec()
    client.encode(Delete("a"))
    for pieces in split_every_way(GREETING + message(0, {})):
        client = ClientCodec()
        client.encode(Delete("a"))
        assert drive(client, pieces) == [Greeting(2), Done(), EndOfMessages()]


def test_nothing_follows_a_server_that_cannot_serve() -> None:
    client = ClientCodec()
    client.encode(Delete("a"))
    happened = drive(client, [message(1, {"error": "busy"}) + message(0, {})])
    assert simplify(happened[:1]) == [(Unavailable, Busy, "busy", None)]
    assert happened[1:] == [Failed("the server answered what was not asked")]


@pytest.mark.parametrize(
    "octets",
    [
        message(0, {}),
        message(0, {"version": "2"}),
        message(0, {"version": -1}),
        message(0, {"version": None}),
        message(0, {"version": 2, "limits": {"path": "long"}}),
        message(0, {"version": 2, "features": "resume"}),
        message(0, {"version": 2}, END),
        message(1, {"error": "busy"}, END),
        message(1, {}),
        message(2, {"challenge": b""}),
        message(3, {}),
        message(4, {"version": 2}),
        b"\x80\x00\x00\x00",
    ],
)
def test_greetings_that_fail(octets: bytes) -> None:
    (failure,) = drive(ClientCodec(), [octets], has_eof=False)
    assert isinstance(failure, Failed)


# What makes no sense fails the connection: there is nobody to refuse.

NONSENSE: dict[str, tuple[list[Request], bytes]] = {
    "an answer to nothing": ([], message(0, {})),
    "working on nothing": ([], message(3, {})),
    "a second answer": ([Delete("a")], message(0, {}) + message(0, {})),
    "code 4": ([GET], message(4, {})),
    "code 127": ([GET], message(127, {}, END)),
    "a challenge to who did not authenticate": ([GET], message(2, {"challenge": b""})),
    "a challenge without one": ([Authenticate("m", b"")], message(2, {})),
    "a challenge in text": ([Authenticate("m", b"")], message(2, {"challenge": "YWJj"})),
    "a challenge with a body": ([Authenticate("m", b"")], message(2, {"challenge": b""}, END)),
    "a refusal with a body": ([GET], message(1, {"error": "busy"}, END)),
    "a refusal without a word": ([GET], message(1, {"message": "no"})),
    "a refusal with a number": ([GET], message(1, {"error": 5})),
    "a refusal with a number for its message": ([GET], message(1, {"error": "busy", "message": 5})),
    "work with a body": ([GET], message(3, {}, END)),
    "done with a body": ([Delete("a")], message(0, {}, END)),
    "a content without a body": ([GET], message(0, ALL_OF_CONTENT)),
    "a list without a body": ([List()], message(0, {})),
    "a content longer than its size": (
        [GET],
        message(0, ALL_OF_CONTENT, chunk(b"hi"), chunk(b"!"), END),
    ),
    "a content longer than was asked for": (
        [Get("a", count=1)],
        message(0, ALL_OF_CONTENT, chunk(b"hi"), END),
    ),
    "a content shorter than its size": ([GET], message(0, ALL_OF_CONTENT, chunk(b"h"), END)),
    "a content from elsewhere": (
        [GET],
        message(0, {**ALL_OF_CONTENT, "offset": 1}, chunk(b"i"), END),
    ),
    "a content from the beginning": (
        [Get("a", 1)],
        message(0, ALL_OF_CONTENT, chunk(b"hi"), END),
    ),
    "a content from behind its end": (
        [Get("a", 3)],
        message(0, {**ALL_OF_CONTENT, "offset": 3}, END),
    ),
    "a trailer that makes no sense": (
        [GET],
        message(0, ALL_OF_CONTENT, chunk(b"hi"), trailer({"digest": "xxh3-128"})),
    ),
    "more that is no path": ([List()], message(0, {}, trailer({"more": True}))),
    "fewer than none hidden": ([List()], message(0, {}, trailer({"hidden": -1}))),
    "not a number": (
        [SUMMARY],
        message(0, {"max": "4", "min": 1, "mean": 2, "count": 3, "sum": 7, "stddev": 0}),
    ),
    "a status of nothing": ([Stat("a")], message(0, {"size": 5})),
    "a status of an unknown kind": ([Stat("a")], message(0, {"kind": "socket"})),
    "a head that is no map": ([GET], b"\0\0\0\x01\x90"),
}


@pytest.mark.parametrize(("requests", "octets"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_fails(requests: list[Request], octets: bytes) -> None:
    whole = drive(asking(*requests), [octets], has_eof=False)
    assert isinstance(whole[-1], Failed)
    for pieces in split_every_way(octets):
        happened = drive(asking(*requests), pieces, has_eof=False)
        assert [each for each in happened if not isinstance(each, bytes)] == [
            each for each in whole if not isinstance(each, bytes)
        ], pieces


# Every key of an answer: values that must do, values that must not. The first half of each table are the keys that
# protocol, section 2, does not mark as optional.
NUMBERS: tuple[list[Any], list[Any]] = (
    [0, 1, 2**31, 2**32 - 1, 2**63 - 1],
    [-1, 2**63, 2**64 - 1, 1.0, True, "1", b"1", None],
)
ETAGS: tuple[list[Any], list[Any]] = (
    ["e", "e" * 64, "é" * 32],
    ["", "e" * 65, "é" * 33, b"e", 5, None],
)
DIGESTS: tuple[list[Any], list[Any]] = (
    [{}, {"d": b"\0"}],
    [{"d": "YWJj"}, {"d": None}, [], b"", None],
)
TIMES: tuple[list[Any], list[Any]] = (
    [0, -1, -(2**63), 2**63 - 1],
    [2**63, 2**64 - 1, 1.5, True, None, Raw(b"\xd6\xff\0\0\0\1")],
)
FLOATS: tuple[list[Any], list[Any]] = ([0, 1.5, -2.0, 2**63], [True, "1", b"1", None])

ANSWERS: list[tuple[Request, dict[str, Any], str, tuple[list[Any], list[Any]], bool]] = [
    (PUT, {"size": 0, "etag": "e"}, "size", NUMBERS, True),
    (PUT, {"size": 0, "etag": "e"}, "etag", ETAGS, True),
    (PUT, {"size": 0, "etag": "e"}, "digest", DIGESTS, False),
    (CHANGE, {"etag": "e"}, "etag", ETAGS, True),
    (Copy("a", "b"), {"size": 0, "etag": "e"}, "size", NUMBERS, True),
    (Copy("a", "b"), {"size": 0, "etag": "e"}, "etag", ETAGS, True),
    (GET, ALL_OF_CONTENT, "size", NUMBERS, True),
    (GET, ALL_OF_CONTENT, "etag", ETAGS, True),
    (GET, ALL_OF_CONTENT, "modified", TIMES, True),
    (GET, ALL_OF_CONTENT, "mode", NUMBERS, True),
    (GET, ALL_OF_CONTENT, "digest", DIGESTS, False),
    (GET, ALL_OF_CONTENT, "offset", ([0], NUMBERS[1]), False),
    *[
        (
            SUMMARY,
            {"max": 1, "min": 1, "mean": 1, "count": 1, "sum": 1, "stddev": 1},
            key,
            NUMBERS if key == "count" else FLOATS,
            True,
        )
        for key in ("max", "min", "mean", "count", "sum", "stddev")
    ],
    *[
        (
            Help(),
            {"text": "", "requests": [], "features": [], "limits": {}, "software": ""},
            key,
            (must, must_not),
            True,
        )
        for key, must, must_not in [
            ("text", ["", "hi"], [b"", 5, None]),
            ("requests", [[], ["PUT"]], ["PUT", [5], [None], {}, None]),
            ("features", [[], ["resume"]], ["resume", [b"resume"], None]),
            ("limits", [{}, {"path": 1}], [[], {"path": "1"}, {"path": 1.5}, None]),
            ("software", ["", "s"], [b"s", None]),
        ]
    ],
    (
        Stat("a"),
        {"kind": "file"},
        "kind",
        (["file", "directory", "other"], ["link", 1, None]),
        True,
    ),
    (Stat("a"), {"kind": "file"}, "size", NUMBERS, False),
    (Stat("a"), {"kind": "file"}, "modified", TIMES, False),
    (Stat("a"), {"kind": "file"}, "mode", NUMBERS, False),
    (Stat("a"), {"kind": "file"}, "etag", ETAGS, False),
    (Stat("a"), {"kind": "file"}, "digest", DIGESTS, False),
    (Stat(upload=TOKEN), {"offset": 0}, "offset", NUMBERS, True),
    (Stat(upload=TOKEN), {"kind": "published"}, "path", (["a"], [b"a", 5, None]), False),
    (Authenticate("m", b""), {"identity": "i"}, "identity", (["", "i"], [b"i", 5, None]), True),
    (Digest("a"), {"digest": {}, "size": 0, "etag": "e"}, "digest", DIGESTS, True),
    (Digest("a"), {"digest": {}, "size": 0, "etag": "e"}, "size", NUMBERS, True),
    (Digest("a"), {"digest": {}, "size": 0, "etag": "e"}, "etag", ETAGS, True),
]


@pytest.mark.parametrize(
    ("request_", "head", "key", "values", "is_required"),
    ANSWERS,
    ids=[f"{type(request).__name__}-{key}" for request, _, key, _, _ in ANSWERS],
)
def test_keys_of_answers(
    request_: Request,
    head: dict[str, Any],
    key: str,
    values: tuple[list[Any], list[Any]],
    is_required: bool,
) -> None:
    body = [b""] if isinstance(request_, Get) else []
    must, must_not = values
    for value in must:
        end = asking(request_)
        end.receive(message(0, {**head, key: value}, *body))
        assert getattr(end.next_event(), key) == value
    for value in must_not:
        assert key in fail(message(0, {**head, key: value}, *body), request_)
    head = {name: value for name, value in head.items() if name != key}
    event = drive(asking(request_), [message(0, head, *body)], has_eof=False)[0]
    assert isinstance(event, Failed) is is_required


RETRY: tuple[list[Any], list[Any]] = (
    [0, 1, 0.5, 2**31, 2**63 - 1],
    [-1, -0.5, 2**63, 2**64 - 1, math.nan, math.inf, True, "1", None],
)


def test_retry_after() -> None:
    for value in RETRY[0]:
        end = asking(GET)
        end.receive(message(1, {"error": "busy", "retry_after": value}))
        event = end.next_event()
        assert isinstance(event, Refused)
        assert event.error.retry_after == value
    for value in RETRY[1]:
        assert "retry_after" in fail(message(1, {"error": "busy", "retry_after": value}), GET)


# What the server's end must not say.


@pytest.mark.parametrize(
    ("response", "request_"),
    [
        (Done(), PUT),
        (Done(5), PUT),
        (Done(None, "e"), Copy("a", "b")),
        (Done(), CHANGE),
        (Done(5, "e"), GET),
        (Content("a", 5), GET),
        (Content("a", 5, 0, "e", 1), GET),
        (Content("a", 5, 0, "e", 1, 1), PUT),
        (Statistics(1.0, 1.0, 1.0), SUMMARY),
        (Statistics(1.0, 1.0, 1.0, 1, 1.0), SUMMARY),
        (HelpText("hi"), Help()),
        (Challenge(b""), GET),
        (Done(), Unknown(12)),
        (Listing(), Help()),
        (Done(5, "e" * 65_536), PUT),
        (Done(5, "\udcff"), PUT),
        (Done(2**64, "e"), PUT),
    ],
)
def test_what_version_2_cannot_answer(response: Response, request_: Request) -> None:
    with pytest.raises(LocalProtocolError):
        ServerCodec().encode(response, request_)


def test_unknown_and_malformed_requests_are_refused() -> None:
    refusal = Refused(errors.Unsupported("there is no request with code 12"))
    assert ServerCodec().encode(refusal, Unknown(12))[0] == 1


def test_status_of_nothing() -> None:
    with pytest.raises(ValueError, match="no kind"):
        Status(size=5)


def test_silence_says_nothing() -> None:
    client = asking(SUMMARY)
    assert client.silence_seconds is None
    assert not client.may_end_with_silence
    client.receive_silence()
    assert client.next_event() is None
