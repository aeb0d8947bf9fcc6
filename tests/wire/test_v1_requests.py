"""Version 1, requests: octets on the left, on the right what the server's end makes of them.

Written from section 1 of the protocol. Octets stand as they travel, with nothing computed by the code under test.
"""

import pytest
from feeding import Failed, Happening, drive, split_every_way

from filetransfer.wire.connection import ClientConnection, ServerConnection
from filetransfer.wire.messages import (
    BodyEnd,
    Change,
    EndOfMessages,
    Get,
    Help,
    Put,
    Request,
    Summary,
    Unknown,
)

NAME_31 = "a-name-of-exactly-31-octets.txt"
NAME_255 = "n" * 255


def stored(path: str, body: bytes) -> list[Happening]:
    return [Put(path, len(body)), body, BodyEnd()]


# What a client can say: octets <-> requests.
SAYABLE: dict[str, tuple[bytes, list[Happening]]] = {
    "put": (b"\x05a.txt\0\0\0\x05hello", stored("a.txt", b"hello")),
    "put, an empty file": (b"\x05a.txt\0\0\0\0", stored("a.txt", b"")),
    "put, one octet": (b"\x01a\0\0\0\x01x", stored("a", b"x")),
    "put, 31 octets of name": (
        b"\x1fa-name-of-exactly-31-octets.txt\0\0\0\x02hi",
        stored(NAME_31, b"hi"),
    ),
    "put, 256 octets": (b"\x01a\0\0\x01\0" + bytes(range(256)), stored("a", bytes(range(256)))),
    "put, a body of requests": (b"\x01a\0\0\0\x04\x80\x80\x21b", stored("a", b"\x80\x80\x21b")),
    "put, a body of HTTP": (b"\x01a\0\0\0\x06GET /\r", stored("a", b"GET /\r")),
    "put, into a directory": (b"\x05d/e/f\0\0\0\x01x", stored("d/e/f", b"x")),
    "put, UTF-8": (b"\x06\xc3\xa9.txt\0\0\0\x01x", stored("é.txt", b"x")),
    "get": (b"\x25a.txt", [Get("a.txt")]),
    "get, one octet of name": (b"\x21a", [Get("a")]),
    "get, 31 octets of name": (b"\x3fa-name-of-exactly-31-octets.txt", [Get(NAME_31)]),
    "get, a blank": (b"\x25a b c", [Get("a b c")]),
    "get, four octets of UTF-8": (b"\x24\xf0\x9f\x8c\x8d", [Get("\U0001f30d")]),
    "change": (b"\x45a.txt\x05b.txt", [Change("a.txt", "b.txt")]),
    "change, to one octet": (b"\x41a\x01b", [Change("a", "b")]),
    "change, the longest names": (
        b"\x5fa-name-of-exactly-31-octets.txt\xff" + b"n" * 255,
        [Change(NAME_31, NAME_255)],
    ),
    "change, the length is a line feed": (b"\x41a\x0abbbbbbbbbb", [Change("a", "b" * 10)]),
    "change, the length is a return": (b"\x41a\x0dbbbbbbbbbbbbb", [Change("a", "b" * 13)]),
    "summary": (b"\x6bnumbers.csv", [Summary("numbers.csv")]),
    "summary, 31 octets of name": (b"\x7fa-name-of-exactly-31-octets.txt", [Summary(NAME_31)]),
    "help": (b"\x80", [Help()]),
}

