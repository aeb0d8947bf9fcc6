"""What must hold for any octets at all in version 2, and while the version is being chosen. See ``oracle.py``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from feeding import End, Failed, Happening, drive
from oracle import Drive, check_octets

from filetransfer.errors import LocalProtocolError, RequestRefused
from filetransfer.wire.connection import begin_client, begin_server
from filetransfer.wire.messages import (
    Authenticate,
    BodyEnd,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Get,
    Greeting,
    Help,
    List,
    Listing,
    MakeDirectory,
    Put,
    Refused,
    Request,
    Response,
    Stat,
    Summary,
    Unavailable,
    VersionChosen,
    Working,
)
from filetransfer.wire.v2 import ClientCodec, ServerCodec

ASKED: list[Request] = [
    Put("a", 1),
    Get("a"),
    Change("a", "b"),
    Summary("a"),
    Help(),
    List("a"),
    Stat("a"),
    Delete("a"),
    MakeDirectory("a"),
    Authenticate("m", b""),
    Digest("a"),
    Copy("a", "b"),
    Get("a", 1, 2),
    Stat(upload=b"sixteen octets!!"),
]


@dataclass
class DriveV2(Drive):
    """As :class:`oracle.Drive`, in version 2; with ``is_opening``, from before the version is chosen."""

    is_opening: bool


def make_end(how: Drive) -> End:
    assert isinstance(how, DriveV2)
    end: End
    if how.is_opening:
        end, _ = begin_server(Greeting(2)) if how.asked is None else begin_client((1, 2))
    elif how.asked is None:
        end = ServerCodec()
    else:
        end = make_client(how.asked)
    return end


def make_client(requests: Sequence[Request]) -> ClientCodec:
    end = ClientCodec()
    for request in requests:
        end.encode(request)
    return end


def check_any(octets: bytes, how: DriveV2) -> list[Happening]:
    """Check all that must hold. Returns what happened."""
    happened = check_octets(octets, how, make_end)
    assert not any(isinstance(each, Failed) for each in happened[:-1])
    if not any(isinstance(each, VersionChosen) for each in happened):
        check_order(happened, not how.discards_bodies)
        check_said_again(happened, how.asked)
    return happened


def check_order(happened: Sequence[Happening], has_octets: bool) -> None:
    """Check that a body's octets and its end come together, and that it is as long as was promised."""
    message: Happening | None = None
    length = 0
    for each in happened:
        if isinstance(each, bytes):
            length = len(each)
        elif isinstance(each, BodyEnd):
            assert isinstance(message, Put | Content | Listing)
            if each.refusal is None and has_octets:
                check_length(message, length)
            message = None
        elif isinstance(each, Request | Response):
            assert not isinstance(message, Put | Content | Listing), "its body had not ended"
            message = each


def check_length(message: Put | Content | Listing, length: int) -> None:
    match message:
        case Put(size=int(size), offset=offset):
            assert length == size - offset
        case Content(size=size, offset=offset):
            assert length <= size - offset


def check_said_again(happened: Sequence[Happening], asked: Sequence[Request] | None) -> None:
    """Check that our other end can say what was read, and that it is read again as the same."""
    for octets, again, message in _say_again(happened, asked):
        heard = drive(again, [octets], has_eof=False)[-1]
        assert repr(heard) == repr(message)


def _say_again(
    happened: Sequence[Happening], asked: Sequence[Request] | None
) -> Iterator[tuple[bytes, End, Happening]]:
    requests = iter(asked or ())
    for message in happened:
        match message:
            case Refused(error) | Unavailable(error) if type(error) is RequestRefused:
                next(requests, None)  # its word is of a later version
            case Greeting() | Unavailable():
                yield ServerCodec().encode_greeting(message), ClientCodec(), message
            case Working():
                continue
            case _ if isinstance(message, Request) and asked is None:
                try:
                    octets = ClientCodec().encode(message)
                except LocalProtocolError:
                    continue
                yield octets, ServerCodec(), message
            case _ if isinstance(message, Response):
                request = next(requests)
                octets = ServerCodec().encode_greeting(Greeting(2))
                octets += ServerCodec().encode(message, request)
                yield octets, make_client([request]), message


def check(data: bytes) -> None:
    """Check one input of the fuzzer, of octets that are all taken modulo what there is.

    ``flags, limit, count of cuts, two octets for each, [client:] count of requests, one octet for each, what is fed``
    """
    take = iter(data)
    flags = next(take, 0)
    how = DriveV2(
        asked=None,
        limit=next(take, 0) + 1,
        cuts=[next(take, 0) << 8 | next(take, 0) for _ in range(next(take, 0) % 8)],
        has_eof=bool(flags & 2),
        moves_bodies=bool(flags & 4),
        discards_bodies=bool(flags & 8),
        is_opening=bool(flags & 16),
    )
    if flags & 1:
        how.asked = [ASKED[next(take, 0) % len(ASKED)] for _ in range(next(take, 0) % 8)]
    check_any(bytes(take), how)
