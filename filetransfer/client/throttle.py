"""Moving no more than so many octets a second, over all connections and in both directions together.

A :class:`Bucket` holds what may move now; it fills evenly, and never holds more than a quarter of a second's worth, so
that a pause earns no burst. What moves is taken from it, and may take it below nothing: then all that moves is paused
until it would be full again. That is exact to one block of the copied route or one read, unlike
:class:`twisted.protocols.policies.ThrottlingFactory`, which looks once a second at what has gone by then.

What wraps a transport is not Twisted's own, so that no octet goes round this by the kernel route (``bodies/route.py``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IPushProducer,
    IReactorTime,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

_BURST_SECONDS = 0.25


class Bucket:
    """What may move.

    Args:
        rate: octets a second, > 0.
        clock: tells the time.
    """

    def __init__(self, rate: int, clock: IReactorTime) -> None:
        self._rate = rate
        self._clock = clock
        self._full = rate * _BURST_SECONDS
        self._level = self._full
        self._seen_at = clock.seconds()

    def take(self, count: int) -> float:
        """Take note of octets that move, >= 0; give the seconds to wait before any more do, >= 0."""
        now = self._clock.seconds()
        earned = (now - self._seen_at) * self._rate
        self._seen_at = now
        self._level = min(self._level + earned, self._full) - count
        return max(-self._level / self._rate, 0.0)


class _Valve:
    """Pauses something for as long as there is any reason to."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self._pause = pause
        self._resume = resume
        self._reasons: set[str] = set()

    def close(self, reason: str) -> None:
        if not self._reasons:
            self._pause()
        self._reasons.add(reason)

    def open(self, reason: str) -> None:
        if reason in self._reasons:
            self._reasons.remove(reason)
            if not self._reasons:
                self._resume()


@implementer(IPushProducer)
class _Writing:
    """The producer of the real transport, before the one that the protocol has registered."""

    def __init__(self, producer: Any) -> None:
        self._producer = producer
        self.valve = _Valve(producer.pauseProducing, producer.resumeProducing)

    def pauseProducing(self) -> None:
        self.valve.close("full")

    def resumeProducing(self) -> None:
        self.valve.open("full")

    def stopProducing(self) -> None:
        self._producer.stopProducing()


class ThrottledProtocol(ProtocolWrapper):
    """One connection that takes what it moves from a bucket, which all connections may share."""

    factory: _ThrottledFactory
    transport: Any
    wrappedProtocol: Any  # noqa: N815 - Twisted's name

    def __init__(self, factory: _ThrottledFactory, wrapped: Any) -> None:
        super().__init__(factory, wrapped)
        self._call: IDelayedCall | None = None
        self._reading = _Valve(
            # The transport is not known yet.
            lambda: self.transport.pauseProducing(),  # noqa: PLW0108
            lambda: self.transport.resumeProducing(),  # noqa: PLW0108
        )
        self._writing: _Writing | None = None

    # What the wrapped protocol calls, as of its transport.

    def write(self, data: bytes) -> None:
        self.transport.write(data)
        self._take(len(data))

    def pauseProducing(self) -> None:
        """Read no more for now."""
        self._reading.close("unwanted")

    def resumeProducing(self) -> None:
        """Read again."""
        self._reading.open("unwanted")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._writing = _Writing(producer)
        self.transport.registerProducer(self._writing, streaming)
        if self._call is not None:
            self._writing.valve.close("rate")

    def unregisterProducer(self) -> None:
        self._writing = None
        self.transport.unregisterProducer()

    # What the real transport calls.

    def dataReceived(self, data: bytes) -> None:
        self._take(len(data))
        self.wrappedProtocol.dataReceived(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def _take(self, count: int) -> None:
        seconds = self.factory.bucket.take(count)
        if seconds == 0.0:
            return
        if self._call is not None:
            self._call.reset(seconds)
            return
        self._call = self.factory.clock.callLater(seconds, self._go_on)
        self._reading.close("rate")
        if self._writing is not None:
            self._writing.valve.close("rate")

    def _go_on(self) -> None:
        self._call = None
        self._reading.open("rate")
        if self._writing is not None and self._call is None:
            self._writing.valve.open("rate")


class _ThrottledFactory(WrappingFactory[ThrottledProtocol]):
    protocol = ThrottledProtocol
    noisy = False

    def __init__(self, wrapped: IProtocolFactory, bucket: Bucket, clock: IReactorTime) -> None:
        super().__init__(wrapped)  # type: ignore[no-untyped-call]
        self.bucket = bucket
        self.clock = clock


@implementer(IStreamClientEndpoint)
class ThrottledEndpoint:
    """Connects to another endpoint, and moves no more than so much over all its connections.

    Args:
        endpoint: the other.
        rate: octets a second, > 0.
        clock: for waits.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, rate: int, clock: IReactorTime) -> None:
        self._endpoint = endpoint
        self._bucket = Bucket(rate, clock)
        self._clock = clock

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[Any]:  # noqa: N803 - Twisted's name
        """See :class:`twisted.internet.interfaces.IStreamClientEndpoint`."""
        factory = _ThrottledFactory(protocolFactory, self._bucket, self._clock)
        connecting: Deferred[Any] = self._endpoint.connect(factory)
        return connecting.addCallback(lambda wrapper: wrapper.wrappedProtocol)
