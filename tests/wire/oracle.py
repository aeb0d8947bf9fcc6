"""What must hold for any octets at all. The fuzzer and the tests look for octets for which it does not."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from feeding import End, Happening, drive

from filetransfer.errors import LocalProtocolError
from filetransfer.wire.connection import ClientConnection, ServerConnection
from filetransfer.wire.messages import (
    Change,
    Content,
    Done,
    Get,
    Help,
    HelpText,
    Put,
    Request,
    Response,
    Statistics,
    Summary,
)

ASKED: list[Request] = [Put("a", 1), Get("a"), Change("a", "b"), Summary("a"), Help()]


@dataclass
class Drive:
    """How to feed octets to an end. ``asked`` is None for a server's end, else what a client has asked."""

    asked: list[Request] | None
    cuts: list[int]
    has_eof: bool
    limit: int
    moves_bodies: bool
    discards_bodies: bool


def make_client(requests: Sequence[Request]) -> ClientConnection:
    end = ClientConnection()
    for request in requests:
        end.encode(request)
    return end


def make_end(how: Drive) -> End:
    return ServerConnection() if how.asked is None else make_client(how.asked)


def check_octets(
    octets: bytes, how: Drive, make_end: Callable[[Drive], End] = make_end
) -> list[Happening]:
    """Check that it makes no difference how octets are split and bodies are taken. Returns what happened."""
    whole = drive(make_end(how), [octets], has_eof=how.has_eof, discards_bodies=how.discards_bodies)
    places = [0, *sorted(cut % (len(octets) + 1) for cut in how.cuts), len(octets)]
    for pieces in (
        [octets[index : index + 1] for index in range(len(octets))],
        [octets[start:end] for start, end in pairwise(places)],
    ):
        happened = drive(
            make_end(how),
            pieces,
            has_eof=how.has_eof,
            limit=how.limit,
            moves_bodies=how.moves_bodies and not how.discards_bodies,
            discards_bodies=how.discards_bodies,
        )
        # By their representations: two refusals are two exceptions.
        assert list(map(repr, happened)) == list(map(repr, whole)), pieces
    return whole


def check_requests(happened: Sequence[Happening]) -> None:
    """Check that what a client can say of the requests that were read is read again as the same."""
    for request in happened:
        if isinstance(request, Request):
            try:
                octets = ClientConnection().encode(request)
            except LocalProtocolError:
                continue
            assert drive(ServerConnection(), [octets], has_eof=False)[0] == request


def check_responses(happened: Sequence[Happening], asked: Sequence[Request]) -> None:
    """Check that what our server can say of the responses that were read is read again as the same."""
    responses = (each for each in happened if isinstance(each, Response))
    for response, request in zip(responses, asked, strict=False):
        if isinstance(response, Done | Content | Statistics | HelpText):
            try:
                octets = ServerConnection().encode(response, request)
            except LocalProtocolError:
                continue
            (again, *_) = drive(make_client([request]), [octets], has_eof=False)
            assert again == response or isinstance(again, HelpText), "a text may have been cut"


def check(data: bytes) -> None:
    """Check one input of the fuzzer, of octets that are all taken modulo what there is.

    ``flags, limit, count of cuts, two octets for each, [client:] count of requests, one octet for each, what is fed``
    """
    take = iter(data)
    flags = next(take, 0)
    how = Drive(
        asked=None,
        limit=next(take, 0) + 1,
        cuts=[next(take, 0) << 8 | next(take, 0) for _ in range(next(take, 0) % 8)],
        has_eof=bool(flags & 2),
        moves_bodies=bool(flags & 4),
        discards_bodies=bool(flags & 8),
    )
    if flags & 1:
        how.asked = [ASKED[next(take, 0) % len(ASKED)] for _ in range(next(take, 0) % 8)]
    happened = check_octets(bytes(take), how)
    if how.asked is None:
        check_requests(happened)
    else:
        check_responses(happened, how.asked)
