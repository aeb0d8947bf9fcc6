"""Version 1, responses: octets on the left, on the right what the client's end makes of them."""

import pytest
from feeding import Failed, Happening, drive, split_every_way

from filetransfer.errors import (
    Busy,
    Exists,
    Internal,
    IsDirectory,
    LocalProtocolError,
    NameInvalid,
    NoSpace,
    NotAuthenticated,
    NotFound,
    NotNumeric,
    NotPermitted,
    RequestRefused,
    TooLarge,
    Unsupported,
)
from filetransfer.wire.connection import ClientConnection, ServerConnection
from filetransfer.wire.messages import (
    BodyEnd,
    Change,
    Content,
    Done,
    EndOfMessages,
    Get,
    Help,
    HelpText,
    List,
    Put,
    Refused,
    Request,
    Response,
    Stat,
    Statistics,
    Summary,
    Unknown,
    Working,
)

NAME_31 = "a-name-of-exactly-31-octets.txt"
PUT, GET, CHANGE, SUMMARY, HELP = Put("a", 1), Get("a"), Change("a", "b"), Summary("a"), Help()
REQUESTS = [PUT, GET, CHANGE, SUMMARY, HELP]


def fetched(path: str, body: bytes) -> list[Happening]:
    return [Content(path, len(body)), body, BodyEnd()]


# What our server says: request, octets <-> response and body.
SAID: dict[str, tuple[Request, bytes, list[Happening]]] = {
    "put": (PUT, b"\x00", [Done()]),
    "change": (CHANGE, b"\x00", [Done()]),
    "get": (GET, b"\x21a\0\0\0\x05hello", fetched("a", b"hello")),
    "get, an empty file": (GET, b"\x21a\0\0\0\0", fetched("a", b"")),
    "get, 31 octets of name": (
        Get(NAME_31),
        b"\x3fa-name-of-exactly-31-octets.txt\0\0\0\x01x",
        fetched(NAME_31, b"x"),
    ),
    "get, UTF-8": (Get("é/x"), b"\x24\xc3\xa9/x\0\0\0\x01x", fetched("é/x", b"x")),
    "get, a body of responses": (
        GET,
        b"\x21a\0\0\0\x03\x00\x60\xa0",
        fetched("a", b"\x00\x60\xa0"),
    ),
    "summary": (
        SUMMARY,
        b"\x4bsummary.txt\0\0\0\x1eMax: 44.0\nMin: 10.0\nAvg: 26.0\n",
        [Statistics(44.0, 10.0, 26.0)],
    ),
    "summary, as Python prints a float": (
        SUMMARY,
        b"\x4bsummary.txt\0\0\0\x2eMax: 1e+300\nMin: -0.0\nAvg: 0.3333333333333333\n",
        [Statistics(1e300, -0.0, 1 / 3)],
    ),
    "help": (
        HELP,
        b"\xdfbye change get help put summary",
        [HelpText("bye change get help put summary")],
    ),
}

# What other people's servers say.
HEARD: dict[str, tuple[Request, bytes, list[Happening]]] = {
    "get, without a name": (GET, b"\x20\0\0\0\x01x", fetched("", b"x")),
    "get, another name, not UTF-8": (GET, b"\x22\xff.\0\0\0\x01x", fetched("\udcff.", b"x")),
    "help, empty": (HELP, b"\xc0", [HelpText("")]),
    "help, not UTF-8": (HELP, b"\xc2\xffx", [HelpText("\ufffdx")]),
    "summary, bare": (
        SUMMARY,
        b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n",
        [Statistics(44.0, 10.0, 26.0)],
    ),
    "summary, bare, lines end as on Windows": (
        SUMMARY,
        b"Max: 44\r\nMin: 10\r\nAvg: 26\r\n",
        [Statistics(44.0, 10.0, 26.0)],
    ),
    "summary, bare, as long as may be": (
        SUMMARY,
        b"Max: 4\nMin: 1\nAvg: " + b" " * 4075 + b"2\n",
        [Statistics(4.0, 1.0, 2.0)],
    ),
    "summary, framed, the last line does not end": (
        SUMMARY,
        b"\x4bsummary.txt\0\0\0\x17Max: 44\nMin: 10\nAvg: 26",
        [Statistics(44.0, 10.0, 26.0)],
    ),
    "summary, framed, a name that begins as a bare one": (
        SUMMARY,
        b"\x4daaaaaaaaaaaaa\0\0\0\x14Max: 1\nMin: 1\nAvg: 1",
        [Statistics(1.0, 1.0, 1.0)],
    ),
    "summary, framed, without a name": (
        SUMMARY,
        b"\x40\0\0\0\x14Max: 1\nMin: 1\nAvg: 1",
        [Statistics(1.0, 1.0, 1.0)],
    ),
}

