"""Drives one end of a connection as a server or a client does, and notes all that happens."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from filetransfer.errors import RemoteProtocolError
from filetransfer.wire.connection import ClientEnd, Event, ServerEnd
from filetransfer.wire.messages import BodyEnd, EndOfMessages, VersionChosen

End = ServerEnd | ClientEnd


@dataclass
class Failed:
    """The decoder raised RemoteProtocolError, for this reason."""

    reason: str


Happening = Event | bytes | Failed
"""An event, a body (all its octets, before its BodyEnd), or the failure that ends everything."""


def drive(
    end: End,
    pieces: Iterable[bytes],
    *,
    has_eof: bool = True,
    limit: int = 1 << 16,
    moves_bodies: bool = False,
    discards_bodies: bool = False,
) -> list[Happening]:
    """Feed pieces, one after the other, and ask for events after each.

    Args:
        end: a new connection; once its version is chosen, what was chosen.
        pieces: what the peer sends, as it was split.
        has_eof: whether the peer then stops sending.
        limit: octets of a body taken at a time.
        moves_bodies: let bodies go past the decoder, where none of their octets were fed.
        discards_bodies: refuse every body.
    """
    happened: list[Happening] = []
    body = bytearray()

    def pull() -> None:
        nonlocal end
        while True:
            event = end.next_event()
            if event is None:
                octets = end.take_body(limit) if end.run else b""
                if not octets:
                    return
                body.extend(octets)
                continue
            if isinstance(event, BodyEnd):
                happened.append(bytes(body))
                body.clear()
            happened.append(event)
            if isinstance(event, EndOfMessages):
                return
            end = note_version(end, event)
            if discards_bodies:
                end.discard_body()

    try:
        for piece in pieces:
            rest = piece
            if moves_bodies and end.run and end.has_body:
                rest = piece[end.run :]
                body.extend(piece[: end.run])
                end.body_moved(min(end.run, len(piece)))
            end.receive(rest)
            pull()
        if has_eof:
            end.receive_eof()
            pull()
    except RemoteProtocolError as error:
        happened.append(Failed(str(error)))
    return happened


def note_version(end: End, event: Event) -> End:
    """Give what is driven from here on; what stays noted is only of which kind it is."""
    if not isinstance(event, VersionChosen):
        return end
    chosen: End = event.connection
    event.connection = type(chosen)
    return chosen


def split_in_two(octets: bytes) -> Iterator[list[bytes]]:
    """Every split in two, the empty ones too."""
    for cut in range(len(octets) + 1):
        yield [octets[:cut], octets[cut:]]


def split_every_way(octets: bytes) -> Iterator[list[bytes]]:
    """Whole, octet by octet, and every split in two."""
    yield [octets]
    yield [octets[index : index + 1] for index in range(len(octets))]
    yield from split_in_two(octets)
