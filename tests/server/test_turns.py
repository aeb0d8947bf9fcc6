"""How much long work an identity may have, and the word that it is at work."""

import pytest
from doubles import Rig, put, summary
from reactors import HeldThreads

from filetransfer.errors import Busy
from filetransfer.server.protocol import WORKING_SECONDS
from filetransfer.server.turns import Turns
from filetransfer.wire import v2
from filetransfer.wire.messages import (
    BodyEnd,
    Greeting,
    Put,
    Refused,
    Statistics,
    Summary,
    Working,
)


def test_turns_are_counted_by_identity() -> None:
    turns = Turns(2)
    with turns.take("a"), turns.take("a"), turns.take("b"):
        with pytest.raises(Busy) as caught, turns.take("a"):
            raise AssertionError
        assert caught.value.retry_after == 1
    with turns.take("a"), turns.take("a"):
        pass


class Asker:
    """A peer that speaks version 2 with a server in memory."""

    def __init__(self, rig: Rig) -> None:
        self._rig = rig
        self._peer = rig.connect()
        self._read = 1
        self._peer.send(b"\xe0")
        self.connection = v2.ClientCodec()
        [greeting] = self.hear()
        assert isinstance(greeting, Greeting)

    def say(self, octets: bytes) -> None:
        self._peer.send(octets)

    def hear(self) -> list[object]:
        """Give what the server has said since the last time."""
        self._rig.turn()
        octets = self._peer.received[self._read :]
        self._read += len(octets)
        self.connection.receive(octets)
        heard: list[object] = []
        while (event := self.connection.next_event()) is not None:
            heard.append(event)
        return heard


def wait(rig: Rig, seconds: int) -> None:
    """Let time pass, and the sweep be done that is done every second."""
    for _ in range(seconds):
        rig.clock.advance(1)
        rig.factory.sweep()


def test_a_peer_hears_that_it_does_not_wait_in_vain(threads: HeldThreads) -> None:
    rig = Rig(threads)
    rig.store.files["numbers"] = b"1"
    asker = Asker(rig)
    asker.say(asker.connection.encode(Summary("numbers")))
    rig.settle()
    wait(rig, int(WORKING_SECONDS))
    assert asker.hear() == []
    wait(rig, 1)
    assert asker.hear() == [Working()]
    wait(rig, 25)
    assert asker.hear() == [Working(), Working()]
    rig.summaries.waiting.pop().callback(Statistics(1.0, 1.0, 1.0, 1, 1.0, 0.0))
    assert asker.hear() == [Statistics(1.0, 1.0, 1.0, 1, 1.0, 0.0)]
    wait(rig, 25)
    assert asker.hear() == []


def test_nobody_hears_it_while_a_body_comes(threads: HeldThreads) -> None:
    rig = Rig(threads)
    asker = Asker(rig)
    asker.say(asker.connection.encode(Put("name", 3)) + asker.connection.encode_run(3) + b"a")
    wait(rig, 25)
    assert asker.hear() == []
    asker.say(b"bc" + asker.connection.encode_body_end(BodyEnd({"sha256": b"never compared"})))
    wait(rig, 12)
    assert asker.hear() == [Working()]


def test_version_1_cannot_be_told(threads: HeldThreads) -> None:
    rig = Rig(threads)
    rig.store.files["numbers"] = b"1"
    peer = rig.connect()
    peer.send(summary("numbers") * 3)
    rig.settle()
    wait(rig, 25)
    assert peer.received == b""
    peer.send(put("a"))
    assert len(rig.summaries.waiting) == 1


def test_more_than_may_be_at_work(threads: HeldThreads) -> None:
    rig = Rig(threads)
    rig.store.files["numbers"] = b"1"
    askers = [Asker(rig) for _ in range(3)]
    for asker in askers:
        asker.say(asker.connection.encode(Summary("numbers")))
        rig.settle()
    assert len(rig.summaries.waiting) == 2
    [refused] = askers[2].hear()
    assert isinstance(refused, Refused)
    assert (refused.error.word, refused.error.retry_after) == ("busy", 1)
    rig.summaries.waiting.pop().callback(Statistics(1.0, 1.0, 1.0, 1, 1.0, 0.0))
    rig.turn()
    askers[2].say(askers[2].connection.encode(Summary("numbers")))
    rig.settle()
    assert len(rig.summaries.waiting) == 2
