"""How a daemon ends: no new requests, those under way may end for a time, and what is not done by then is cut.

Cut is a connection, not an upload: what can be resumed is kept by whoever received it (``server/exchanges.py``).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Protocol

from twisted.internet.task import deferLater
from twisted.logger import Logger

POLL_SECONDS = 0.05
"""How often it is seen whether all has ended: a connection knows nothing of whoever waits for its end."""

OPENING_SECONDS = 1.0
"""How long those who have just connected may take to say which version they speak, to be told that we stop."""

UNWIND_SECONDS = 1.5
"""How long the exchanges of a connection that was cut have to put away what they hold: some calls to a disk."""

_log = Logger()


class Connection(Protocol):
    """A connection that can be asked to end."""

    transport: Any

    def drain(self, *, hears_openings: bool) -> None:
        """Begin no more requests, and close when those under way are answered."""


class Served(Protocol):
    """What a daemon serves: see ``server/protocol.py``, FileTransferFactory."""

    def begin_drain(self) -> None: ...
    @property
    def connections(self) -> Collection[Connection]: ...
    @property
    def works(self) -> Collection[Any]: ...


class Drain:
    """Lets connections end.

    Args:
        reactor: its clock.
        served: whose connections.
    """

    def __init__(self, reactor: Any, served: Served) -> None:
        self._reactor = reactor
        self._served = served
        self._is_cut = False

    def cut(self) -> None:
        """Wait no longer for the peers."""
        self._is_cut = True

    async def run(self, seconds: float) -> None:
        """Return when all connections have ended, or were cut after so many seconds, >= 0; nobody may connect."""
        self._served.begin_drain()
        opening_seconds = min(seconds, OPENING_SECONDS)
        for hears_openings, waits_seconds in (
            (True, opening_seconds),
            (False, seconds - opening_seconds),
        ):
            for connection in list(self._served.connections):
                connection.drain(hears_openings=hears_openings)
            await self._wait_until_quiet(waits_seconds)
        if self._served.connections:
            count = len(self._served.connections)
            _log.warn("{count} connections are cut: their transfers were not done", count=count)
            await self.unwind()

    async def unwind(self) -> None:
        """Cut all connections, and return when their exchanges have put away what they held."""
        self._is_cut = False
        for connection in list(self._served.connections):
            connection.transport.abortConnection()
        await self._wait_until_quiet(UNWIND_SECONDS)

    async def _wait_until_quiet(self, seconds: float) -> None:
        deadline = self._reactor.seconds() + seconds
        delay = 0.0
        while self._served.connections or self._served.works:
            await deferLater(self._reactor, delay)
            delay = POLL_SECONDS
            if self._is_cut or self._reactor.seconds() >= deadline:
                return