# What the server's end must understand besides.
HEARD: dict[str, tuple[bytes, list[Happening]]] = {
    "rule 5: a lone 00": (b"\x00", stored("", b"")),
    "get without a name": (b"\x20", [Get("")]),
    "change without an old name": (b"\x40\x01b", [Change("", "b")]),
    "change without a new name": (b"\x41a\0", [Change("a", "")]),
    "change without names": (b"\x40\0", [Change("", "")]),
    "the older HELP": (b"\x60", [Help()]),
    "not UTF-8: put": (b"\x02\xff\xfe\0\0\0\x01x", stored("\udcff\udcfe", b"x")),
    "not UTF-8: get": (b"\x21\xff", [Get("\udcff")]),
    "not UTF-8: change": (b"\x41\xff\x02\xc3\x28", [Change("\udcff", "\udcc3(")]),
    "not UTF-8: summary": (b"\x62\xed\xa0", [Summary("\udced\udca0")]),
    "names are not judged here": (b"\x23..\0", [Get("..\0")]),
    "names are not padded": (b"\x24a\0\0 ", [Get("a\0\0 ")]),
    "the first octet asks for version 2": (b"\xe0", [Unknown(7)]),
    "GET that is no HTTP": (b"\x47ET.text\x01b", [Change("ET.text", "b")]),
    "a method that HTTP has not": (b"COLD " + b"n" * 32, [Change("OLD", "n" * 32)]),
    "no TLS": (b"\x16\x04" + b"n" * 21 + b"\0\0\0\0", stored("\x04" + "n" * 21, b"")),
    "unknown 5": (b"\xa0", [Unknown(5)]),
    "unknown 6, with a length": (b"\xdf", [Unknown(6)]),
    "help, with a length": (b"\x9f", [Help()]),
}

MESSAGES = SAYABLE | HEARD
A_TRAILING_REQUEST = b"\x21z"


