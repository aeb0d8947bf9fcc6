"""The octets of bodies: taken, moved past the decoder, or discarded; at both ends alike."""

from collections.abc import Callable

import pytest
from feeding import Failed, drive, split_every_way

from filetransfer.errors import LocalProtocolError, RemoteProtocolError
from filetransfer.wire.connection import ClientConnection, ServerConnection
from filetransfer.wire.messages import BodyEnd, EndOfMessages, Get, Help, HelpText

End = ServerConnection | ClientConnection

# One message with a body of five octets, and one without a body behind it.
AT_SERVER = b"\x01a\0\0\0\x05hello\x80"
AT_CLIENT = b"\x21a\0\0\0\x05hello\xc2ok"


def make_client() -> ClientConnection:
    end = ClientConnection()
    end.encode(Get("a"))
    end.encode(Help())
    return end


both_ends = pytest.mark.parametrize(
    ("make", "octets", "last"),
    [(ServerConnection, AT_SERVER, Help()), (make_client, AT_CLIENT, HelpText("ok"))],
    ids=["server", "client"],
)


def begin(end: End, octets: bytes) -> None:
    end.receive(octets)
    assert end.next_event() is not None


@both_ends
@pytest.mark.parametrize("moves_bodies", [False, True])
@pytest.mark.parametrize("limit", [1, 2, 4, 5, 100])
def test_body_is_the_same_however_it_is_taken(
    make: Callable[[], End], octets: bytes, last: Help | HelpText, limit: int, moves_bodies: bool
) -> None:
    for pieces in split_every_way(octets):
        _, *rest = drive(make(), pieces, limit=limit, moves_bodies=moves_bodies)
        assert rest == [b"hello", BodyEnd(), last, EndOfMessages()], pieces


@both_ends
def test_body_is_discarded(make: Callable[[], End], octets: bytes, last: Help | HelpText) -> None:
    for pieces in split_every_way(octets):
        _, *rest = drive(make(), pieces, discards_bodies=True)
        assert rest == [b"", BodyEnd(), last, EndOfMessages()], pieces


@both_ends
def test_rest_of_a_body_is_discarded(
    make: Callable[[], End], octets: bytes, last: Help | HelpText
) -> None:
    for taken in range(6):
        end = make()
        begin(end, octets)
        assert end.take_body(taken) == b"hello"[:taken]
        end.discard_body()
        assert end.next_event() == BodyEnd()
        assert end.next_event() == last


@both_ends
def test_empty_body_is_discarded(
    make: Callable[[], End], octets: bytes, last: Help | HelpText
) -> None:
    end = make()
    begin(end, octets[:2] + b"\0\0\0\0")
    end.discard_body()
    assert end.next_event() == BodyEnd()
    assert end.is_between_messages


@both_ends
def test_only_a_body_is_discarded(
    make: Callable[[], End], octets: bytes, last: Help | HelpText
) -> None:
    end = make()
    end.discard_body()
    end.receive(octets[:3])
    assert end.next_event() is None
    end.discard_body()
    assert drive(end, [octets[3:]])[1:] == [b"hello", BodyEnd(), last, EndOfMessages()]


@both_ends
def test_run_is_what_is_left_of_the_body(
    make: Callable[[], End], octets: bytes, last: Help | HelpText
) -> None:
    end = make()
    assert end.run == 0
    begin(end, octets[:8])
    assert (end.run, end.available) == (5, 2)
    assert end.next_event() is None
    assert end.take_body(1) == b"h"
    assert (end.run, end.available) == (4, 1)
    assert end.take_body(9) == b"e"
    assert end.take_body(9) == b""
    end.body_moved(2)
    assert (end.run, end.available) == (1, 0)
    end.body_moved(0)
    assert end.next_event() is None
    end.receive(octets[-len(octets[11:]) - 1 :])
    assert not end.is_between_messages
    assert end.take_body(9) == octets[10:11]
    assert end.next_event() == BodyEnd()
    assert end.next_event() == last
    assert end.take_body(9) == b""


@both_ends
@pytest.mark.parametrize("count", [-1, 6])
def test_body_moves_only_as_far_as_it_goes(
    make: Callable[[], End], octets: bytes, last: Help | HelpText, count: int
) -> None:
    end = make()
    begin(end, octets[:6])
    with pytest.raises(LocalProtocolError):
        end.body_moved(count)
    assert end.run == 5


@both_ends
def test_fed_octets_go_first(make: Callable[[], End], octets: bytes, last: Help | HelpText) -> None:
    end = make()
    begin(end, octets[:7])
    end.body_moved(0)
    with pytest.raises(LocalProtocolError):
        end.body_moved(1)
    assert end.take_body(9) == b"h"
    end.body_moved(4)
    assert end.next_event() == BodyEnd()


@both_ends
def test_body_outside_a_body(make: Callable[[], End], octets: bytes, last: Help | HelpText) -> None:
    end = make()
    assert end.take_body(9) == b""
    with pytest.raises(LocalProtocolError):
        end.body_moved(1)


@both_ends
@pytest.mark.parametrize("discards_bodies", [False, True])
@pytest.mark.parametrize("moves_bodies", [False, True])
def test_body_that_is_cut_is_a_truncation(
    make: Callable[[], End],
    octets: bytes,
    last: Help | HelpText,
    moves_bodies: bool,
    discards_bodies: bool,
) -> None:
    for cut in range(6, 11):
        _, failure = drive(
            make(),
            [octets[:6], octets[6:cut]],
            moves_bodies=moves_bodies,
            discards_bodies=discards_bodies,
        )
        assert isinstance(failure, Failed)
        assert "ended inside a message" in failure.reason


@both_ends
def test_end_waits_for_the_octets_that_were_fed(
    make: Callable[[], End], octets: bytes, last: Help | HelpText
) -> None:
    """A driver that is slow to take a body gets all of it, though the peer has stopped sending."""
    end = make()
    begin(end, octets)
    end.receive_eof()
    assert end.next_event() is None
    assert end.take_body(3) == b"hel"
    assert end.next_event() is None
    assert end.take_body(3) == b"lo"
    assert [end.next_event() for _ in range(4)] == [
        BodyEnd(),
        last,
        EndOfMessages(),
        EndOfMessages(),
    ]


@both_ends
def test_end_does_not_wait_for_a_body_that_will_not_be_whole(
    make: Callable[[], End], octets: bytes, last: Help | HelpText
) -> None:
    """A driver may take a small body only when all of it is there: it would wait for ever."""
    for cut in range(6, 11):
        end = make()
        begin(end, octets[:cut])
        assert end.next_event() is None
        end.receive_eof()
        with pytest.raises(RemoteProtocolError, match="ended inside a message"):
            end.next_event()
