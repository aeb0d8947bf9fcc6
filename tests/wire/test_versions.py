"""Which version a connection speaks: section 3 of the protocol, from both ends."""

from collections.abc import Collection
from typing import Any

import pytest
from feeding import Failed, drive, split_every_way
from packing import END, Raw, chunk, message, read_octets

from filetransfer.errors import (
    Busy,
    Cancelled,
    LocalProtocolError,
    ReconnectInVersion1,
    RemoteProtocolError,
    ShuttingDown,
)
from filetransfer.wire import v1, v2, v2_frames
from filetransfer.wire.connection import (
    ALPN,
    MAX_UNPARSED_OCTETS,
    ClientConnection,
    ClientEnd,
    ServerConnection,
    ServerEnd,
    begin_client,
    begin_server,
)
from filetransfer.wire.messages import (
    BodyEnd,
    BodyRun,
    Done,
    EndOfMessages,
    Get,
    Greeting,
    Help,
    HelpText,
    MakeDirectory,
    Put,
    Refused,
    Request,
    Statistics,
    Summary,
    Unavailable,
    Unknown,
    VersionChosen,
)

GREETING = Greeting(2, "s", [], {"path": 4096}, [])
GREETED = message(
    0, {"version": 2, "software": "s", "features": [], "limits": {"path": 4096}, "mechanisms": []}
)
BUSY = Unavailable(Busy("full", retry_after=5))
TOLD_BUSY = message(1, {"error": "busy", "message": "full", "retry_after": 5})


def serve(greeting: Greeting | Unavailable | None = GREETING) -> ServerEnd:
    end, octets = begin_server(greeting)
    assert octets == b""
    return end


def ask(versions: Collection[int] = (1, 2)) -> ClientEnd:
    end, octets = begin_client(versions)
    assert octets == b"\xe0"
    return end


# The server, in the clear.


def test_server_chooses_version_2() -> None:
    request = message(1, {"path": "a"})
    for pieces in split_every_way(b"\xe0" + request):
        assert drive(serve(), pieces) == [
            VersionChosen(v2.ServerCodec, b"\xe0" + GREETED),
            Get("a"),
            EndOfMessages(),
        ], pieces


def test_server_answers_at_the_first_octet() -> None:
    end = serve()
    assert end.next_event() is None
    end.receive(b"\xe0")
    assert isinstance(end.next_event(), VersionChosen)


@pytest.mark.parametrize(
    ("octets", "events"),
    [
        (b"\x21a", [Get("a")]),
        (b"\x80\xe0", [Help(), Unknown(7)]),
        (b"\xe1\x80", [Unknown(7), Help()]),
        (b"\xff", [Unknown(7)]),
        (b"\x01a\0\0\0\x02hi\xe0", [Put("a", 2), b"hi", BodyEnd(), Unknown(7)]),
        (b"\x01\xe0\0\0\0\0", [Put("\udce0", 0), b"", BodyEnd()]),
    ],
)
def test_server_goes_on_in_version_1(octets: bytes, events: list[Any]) -> None:
    for pieces in split_every_way(octets):
        assert drive(serve(), pieces) == [
            VersionChosen(ServerConnection),
            *events,
            EndOfMessages(),
        ], pieces


@pytest.mark.parametrize("octets", [b"GET /", b"\x16\x03\x01", b"POST /", b"\r\n"])
def test_other_protocols_fail_as_in_version_1(octets: bytes) -> None:
    for pieces in split_every_way(octets):
        happened = drive(serve(), pieces, has_eof=False)
        assert happened[0] == VersionChosen(ServerConnection)
        assert isinstance(happened[1], Failed)


def test_server_without_version_2() -> None:
    """As it always was: 80, and what follows is read as requests."""
    for end in (serve(None), ServerConnection()):
        assert drive(end, [b"\xe0\x21a"]) == [Unknown(7), Get("a"), EndOfMessages()]
    end, octets = begin_server(None, alpn=ALPN)
    assert type(end) is ServerConnection
    assert octets == b""


def test_connection_that_ends_before_its_first_octet() -> None:
    assert drive(serve(), []) == [EndOfMessages()]
    assert drive(serve(), [b""]) == [EndOfMessages()]
    assert serve().is_between_messages