def cases(vectors: dict[str, tuple[bytes, list[Happening]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("octets", "expected"), vectors.values(), ids=vectors)


@cases(MESSAGES)
def test_request_is_read_however_it_is_split(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets):
        assert drive(ServerConnection(), pieces) == [*expected, EndOfMessages()], pieces


@cases(MESSAGES)
def test_request_needs_none_of_what_follows(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets):
        end = ServerConnection()
        assert drive(end, pieces, has_eof=False) == expected, pieces
        assert end.is_between_messages
        assert end.available == end.run == 0


@cases(MESSAGES)
def test_request_takes_nothing_of_what_follows(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(octets + A_TRAILING_REQUEST):
        happened = drive(ServerConnection(), pieces)
        assert happened == [*expected, Get("z"), EndOfMessages()], pieces


@cases(MESSAGES)
def test_request_is_read_behind_another(octets: bytes, expected: list[Happening]) -> None:
    for pieces in split_every_way(b"\x80" + octets):
        assert drive(ServerConnection(), pieces) == [Help(), *expected, EndOfMessages()], pieces


@cases(MESSAGES)
def test_request_that_is_cut_is_a_truncation(octets: bytes, expected: list[Happening]) -> None:
    for cut in range(1, len(octets)):
        *happened, last = drive(ServerConnection(), [octets[:cut]])
        assert isinstance(last, Failed)
        assert "ended inside a message" in last.reason
        assert BodyEnd() not in happened
        end = ServerConnection()
        drive(end, [octets[:cut]], has_eof=False)
        assert not end.is_between_messages


@cases(SAYABLE)
def test_request_is_written(octets: bytes, expected: list[Happening]) -> None:
    bodies = b"".join(happening for happening in expected if isinstance(happening, bytes))
    (request,) = (happening for happening in expected if isinstance(happening, Request))
    assert ClientConnection().encode(request) + bodies == octets


def test_all_requests_in_one_segment() -> None:
    octets = b"".join(octets for octets, _ in MESSAGES.values())
    expected = [happening for _, happenings in MESSAGES.values() for happening in happenings]
    for pieces in ([octets], [octets[index : index + 1] for index in range(len(octets))]):
        assert drive(ServerConnection(), pieces) == [*expected, EndOfMessages()]


def test_every_header() -> None:
    """As a second message: the first octets of a connection are not free. A request that is not PUT has no body."""
    for header in range(256):
        code, length = header >> 5, header & 31
        name = "n" * length
        octets, expected = {
            0: (name.encode() + b"\0\0\0\x01x" * (length > 0), stored(name, b"x" * (length > 0))),
            1: (name.encode(), [Get(name)]),
            2: (name.encode() + b"\x01b", [Change(name, "b")]),
            3: (name.encode(), [Summary(name) if name else Help()]),
            4: (b"", [Help()]),
        }.get(code, (b"", [Unknown(code)]))
        for pieces in split_every_way(b"\x80" + bytes([header]) + octets + A_TRAILING_REQUEST):
            happened = drive(ServerConnection(), pieces)
            assert happened == [Help(), *expected, Get("z"), EndOfMessages()], pieces


def test_end_before_the_first_request() -> None:
    assert drive(ServerConnection(), []) == [EndOfMessages()]
    assert drive(ServerConnection(), [b"", b""]) == [EndOfMessages()]


def test_largest_size() -> None:
    """Rule 6. The claim is believed, and costs nothing."""
    for pieces in split_every_way(b"\x01a\xff\xff\xff\xff"):
        end = ServerConnection()
        assert drive(end, pieces, has_eof=False) == [Put("a", 4294967295)]
        assert end.run == 4294967295
        assert end.available == 0


# Rule 11. Each of these is enough: nothing that follows may make a request of it.
FOREIGN: dict[str, bytes] = {
    "GET": b"GET ",
    "HEAD": b"HEAD ",
    "POST": b"POST ",
    "PUT": b"PUT ",
    "DELETE": b"DELETE ",
    "CONNECT": b"CONNECT ",
    "OPTIONS": b"OPTIONS ",
    "TRACE": b"TRACE ",
    "PATCH": b"PATCH ",
    "HTTP/2": b"PRI ",
    "TLS": b"\x16\x03",
    "PROPFIND": b"PROPFIND /a HTTP/1.1\r",
    "a line before the method": b"\r\n",
    "line feed in a put": b"\x05a\n",
    "return in a put": b"\x05a\r",
    "line feed in a get": b"\x25a.tx\n",
    "return in a get": b"\x25\r",
    "line feed in an old name": b"\x45a.tx\n",
    "return in an old name": b"\x45a\r",
    "line feed in a new name": b"\x45a.txt\x05b\n",
    "return in a new name": b"\x45a.txt\x01\r",
    "line feed in a summary": b"\x61\n",
    "return in a summary": b"\x7f\r",
}


@pytest.mark.parametrize("octets", FOREIGN.values(), ids=FOREIGN)
def test_other_protocols_fail_at_once(octets: bytes) -> None:
    for pieces in split_every_way(octets):
        (failure,) = drive(ServerConnection(), pieces, has_eof=False)
        assert isinstance(failure, Failed), pieces
        assert "HTTP" in failure.reason or "web browser" in failure.reason
    for pieces in split_every_way(octets + b"/ HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"n" * 300):
        assert drive(ServerConnection(), pieces, has_eof=False) == [failure], pieces


@pytest.mark.parametrize("octets", FOREIGN.values(), ids=FOREIGN)
def test_nothing_fails_before_it_must(octets: bytes) -> None:
    """All but the last octet may still become a request."""
    for cut in range(1, len(octets)):
        assert drive(ServerConnection(), [octets[:cut]], has_eof=False) == []


@pytest.mark.parametrize(
    "octets",
    [octets for octets in FOREIGN.values() if b"\r" in octets or b"\n" in octets],
)
def test_line_breaks_fail_behind_another_request_too(octets: bytes) -> None:
    for pieces in split_every_way(b"\x21a" + octets):
        happened = drive(ServerConnection(), pieces, has_eof=False)
        assert happened[0] == Get("a")
        assert isinstance(happened[1], Failed)
        assert len(happened) == 2


def test_only_the_first_octets_are_an_opening() -> None:
    """Rule 11: behind another request these are ordinary names."""
    octets = b"\x80GET abcd\x01b\x16\x03" + b"n" * 21 + b"\0\0\0\0"
    for pieces in split_every_way(octets):
        happened = drive(ServerConnection(), pieces, has_eof=False)
        assert happened == [Help(), Change("ET abcd", "b"), *stored("\x03" + "n" * 21, b"")]
