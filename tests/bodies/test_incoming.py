"""A body on its way from a decoder to a file, or to memory, whoever is first: the octets or the file."""

from typing import Any

import pytest
from reactors import HeldThreads
from twisted.internet.defer import Deferred

from filetransfer.bodies import incoming
from filetransfer.bodies.copied import MAX_PENDING_OCTETS
from filetransfer.bodies.incoming import HeldBody, IncomingBody
from filetransfer.errors import Cancelled, NoSpace, TransferInterrupted

OCTETS = bytes(range(256)) * 8192


class Source:
    """A decoder: octets are fed, and taken."""

    def __init__(self, run: int) -> None:
        self.run = run
        self.fed = b""
        self.is_discarding = False

    @property
    def available(self) -> int:
        return len(self.fed)

    def take_body(self, limit: int) -> bytes:
        count = min(limit, self.run)
        octets, self.fed = self.fed[:count], self.fed[count:]
        self.run -= len(octets)
        return octets

    def body_moved(self, count: int) -> None:
        raise AssertionError("nothing goes past the decoder")

    def discard_body(self) -> None:
        self.is_discarding = True


class Sink:
    """A file that octets are written to."""

    def __init__(self) -> None:
        self.octets = b""
        self.error: Exception | None = None

    def write(self, octets: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.octets += octets


class Rig:
    """A body, all it touches, and how its reception ended."""

    def __init__(self, size: int) -> None:
        self.source = Source(size)
        self.sink = Sink()
        self.pauses: list[bool] = []
        self.moved = 0
        self.results: list[Any] = []
        self.body = IncomingBody(self.source, self.pauses.append, self._note_moved)

    @property
    def is_paused(self) -> bool:
        return bool(self.pauses) and self.pauses[-1]

    def feed(self, octets: bytes) -> None:
        self.source.fed += octets
        self.body.octets_came()

    def receive(self) -> None:
        work = Deferred.fromCoroutine(self.body.receive_into(self.sink))
        work.addBoth(self.results.append)

    def _note_moved(self, count: int) -> None:
        self.moved += count


def test_octets_that_come_before_the_file_is_open_wait(threads: HeldThreads) -> None:
    rig = Rig(10)
    rig.feed(b"01234")
    assert rig.is_paused
    assert rig.source.available == 5
    rig.receive()
    assert not rig.is_paused
    rig.feed(b"56789")
    rig.body.end()
    threads.run()
    assert rig.results == [None]
    assert rig.sink.octets == b"0123456789"
    assert rig.moved == 10


def test_the_next_request_is_left_alone(threads: HeldThreads) -> None:
    rig = Rig(4)
    rig.receive()
    rig.feed(b"0123next")
    rig.body.end()
    threads.run()
    assert rig.sink.octets == b"0123"
    assert rig.source.fed == b"next"


def test_body_that_ended_before_somebody_wanted_it(threads: HeldThreads) -> None:
    rig = Rig(0)
    rig.body.end()
    rig.receive()
    assert rig.results == [None]
    assert rig.sink.octets == b""


def test_connection_lost_before_somebody_wanted_the_body(threads: HeldThreads) -> None:
    rig = Rig(10)
    rig.feed(b"0123")
    cause = ConnectionError()
    rig.body.fail(cause)
    rig.receive()
    [failure] = rig.results
    assert failure.check(TransferInterrupted)
    assert failure.value.__cause__ is cause
    assert rig.sink.octets == b""


def test_connection_lost_in_mid_body_waits_for_the_write(threads: HeldThreads) -> None:
    rig = Rig(len(OCTETS))
    rig.receive()
    rig.feed(OCTETS[: len(OCTETS) // 2])
    assert len(threads) == 1
    rig.body.fail(ConnectionError())
    assert not rig.results  # whoever closes the file must not do it yet
    threads.run()
    [failure] = rig.results
    assert failure.check(TransferInterrupted)


def test_failed_write_lets_the_rest_go_by(threads: HeldThreads) -> None:
    rig = Rig(2 * len(OCTETS))
    rig.receive()
    rig.sink.error = NoSpace("full")
    rig.feed(OCTETS)
    threads.run()
    assert not rig.source.is_discarding
    rig.feed(OCTETS[:1000])
    assert rig.source.is_discarding
    assert not rig.is_paused
    assert not rig.results
    rig.body.end()
    [failure] = rig.results
    assert failure.value is rig.sink.error


def test_peer_waits_for_the_disk(threads: HeldThreads) -> None:
    rig = Rig(len(OCTETS))
    rig.receive()
    rig.feed(OCTETS[: MAX_PENDING_OCTETS // 2])
    assert not rig.is_paused
    rig.feed(OCTETS[: MAX_PENDING_OCTETS + 1])
    assert rig.is_paused
    threads.run_one()
    assert not rig.is_paused
    rig.body.end()
    threads.run()
    assert rig.results == [None]


def test_body_that_has_ended_lets_the_peer_go_on_and_then_leaves_it_alone(
    threads: HeldThreads,
) -> None:
    rig = Rig(len(OCTETS))
    rig.receive()
    rig.feed(OCTETS[: MAX_PENDING_OCTETS // 2])
    rig.feed(OCTETS[MAX_PENDING_OCTETS // 2 :])
    assert rig.is_paused
    rig.body.end()
    assert not rig.is_paused
    count = len(rig.pauses)
    threads.run()
    assert len(rig.pauses) == count
    assert rig.results == [None]
    assert rig.sink.octets == OCTETS


def test_nothing_goes_past_the_decoder_without_a_transport() -> None:
    rig = Rig(len(OCTETS))
    rig.receive()
    assert not rig.body.is_moved_past
    assert not rig.body.awaits_peer
    rig.body.end()
    assert rig.results == [None]


def test_body_given_up_by_whoever_is_told_of_its_first_octets(
    threads: HeldThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the kernel has it: nobody would stop it any more."""
    monkeypatch.setattr(incoming, "goes_by_kernel", lambda *_: True)
    rig = Rig(10)
    rig.source.fed = b"0123"
    body = IncomingBody(
        rig.source, rig.pauses.append, lambda count: body.fail(ConnectionError()) if count else None
    )
    rig.body = body
    rig.sink.advance = lambda count: None  # type: ignore[attr-defined]
    rig.receive()
    threads.run()
    [failure] = rig.results
    assert failure.check(TransferInterrupted)
    assert not body.is_moved_past


def test_body_in_several_runs(threads: HeldThreads) -> None:
    rig = Rig(4)
    rig.receive()
    rig.feed(b"0123")
    rig.source.run = 3
    rig.body.run_began()
    rig.feed(b"456")
    rig.body.end("what was said behind it")
    threads.run()
    assert rig.sink.octets == b"0123456"
    assert rig.results == ["what was said behind it"]


def test_body_that_its_sender_gave_up(threads: HeldThreads) -> None:
    rig = Rig(4)
    rig.receive()
    rig.feed(b"01")
    rig.body.fail(Cancelled("given up"))
    threads.run()
    [failure] = rig.results
    assert failure.check(Cancelled)
    assert rig.sink.octets == b"01"


@pytest.mark.parametrize("pieces", [[b"0123456789"], [b"0", b"123", b"", b"456789"]])
def test_held_body_is_given_whole(pieces: list[bytes]) -> None:
    source = Source(10)
    taken: list[tuple[bytes, Any]] = []
    body = HeldBody(source, lambda *given: taken.append(given))
    for piece in pieces:
        source.fed += piece
        body.octets_came()
    assert not taken
    body.end("its end")
    assert taken == [(b"0123456789", "its end")]
    assert source.run == 0


def test_held_body_in_several_runs() -> None:
    source = Source(4)
    taken: list[tuple[bytes, Any]] = []
    body = HeldBody(source, lambda *given: taken.append(given))
    source.fed = b"0123"
    body.octets_came()
    source.run = 3
    body.run_began()
    source.fed = b"456"
    body.octets_came()
    body.end()
    assert taken == [(b"0123456", None)]


def test_held_body_without_octets() -> None:
    taken: list[tuple[bytes, Any]] = []
    HeldBody(Source(0), lambda *given: taken.append(given)).end()
    assert taken == [(b"", None)]


def test_held_body_that_is_cut_is_given_to_nobody() -> None:
    source = Source(10)
    taken: list[tuple[bytes, Any]] = []
    body = HeldBody(source, lambda *given: taken.append(given))
    source.fed = b"0123"
    body.octets_came()
    body.fail(ConnectionError())
    assert not taken