def test_connection_that_ends_behind_the_question() -> None:
    assert drive(serve(), [b"\xe0"])[1:] == [EndOfMessages()]
    assert drive(serve(), [b"\xe0\x01"])[1:] == [Failed("the connection ended inside a message")]


def test_bare_summary_survives_the_choice() -> None:
    end, _ = begin_server(GREETING, has_bare_summary=True)
    end.receive(b"\x61n")
    event = end.next_event()
    assert isinstance(event, VersionChosen)
    assert event.connection.next_event() == Summary("n")
    assert event.connection.encode(Statistics(1.0, 1.0, 1.0), Summary("n")).startswith(b"Max: ")


# The server, over TLS.


def test_server_begins_in_version_2_over_tls() -> None:
    end, octets = begin_server(GREETING, alpn=ALPN)
    assert octets == GREETED
    assert drive(end, [message(1, {"path": "a"})]) == [Get("a"), EndOfMessages()]


@pytest.mark.parametrize("alpn", [None, b"", b"h2"])
def test_server_begins_as_in_the_clear_over_tls_without_alpn(alpn: bytes | None) -> None:
    end, octets = begin_server(GREETING, alpn=alpn)
    assert octets == b""
    assert drive(end, [b"\x21a"])[1:] == [Get("a"), EndOfMessages()]


# A server that cannot serve.


@pytest.mark.parametrize("greeting", [BUSY, Unavailable(ShuttingDown("bye"))])
def test_server_that_cannot_serve_says_so_and_ends(greeting: Unavailable) -> None:
    for pieces in split_every_way(b"\xe0" + message(1, {"path": "a"}) * 2):
        happened = drive(serve(greeting), pieces)
        chosen = happened[0]
        assert isinstance(chosen, VersionChosen)
        assert chosen.octets.startswith(b"\xe0\x01")
        assert set(map(type, happened[1:])) == {EndOfMessages}
    end, octets = begin_server(BUSY, alpn=ALPN)
    assert octets == TOLD_BUSY
    end.receive(message(0, {"path": "a"}, chunk(b"x"), END))
    assert end.next_event() == EndOfMessages()
    assert end.available == end.run == 0


def test_client_is_told_that_the_server_cannot_serve() -> None:
    """It does not fall back: in version 1 there is no better answer."""
    for versions in ((1, 2), (2,)):
        end = ask(versions)
        end.receive(b"\xe0" + TOLD_BUSY)
        end.receive_eof()
        chosen = end.next_event()
        assert isinstance(chosen, VersionChosen)
        event = chosen.connection.next_event()
        assert isinstance(event, Unavailable)
        assert isinstance(event.error, Busy)
        assert event.error.retry_after == 5
        assert chosen.connection.next_event() == EndOfMessages()


# The client, in the clear.


def test_client_asks_with_one_octet_and_waits() -> None:
    end = ask()
    assert not end.is_ready
    assert end.silence_seconds == 3.0
    assert end.may_end_with_silence
    assert end.next_event() is None
    with pytest.raises(LocalProtocolError):
        end.encode(Get("a"))


@pytest.mark.parametrize("versions", [(1, 2), (2,), {2}, [2, 1]])
def test_client_goes_on_in_version_2(versions: Collection[int]) -> None:
    for pieces in split_every_way(b"\xe0" + GREETED):
        assert drive(ask(versions), pieces) == [
            VersionChosen(v2.ClientCodec),
            GREETING,
            EndOfMessages(),
        ], pieces


def test_client_may_send_as_soon_as_the_answer_has_come() -> None:
    end = ask()
    end.receive(b"\xe0")
    chosen = end.next_event()
    assert isinstance(chosen, VersionChosen)
    assert chosen.octets == b""
    assert chosen.connection.is_ready
    assert chosen.connection.encode(Help()) == message(4, {})


def test_client_goes_on_in_version_1_on_the_same_connection() -> None:
    end = ask()
    end.receive(b"\x80")
    chosen = end.next_event()
    assert isinstance(chosen, VersionChosen)
    assert type(chosen.connection) is ClientConnection
    assert chosen.connection.is_ready
    assert chosen.connection.encode(Help()) == b"\x80"
    assert drive(chosen.connection, [b"\xc2hi"]) == [HelpText("hi"), EndOfMessages()]


