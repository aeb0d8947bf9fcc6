"""A client's end against a server's end: what one says, the other hears."""

from collections.abc import Iterator
from dataclasses import dataclass

from feeding import Happening, drive
from hypothesis import assume, given
from hypothesis import strategies as st

from filetransfer.errors import (
    Exists,
    LocalProtocolError,
    NoSpace,
    NotFound,
    NotNumeric,
    RequestRefused,
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
    Put,
    Refused,
    Request,
    Response,
    Statistics,
    Summary,
)


@dataclass
class Exchanged:
    """A request and its response, each with the octets of its body; None where it has none."""

    request: Request
    request_body: bytes | None
    response: Response
    response_body: bytes | None

    @property
    def heard_by_server(self) -> list[Happening]:
        return [
            self.request,
            *([] if self.request_body is None else [self.request_body, BodyEnd()]),
        ]

    @property
    def heard_by_client(self) -> list[Happening]:
        return [
            self.response,
            *([] if self.response_body is None else [self.response_body, BodyEnd()]),
        ]


def name_of(most: int) -> st.SearchStrategy[str]:
    """Every name that version 1 can say, the store's rules aside."""
    characters = st.characters(codec="utf-8", exclude_characters="\r\n")
    return st.text(characters, min_size=1, max_size=most).filter(
        lambda text: len(text.encode()) <= most
    )


PATHS = name_of(31)
NEW_PATHS = name_of(40) | st.integers(41, 255).map(lambda length: "n" * length)
BODIES = st.binary(max_size=40)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)

EXCHANGED = st.one_of(
    st.builds(
        lambda path, body: Exchanged(Put(path, len(body)), body, Done(), None), PATHS, BODIES
    ),
    st.builds(
        lambda path, body: Exchanged(Get(path), None, Content(path, len(body)), body), PATHS, BODIES
    ),
    st.builds(lambda path, to: Exchanged(Change(path, to), None, Done(), None), PATHS, NEW_PATHS),
    st.builds(
        lambda path, *numbers: Exchanged(Summary(path), None, Statistics(*numbers), None),
        PATHS,
        NUMBERS,
        NUMBERS,
        NUMBERS,
    ),
    st.builds(
        lambda text: Exchanged(Help(), None, HelpText(text), None),
        st.text(st.characters(codec="ascii"), max_size=31),
    ),
)


def pieces_of(octets: bytes, size: int) -> Iterator[bytes]:
    return (octets[start : start + size] for start in range(0, len(octets), size))


@given(
    st.lists(EXCHANGED, max_size=6),
    st.integers(1, 50),
    st.integers(1, 50),
    st.booleans(),
    st.booleans(),
)
def test_pipelined(
    exchanges: list[Exchanged], sent: int, answered: int, moves_bodies: bool, is_bare: bool
) -> None:
    client = ClientConnection()
    server = ServerConnection(has_bare_summary=is_bare)
    octets = b""
    for exchange in exchanges:
        try:
            octets += client.encode(exchange.request) + (exchange.request_body or b"")
        except LocalProtocolError:
            assume(False)
    heard = drive(server, pieces_of(octets, sent), moves_bodies=moves_bodies)
    assert heard == [
        *(each for exchange in exchanges for each in exchange.heard_by_server),
        EndOfMessages(),
    ]

    octets = b""
    for exchange in exchanges:
        octets += server.encode(exchange.response, exchange.request) + (
            exchange.response_body or b""
        )
    heard = drive(client, pieces_of(octets, answered), moves_bodies=moves_bodies)
    assert heard == [
        *(each for exchange in exchanges for each in exchange.heard_by_client),
        EndOfMessages(),
    ]


def test_one_after_the_other() -> None:
    """Octet by octet, each request asked when the one before is answered."""
    exchanges = [
        Exchanged(Put("a", 3), b"abc", Done(), None),
        Exchanged(Get("a"), None, Content("a", 3), b"abc"),
        Exchanged(Change("a", "b" * 255), None, Done(), None),
        Exchanged(Summary("n"), None, Statistics(3.0, 1.0, 2.0), None),
        Exchanged(Help(), None, HelpText("help"), None),
        Exchanged(Put("e", 0), b"", Done(), None),
        Exchanged(Get("e"), None, Content("e", 0), b""),
    ]
    client, server = ClientConnection(), ServerConnection()
    for exchange in exchanges:
        octets = client.encode(exchange.request) + (exchange.request_body or b"")
        assert drive(server, pieces_of(octets, 1), has_eof=False) == exchange.heard_by_server
        octets = server.encode(exchange.response, exchange.request) + (
            exchange.response_body or b""
        )
        assert drive(client, pieces_of(octets, 1), has_eof=False) == exchange.heard_by_client
        assert client.is_between_messages
        assert server.is_between_messages


def test_refusals_cross_by_their_kind() -> None:
    """Version 1 says "not found" and "refused", and no more."""
    put, get, change, summary = Put("a", 0), Get("a"), Change("a", "b"), Summary("a")
    for request, refusal, heard in [
        (put, NoSpace("full"), RequestRefused),
        (get, NotFound("not found"), NotFound),
        (change, NotFound("not found", about="path"), NotFound),
        (change, Exists("exists", about="to"), RequestRefused),
        (summary, NotNumeric("words"), NotFound),
    ]:
        client = ClientConnection()
        client.encode(request)
        client.receive(ServerConnection().encode(Refused(refusal), request))
        response = client.next_event()
        assert isinstance(response, Refused)
        assert type(response.error) is heard
