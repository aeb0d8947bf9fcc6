"""Moving no more than so many octets a second."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from filetransfer.bodies.route import goes_by_kernel
from filetransfer.client.throttle import Bucket, ThrottledEndpoint


def test_a_bucket_fills_evenly_and_a_pause_earns_no_burst() -> None:
    clock = Clock()
    bucket = Bucket(1000, clock)
    assert bucket.take(250) == 0
    assert bucket.take(1000) == 1.0
    clock.advance(1.0)
    assert bucket.take(0) == 0
    assert bucket.take(500) == 0.5
    clock.advance(3600)
    assert bucket.take(250) == 0
    assert bucket.take(1) == pytest.approx(0.001)


class Speaker(Protocol):
    """Registers itself as a producer, and notes what it is told."""

    transport: Any

    def __init__(self) -> None:
        self.told: list[str] = []
        self.received = b""

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: object = None) -> None:
        self.told.append("lost")

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


class Place:
    """An endpoint that connects at once."""

    def __init__(self) -> None:
        self.wrappers: list[Any] = []
        self.transports: list[StringTransport] = []

    def connect(self, factory: Factory) -> Deferred[Any]:
        wrapper: Any = factory.buildProtocol(None)  # type: ignore[arg-type]
        transport = StringTransport()
        wrapper.makeConnection(transport)
        self.wrappers.append(wrapper)
        self.transports.append(transport)
        return succeed(wrapper)


class Rig:
    """Connections that share 1000 octets a second."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.place = Place()
        self.endpoint = ThrottledEndpoint(self.place, 1000, self.clock)  # type: ignore[arg-type]

    def connect(self) -> tuple[Speaker, Any, StringTransport]:
        speakers: list[Speaker] = []
        self.endpoint.connect(Factory.forProtocol(Speaker)).addCallback(speakers.append)
        return speakers[0], self.place.wrappers[-1], self.place.transports[-1]


def test_writing_is_paused() -> None:
    rig = Rig()
    speaker, _, transport = rig.connect()
    speaker.transport.write(b"x" * 250)
    assert speaker.told == []
    speaker.transport.write(b"x" * 500)
    # Nothing is held back: it is the next octets that must wait.
    assert len(transport.value()) == 750
    assert speaker.told == ["pause"]
    speaker.transport.write(b"x" * 500)
    assert speaker.told == ["pause"]
    rig.clock.advance(0.9)
    assert speaker.told == ["pause"]
    rig.clock.advance(0.1)
    assert speaker.told == ["pause", "resume"]


def test_writing_waits_for_the_transport_as_well() -> None:
    rig = Rig()
    speaker, _, transport = rig.connect()
    producer: Any = transport.producer
    speaker.transport.write(b"x" * 1250)
    producer.pauseProducing()
    assert speaker.told == ["pause"]
    rig.clock.advance(1)
    assert speaker.told == ["pause"]
    producer.resumeProducing()
    producer.resumeProducing()
    assert speaker.told == ["pause", "resume"]
    producer.stopProducing()
    assert speaker.told[-1] == "stop"


def test_a_producer_that_comes_while_it_waits() -> None:
    rig = Rig()
    speaker, _, transport = rig.connect()
    speaker.transport.unregisterProducer()
    assert transport.producer is None
    speaker.transport.write(b"x" * 1250)
    assert speaker.told == []
    speaker.transport.registerProducer(speaker, True)
    assert speaker.told == ["pause"]
    rig.clock.advance(1)
    assert speaker.told == ["pause", "resume"]


def test_reading_is_paused() -> None:
    rig = Rig()
    speaker, wrapper, transport = rig.connect()
    wrapper.dataReceived(b"x" * 1250)
    assert len(speaker.received) == 1250
    assert transport.producerState == "paused"
    # The protocol has room, but the rate has not.
    speaker.transport.pauseProducing()
    speaker.transport.resumeProducing()
    assert transport.producerState == "paused"
    speaker.transport.pauseProducing()
    rig.clock.advance(1)
    assert transport.producerState == "paused"
    speaker.transport.resumeProducing()
    assert transport.producerState == "producing"


def test_connections_share_what_may_move() -> None:
    rig = Rig()
    one, _, _ = rig.connect()
    other, _, _ = rig.connect()
    one.transport.write(b"x" * 1250)
    other.transport.write(b"x" * 1000)
    rig.clock.advance(1)
    assert (one.told, other.told) == (["pause", "resume"], ["pause"])
    rig.clock.advance(1)
    assert other.told == ["pause", "resume"]


def test_the_end_of_a_connection() -> None:
    rig = Rig()
    speaker, wrapper, _ = rig.connect()
    speaker.transport.write(b"x" * 1250)
    wrapper.connectionLost()
    assert speaker.told == ["pause", "lost"]
    assert rig.clock.getDelayedCalls() == []
    other, wrapper, _ = rig.connect()
    wrapper.connectionLost()
    assert other.told == ["lost"]


def test_octets_never_go_past_it() -> None:
    speaker, _, _ = Rig().connect()
    assert not goes_by_kernel(speaker.transport, 10**9)