def test_client_is_answered_more_than_it_asked() -> None:
    happened = drive(ask(), [b"\x80\x00"])
    assert happened == [
        VersionChosen(ClientConnection),
        Failed("the server answered what was not asked"),
    ]


UNANSWERED: list[tuple[bytes, bool, bool]] = [
    # What came, whether the server closed, whether it was silent.
    *[(bytes([octet]), False, False) for octet in range(256) if octet not in (0x80, 0xE0)],
    (b"\xa0\xe0", True, True),
    (b"", True, False),
    (b"", False, True),
    (b"", True, True),
]


@pytest.mark.parametrize(("octets", "has_eof", "is_silent"), UNANSWERED)
def test_client_is_not_answered(octets: bytes, has_eof: bool, is_silent: bool) -> None:
    for versions, kind in (((1, 2), ReconnectInVersion1), ((2,), RemoteProtocolError)):
        end = ask(versions)
        end.receive(octets)
        if has_eof:
            end.receive_eof()
        if is_silent:
            end.receive_silence()
        for _ in range(2):
            with pytest.raises(RemoteProtocolError, match="does not answer in version 2") as raised:
                end.next_event()
            assert raised.type is kind


@pytest.mark.parametrize("answer", [b"\xe0", b"\x80"])
def test_answer_in_time_is_an_answer(answer: bytes) -> None:
    """Also when the clock and the network came in the same turn."""
    end = ask()
    end.receive(answer)
    end.receive_silence()
    assert isinstance(end.next_event(), VersionChosen)


def test_client_that_demands_version_2_never_falls_back() -> None:
    end = ask((2,))
    end.receive(b"\x80")
    with pytest.raises(RemoteProtocolError) as raised:
        end.next_event()
    assert raised.type is RemoteProtocolError


@pytest.mark.parametrize("alpn", [None, b""])
def test_client_in_version_1_alone(alpn: bytes | None) -> None:
    end, octets = begin_client(alpn=alpn)
    assert type(end) is ClientConnection
    assert octets == b""


# The client, over TLS.


@pytest.mark.parametrize("versions", [(1, 2), (2,)])
def test_client_begins_in_version_2_over_tls(versions: Collection[int]) -> None:
    end, octets = begin_client(versions, alpn=ALPN)
    assert octets == b""
    assert end.is_ready
    assert end.encode(MakeDirectory("d")) == message(8, {"path": "d"})
    assert drive(end, [GREETED + message(0, {})]) == [GREETING, Done(), EndOfMessages()]


def test_client_asks_as_in_the_clear_over_tls_without_alpn() -> None:
    end, octets = begin_client((1, 2), alpn=b"h2")
    assert octets == b"\xe0"
    assert not end.is_ready


# Both.


@pytest.mark.parametrize(
    ("greeting", "versions", "server_kind", "client_kind"),
    [
        (GREETING, (1, 2), v2.ServerCodec, v2.ClientCodec),
        (GREETING, (2,), v2.ServerCodec, v2.ClientCodec),
        (GREETING, (1,), ServerConnection, ClientConnection),
        (None, (1, 2), ServerConnection, ClientConnection),
        (None, (1,), ServerConnection, ClientConnection),
    ],
)
def test_both_ends_choose_the_same(
    greeting: Greeting | None, versions: Collection[int], server_kind: type, client_kind: type
) -> None:
    """And a request is answered, by drivers that do not know in which version."""
    server, _ = begin_server(greeting)
    client, octets = begin_client(versions)
    asked: Request | None = None
    for _ in range(10):
        server.receive(octets)
        octets = b""
        while (event := server.next_event()) is not None:
            if isinstance(event, VersionChosen):
                server, octets = event.connection, octets + event.octets
            elif isinstance(event, Unknown):
                octets += b"\x80"
            elif isinstance(event, MakeDirectory | Help):
                octets += server.encode(HelpText("hi", software="s"), event)
        client.receive(octets)
        octets = b""
        while (event := client.next_event()) is not None:
            if isinstance(event, VersionChosen):
                client, octets = event.connection, event.octets
            elif isinstance(event, HelpText):
                assert type(server) is server_kind
                assert type(client) is client_kind
                return
        if client.is_ready and asked is None:
            asked = Help()
            octets += client.encode(asked)
    pytest.fail("no answer")


