"""Stands between a client and a server in the client's own process, and spoils one place of one connection."""

from __future__ import annotations

from enum import Enum
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure

UP, DOWN = 0, 1
HOLD_SECONDS = 0.005


class Act(Enum):
    """What becomes of the octet."""

    NOTHING = "nothing"
    FLIP = "one of its bits is another"
    CUT = "the connection ends before it"
    HOLD = "it comes late, in a segment that it begins"


class SpoilingProxy:
    """Passes octets on; the first connection is spoilt, those that come after it are not.

    Args:
        port: of the server, on 127.0.0.1.
        act: what happens.
        direction: whose octets are counted.
        place: of the octet.
        bit: of it.

    Attributes:
        port: where it listens.
        seen: what the first connection was sent, in each direction.
        seen_later: what clients sent on those that came after it.
    """

    def __init__(
        self, port: int, act: Act = Act.NOTHING, direction: int = UP, place: int = 0, bit: int = 0
    ) -> None:
        from twisted.internet import reactor

        self.reactor: Any = reactor
        self.server = port
        self.port = 0
        self.act, self.direction, self.place, self.bit = act, direction, place, bit
        self.seen = [bytearray(), bytearray()]
        self.seen_later = bytearray()
        self._has_spoilt = False
        self._listening: Any = None
        self._near: list[_Side] = []

    async def __aenter__(self) -> SpoilingProxy:
        endpoint = TCP4ServerEndpoint(self.reactor, 0, interface="127.0.0.1")
        self._listening = await endpoint.listen(Factory.forProtocol(self._begin))  # type: ignore[arg-type]
        self.port = self._listening.getHost().port
        return self

    async def __aexit__(self, *_: object) -> None:
        await (self._listening.stopListening() or succeed(None))
        for side in self._near:
            side.abort()

    def _begin(self) -> _Side:
        is_spoilt, self._has_spoilt = not self._has_spoilt, True
        near = _Side(self, UP, is_spoilt)
        self._near.append(near)
        return near


class _Side(Protocol):
    """One end of a connection through the proxy; what it receives goes to the other end."""

    transport: Any

    def __init__(self, proxy: SpoilingProxy, direction: int, is_spoilt: bool) -> None:
        self.other: _Side | None = None
        self._proxy = proxy
        self._direction = direction
        self._is_spoilt = is_spoilt
        self._count = 0
        self._held: list[bytes] = []
        self._is_over = False

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        if self._direction == UP:
            self.transport.pauseProducing()
            far = _Side(self._proxy, DOWN, self._is_spoilt)
            endpoint = TCP4ClientEndpoint(self._proxy.reactor, "127.0.0.1", self._proxy.server)
            made: Deferred[_Side] = connectProtocol(endpoint, far)
            made.addCallback(self._join)

    def _join(self, far: _Side) -> None:
        self.other, far.other = far, self
        if self._is_over:
            far.abort()
        else:
            self.transport.resumeProducing()

    def dataReceived(self, octets: bytes) -> None:
        proxy = self._proxy
        place = proxy.place - self._count
        self._count += len(octets)
        if self._is_spoilt:
            proxy.seen[self._direction] += octets
        elif self._direction == UP:
            proxy.seen_later += octets
        if not (
            self._is_spoilt and self._direction == proxy.direction and 0 <= place < len(octets)
        ):
            self._pass_on(octets)
        elif proxy.act is Act.FLIP:
            octet = bytes([octets[place] ^ 1 << proxy.bit])
            self._pass_on(octets[:place] + octet + octets[place + 1 :])
        elif proxy.act is Act.CUT:
            self._pass_on(octets[:place])
            self.transport.loseConnection()
        elif proxy.act is Act.HOLD:
            self._pass_on(octets[:place])
            self._hold(octets[place:])
        else:
            self._pass_on(octets)

    def _pass_on(self, octets: bytes) -> None:
        if self._held:
            self._held.append(octets)
        elif self.other is not None and octets:
            self.other.transport.write(octets)

    def _hold(self, octets: bytes) -> None:
        self._held.append(octets)
        self._proxy.reactor.callLater(HOLD_SECONDS, self._let_go)

    def _let_go(self) -> None:
        octets = b"".join(self._held)
        self._held.clear()
        self._pass_on(octets)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._is_over = True
        if self.other is not None:
            self.other.transport.loseConnection()

    def abort(self) -> None:
        for side in (self, self.other):
            if side is not None and side.transport is not None:
                side.transport.abortConnection()