MESSAGES = SAID | HEARD
A_TRAILING_RESPONSE = b"\x21z\0\0\0\x01z"


def client(*requests: Request) -> ClientConnection:
    end = ClientConnection()
    for request in requests:
        end.encode(request)
    return end


def cases(vectors: dict[str, tuple[Request, bytes, list[Happening]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        ("request_", "octets", "expected"), vectors.values(), ids=vectors
    )


@cases(MESSAGES)
def test_response_is_read_however_it_is_split(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets):
        assert drive(client(request_), pieces) == [*expected, EndOfMessages()], pieces


@cases(MESSAGES)
def test_response_needs_none_of_what_follows(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets):
        end = client(request_)
        assert drive(end, pieces, has_eof=False) == expected, pieces
        assert end.is_between_messages


@cases(MESSAGES)
def test_response_takes_nothing_of_what_follows(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for pieces in split_every_way(octets + A_TRAILING_RESPONSE):
        happened = drive(client(request_, Get("z")), pieces)
        assert happened == [*expected, *fetched("z", b"z"), EndOfMessages()], pieces


@cases(SAID)
def test_response_that_is_cut_is_a_truncation(
    request_: Request, octets: bytes, expected: list[Happening]
) -> None:
    for cut in range(1, len(octets)):
        *happened, last = drive(client(request_), [octets[:cut]])
        assert isinstance(last, Failed)
        assert "ended inside a message" in last.reason
        assert BodyEnd() not in happened


@cases(SAID)
def test_response_is_written(request_: Request, octets: bytes, expected: list[Happening]) -> None:
    bodies = b"".join(happening for happening in expected if isinstance(happening, bytes))
    (response,) = (happening for happening in expected if isinstance(happening, Response))
    assert ServerConnection().encode(response, request_) + bodies == octets


def test_all_responses_in_one_segment() -> None:
    octets = b"".join(octets for _, octets, _ in MESSAGES.values())
    expected = [happening for _, _, happenings in MESSAGES.values() for happening in happenings]
    for pieces in ([octets], [octets[index : index + 1] for index in range(len(octets))]):
        end = client(*(request for request, _, _ in MESSAGES.values()))
        assert drive(end, pieces) == [*expected, EndOfMessages()]


def test_end_before_the_first_response() -> None:
    """The driver knows that it waits for more."""
    assert drive(client(GET), []) == [EndOfMessages()]


# Which octet says no: rules 4 to 9, and section 2 ("Who") for NotAuthenticated.
REFUSALS: list[tuple[RequestRefused, Request, bytes]] = [
    (NotFound("", about="path"), GET, b"\x60"),
    (NameInvalid("", about="path"), GET, b"\x60"),
    (IsDirectory("", about="path"), GET, b"\x60"),
    (TooLarge(""), GET, b"\x60"),
    (Busy(""), GET, b"\x60"),
    (NotAuthenticated(""), GET, b"\x60"),
    (NotFound("", about="path"), SUMMARY, b"\x60"),
    (NotNumeric(""), SUMMARY, b"\x60"),
    (NotAuthenticated(""), SUMMARY, b"\x60"),
    (Internal(""), SUMMARY, b"\x60"),
    (NameInvalid("", about="path"), PUT, b"\xa0"),
    (NotFound("", about="path"), PUT, b"\xa0"),
    (NoSpace(""), PUT, b"\xa0"),
    (NotPermitted(""), PUT, b"\xa0"),
    (NotAuthenticated(""), PUT, b"\xa0"),
    (NameInvalid("", about="path"), CHANGE, b"\x60"),
    (NotFound("", about="path"), CHANGE, b"\x60"),
    (IsDirectory("", about="path"), CHANGE, b"\x60"),
    (NotAuthenticated(""), CHANGE, b"\x60"),
    (NameInvalid("", about="to"), CHANGE, b"\xa0"),
    (NotFound("", about="to"), CHANGE, b"\xa0"),
    (Exists("", about="to"), CHANGE, b"\xa0"),
    (Exists(""), CHANGE, b"\xa0"),
    (NotPermitted(""), CHANGE, b"\xa0"),
    (Unsupported(""), Unknown(5), b"\x80"),
    (Unsupported(""), Unknown(7), b"\x80"),
]


@pytest.mark.parametrize(("refusal", "request_", "octets"), REFUSALS)
def test_refusal_is_written(refusal: RequestRefused, request_: Request, octets: bytes) -> None:
    assert ServerConnection().encode(Refused(refusal), request_) == octets


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize(
    ("octets", "leaf", "about"),
    [(b"\x60", NotFound, "path"), (b"\x80", Unsupported, ""), (b"\xa0", RequestRefused, "")],
)
def test_refusal_is_read(
    request_: Request, octets: bytes, leaf: type[RequestRefused], about: str
) -> None:
    for pieces in split_every_way(octets + A_TRAILING_RESPONSE):
        refused, *rest = drive(client(request_, Get("z")), pieces)
        assert isinstance(refused, Refused)
        assert type(refused.error) is leaf
        assert refused.error.about == about
        assert rest == [*fetched("z", b"z"), EndOfMessages()]


# What no server may say.
NONSENSE: dict[str, tuple[list[Request], bytes, str]] = {
    "unasked": ([], b"\x00", "not asked"),
    "unasked, after an answer": ([PUT], b"\x00\x00", "not asked"),
    "done to a get": ([GET], b"\x00", "Get with code 0"),
    "done to a summary": ([SUMMARY], b"\x00", "Summary with code 0"),
    "done to help": ([HELP], b"\x00", "Help with code 0"),
    "content to a put": ([PUT], b"\x20", "Put with code 1"),
    "content to a summary": ([SUMMARY], b"\x20", "Summary with code 1"),
    "summary to a get": ([GET], b"\x4b", "Get with code 2"),
    "bare summary to a get": ([GET], b"Max: ", "Get with code 2"),
    "help to a change": ([CHANGE], b"\xdf", "Change with code 6"),
    "code 7": ([HELP], b"\xe0", "Help with code 7"),
    "summary too large": ([SUMMARY], b"\x40\0\0\x10\x01", "summary has 4097 octets"),
    "summary empty": ([SUMMARY], b"\x40\0\0\0\0", "three numbers"),
    "summary of two": ([SUMMARY], b"\x40\0\0\0\x0eMax: 1\nMin: 1\n", "three numbers"),
    "summary not a number": ([SUMMARY], b"\x40\0\0\0\x14Max: 1\nMin: x\nAvg: 1", "three numbers"),
    "summary nan": ([SUMMARY], b"Max: nan\nMin: 1\nAvg: 1\n", "three numbers"),
    "summary infinite": ([SUMMARY], b"Max: inf\nMin: 1\nAvg: 1\n", "three numbers"),
    "summary bare, two numbers": ([SUMMARY], b"Max: 1\nMin: 1\n\n", "three numbers"),
    "summary bare, no end": ([SUMMARY], b"Max: " + b"1" * 4091, "does not end"),
    "summary bare, no third end": ([SUMMARY], b"Max: 1\nMin: 1\n" + b" " * 4082, "does not end"),
}


@pytest.mark.parametrize(("requests", "octets", "reason"), NONSENSE.values(), ids=NONSENSE)
def test_nonsense_fails(requests: list[Request], octets: bytes, reason: str) -> None:
    for pieces in split_every_way(octets):
        *_, failure = happened = drive(client(*requests), pieces, has_eof=False)
        assert isinstance(failure, Failed), pieces
        assert reason in failure.reason
    for pieces in split_every_way(octets + b"\n" * 8):
        assert drive(client(*requests), pieces, has_eof=False) == happened, pieces


# Rule 10: a bare summary whose third line does not end.
BARE = b"Max: 44.0\nMin: 10.0\nAvg: 26.0"


def test_bare_summary_ends_with_silence() -> None:
    for pieces in split_every_way(BARE):
        end = client(SUMMARY, GET)
        assert drive(end, pieces, has_eof=False) == []
        assert end.run == 0, "the text is not a body for the driver"
        assert not end.is_between_messages
        assert end.may_end_with_silence
        end.receive_silence()
        assert drive(end, [b"\x60"], has_eof=False)[0] == Statistics(44.0, 10.0, 26.0)
        assert end.is_between_messages
        assert not end.may_end_with_silence


def test_bare_summary_ends_with_the_connection() -> None:
    for pieces in split_every_way(BARE):
        assert drive(client(SUMMARY), pieces) == [Statistics(44.0, 10.0, 26.0), EndOfMessages()]


def test_silence_ends_nothing_else() -> None:
    """Not before the third line has begun, and no other response."""
    third_line = BARE.index(b"Avg")
    for octets in [*(BARE[:cut] for cut in range(third_line + 1)), b"\x4bsummary.txt\0\0\0\x1eMax"]:
        end = client(SUMMARY)
        assert drive(end, [octets], has_eof=False) == []
        assert not end.may_end_with_silence
        end.receive_silence()
        assert end.next_event() is None
        end = client(SUMMARY)
        if octets:
            (failure,) = drive(end, [octets])
            assert isinstance(failure, Failed)
    end = client(GET)
    drive(end, [b"\x21a\0\0\0\x0aMax: 1\n\nA"], has_eof=False)
    assert end.run == 1
    assert not end.may_end_with_silence


def test_server_may_answer_summaries_bare() -> None:
    end = ServerConnection(has_bare_summary=True)
    octets = end.encode(Statistics(44.0, 10.0, 26.0), SUMMARY)
    assert octets == b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n"
    assert end.encode(Refused(NotNumeric("")), SUMMARY) == b"\x60"


# What version 1 cannot say.
UNSAYABLE: dict[str, tuple[Request, str]] = {
    "put, no name": (Put("", 0), "1 to 31 octets"),
    "get, 32 octets": (Get("n" * 32), "1 to 31 octets"),
    "get, 32 octets in 16 characters": (Get("é" * 16), "1 to 31 octets"),
    "summary, no name": (Summary(""), "1 to 31 octets"),
    "change, from 32 octets": (Change("n" * 32, "b"), "1 to 31 octets"),
    "change, to 256 octets": (Change("a", "n" * 256), "1 to 255 octets"),
    "change, to nothing": (Change("a", ""), "1 to 255 octets"),
    "put, 4 GiB": (Put("a", 2**32), "below 4 GiB"),
    "put, less than nothing": (Put("a", -1), "below 4 GiB"),
    "an octet that is not UTF-8": (Get("\udcff"), "UTF-8"),
    "half a character": (Change("a", "\ud800"), "UTF-8"),
    "a line feed": (Get("a\nb"), "line breaks"),
    "a return": (Change("a", "b\r"), "line breaks"),
    "HTTP": (Change("ET a.tx", "b"), "HTTP or TLS"),
    "TLS": (Put("\x03" + "n" * 21, 0), "HTTP or TLS"),
    "an unknown code": (Unknown(5), "cannot say UNKNOWN$"),
    "put, no size": (Put("a"), "cannot say"),
    "put, parents": (Put("a", 1, parents=True), "cannot say PUT with parents$"),
    "put, no other file": (Put("a", 1, if_none_match=True), "cannot say PUT with if-none-match$"),
    "list": (List("a", recursive=True, limit=5), "cannot say LIST$"),
    "get, from an offset": (Get("a", offset=1), "cannot say"),
    "change, replace": (Change("a", "b", replace=True), "cannot say"),
    "summary, a column": (Summary("a", column=2), "cannot say"),
    "stat": (Stat("a"), "cannot say"),
}


@pytest.mark.parametrize(("request_", "reason"), UNSAYABLE.values(), ids=UNSAYABLE)
def test_client_does_not_say_it(request_: Request, reason: str) -> None:
    end = ClientConnection()
    with pytest.raises(LocalProtocolError, match=reason):
        end.encode(request_)
    assert isinstance(drive(end, [b"\x60"])[0], Failed), "nothing was asked"


def test_largest_request() -> None:
    assert ClientConnection().encode(Put("a", 2**32 - 1)) == b"\x01a\xff\xff\xff\xff"


def test_largest_content() -> None:
    end = ServerConnection()
    assert end.encode(Content("a", 2**32 - 1), GET) == b"\x21a\xff\xff\xff\xff"
    with pytest.raises(TooLarge):
        end.encode(Content("a", 2**32), GET)
    reader = client(GET)
    assert drive(reader, [b"\x21a\xff\xff\xff\xff"], has_eof=False) == [Content("a", 2**32 - 1)]
    assert reader.run == 2**32 - 1


def test_server_does_not_say_a_name_that_is_too_long() -> None:
    with pytest.raises(LocalProtocolError):
        ServerConnection().encode(Content("n" * 32, 0), GET)


def test_server_does_not_say_what_version_2_has() -> None:
    with pytest.raises(LocalProtocolError, match="cannot answer"):
        ServerConnection().encode(Working(), GET)


def test_help_is_cut_at_31_octets() -> None:
    assert ServerConnection().encode(HelpText("h" * 40), HELP) == b"\xdf" + b"h" * 31