def test_what_both_versions_offer_to_drivers() -> None:
    """A body is written by the same lines in either version."""
    for make in (ServerConnection, ClientConnection, v2.ServerCodec, v2.ClientCodec):
        end = make()
        body = b"hello"
        written = b""
        while body:
            count = min(len(body), end.max_run)
            written += end.encode_run(count) + body[:count]
            body = body[count:]
        written += end.encode_body_end(BodyEnd())
        assert written == (chunk(b"hello") + END if end.has_trailers else b"hello")


def test_version_1_cannot_end_a_body_early() -> None:
    for end in (ServerConnection(), ClientConnection()):
        assert end.max_run == 2**32 - 1
        assert end.encode_run(2**32 - 1) == b""
        assert end.encode_body_end(BodyEnd({"xxh3-128": b"x" * 16})) == b""
        with pytest.raises(LocalProtocolError, match="early"):
            end.encode_body_end(BodyEnd(refusal=Cancelled("enough")))


def test_version_1_says_where_there_is_a_body() -> None:
    end = ServerConnection()
    assert not end.has_body
    for octets, has_body in [
        (b"\x21a", False),
        (b"\x00", True),
        (b"\x01a\0\0\0\0", True),
        (b"\x01a\0\0\0\x01x", True),
        (b"\xa0", False),
    ]:
        end.receive(octets)
        assert end.next_event() is not None
        assert end.has_body is has_body
        end.discard_body()
        assert end.has_body is has_body
        end.next_event()
        assert not end.has_body


def test_nothing_is_said_before_the_version_is_chosen() -> None:
    server, client = serve(), ask()
    for end in (server, client):
        assert (end.run, end.max_run, end.has_trailers, end.has_body) == (0, 0, False, False)
        with pytest.raises(LocalProtocolError):
            end.encode_run(1)
        with pytest.raises(LocalProtocolError):
            end.encode_body_end(BodyEnd())
        assert end.take_body(9) == b""
        end.discard_body()
    with pytest.raises(LocalProtocolError):
        server.encode(Refused(Busy("")), Help())


def test_silence_of_version_1() -> None:
    client = ClientConnection()
    client.encode(Summary("n"))
    assert client.silence_seconds is None
    client.receive(b"Max: 3\nMin: 1\nAvg: 2")
    assert client.next_event() is None
    assert client.silence_seconds == 1.0
    client.receive_silence()
    assert client.next_event() == Statistics(3.0, 1.0, 2.0)
    assert client.silence_seconds is None


def test_driver_that_stops_at_the_limit_is_never_stuck() -> None:
    """The longest messages that are parsed in one piece: a head, and a trailer with what stands before it."""
    longest = Raw(b"\x81\xa1x\xc5\xff\xfa" + b"x" * 65_530)
    head = message(4, longest)
    tail = b"\0\0\0\0" + b"\x01\x00\x00" + longest
    assert len(tail) == 7 + 65_536
    for start, octets, expected in [
        (b"", head, [Help()]),
        (message(0, {"path": "a"}, b""), tail, [Put("a"), b"", BodyEnd()]),
    ]:
        end = v2.ServerCodec()
        happened = drive(end, [start], has_eof=False)
        for index in range(len(octets)):
            assert end.available < MAX_UNPARSED_OCTETS
            end.receive(octets[index : index + 1])
        happened += drive(end, [b""], has_eof=False)
        assert happened == expected


def test_largest_sizes_of_version_1_and_2() -> None:
    assert v1.MAX_SIZE == v1.ServerCodec.max_run == 2**32 - 1
    assert v2_frames.MAX_CHUNK_OCTETS == v2.ServerCodec.max_run == 2**24


def test_notation() -> None:
    assert read_octets('05 "a.é" 0A\n "x"') == b"\x05a.\xc3\xa9\nx"
    assert BodyRun() == BodyRun()
