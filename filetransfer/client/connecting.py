"""Making a connection and agreeing on a version: several tries, with longer and longer waits that no two clients share.

A server that does not say whether it knows version 2 is connected to once more and spoken to in version 1, and so it
is from then on. A server that says that it cannot serve now is tried again, like one that cannot be reached.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Collection
from typing import cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from filetransfer.client.protocol import ClientProtocol
from filetransfer.errors import (
    Busy,
    ConnectFailed,
    ConnectTimeout,
    ReconnectInVersion1,
    ShuttingDown,
    TransferInterrupted,
)

_FIRST_WAIT_SECONDS = 0.25
_MAX_WAIT_SECONDS = 8.0
MAX_RETRY_AFTER_SECONDS = 60.0
"""The longest that a server's word on when to come back is followed."""

_random = secrets.SystemRandom()

MakeProtocol = Callable[[Collection[int]], ClientProtocol]
"""Makes a protocol for a connection in one of these versions."""


def choose_wait(failures: int) -> float:
    """Give the seconds to wait after so many failures in a row, >= 1: doubled each time, and up to half of it less.

    Without the chance in it, all the clients that a server lost at one moment would come back at one moment.
    """
    longest = min(_FIRST_WAIT_SECONDS * 2 ** (failures - 1), _MAX_WAIT_SECONDS)
    return float(longest * _random.uniform(0.5, 1.0))


async def sleep(clock: IReactorTime, seconds: float) -> None:
    """Return after ``seconds``."""
    ended: Deferred[None] = Deferred(lambda _: call.cancel())
    call = clock.callLater(seconds, ended.callback, None)
    await ended


class Connector:
    """Makes connections to one server.

    Args:
        endpoint: of the server.
        server: what to call it in messages.
        clock: for waits and the timeout.
        timeout_seconds: for each try, until requests can be sent, > 0.
        tries: at most, >= 1.
        versions: those that will do, 1 and 2.

    Attributes:
        note: why version 1 is spoken although version 2 was preferred; empty when it is not.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        server: str,
        clock: IReactorTime,
        *,
        timeout_seconds: float,
        tries: int,
        versions: Collection[int] = (1, 2),
    ) -> None:
        self.server = server
        self.note = ""
        self._endpoint = endpoint
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._versions = versions
        self._has_greeted = False
        self._tries_to_greet = 1

    def expect_greeting(self) -> None:
        """Take note that the server greeted an earlier run of the program.

        If it does not now, it may be about to come back, behind a proxy that takes its connections: only after all
        tries is it taken for an old one, for which what was begun would begin afresh.
        """
        self._tries_to_greet = self._tries

    async def connect(self, make_protocol: MakeProtocol) -> ClientProtocol:
        """Give a protocol that is connected, and to which requests can be given.

        Raises:
            ConnectTimeout: no answer in time; that is not tried again, it has taken long enough.
            ConnectFailed: refused, or no such host.
            Busy, ShuttingDown: the server says that it cannot serve now.
            RemoteProtocolError: the server does not speak the version that was demanded.
        """
        failures = 0
        while True:
            try:
                protocol = await self._try_once(make_protocol)
                self._has_greeted = self._has_greeted or protocol.connection.has_greeting
                if not self._has_greeted:
                    # It is not asked again: one that closes after each response would never answer anything else.
                    self._versions = (1,)
                return protocol
            except ReconnectInVersion1 as reason:
                failures += 1
                if failures >= self._tries_to_greet:
                    failures = 0
                    self._versions = (1,)
                    self.note = f"{reason}: going on in version 1, without digests"
                    continue
                wait_seconds = choose_wait(failures)
            except ConnectTimeout:
                raise
            except (ConnectFailed, Busy, ShuttingDown) as failed:
                failures += 1
                if failures >= self._tries or isinstance(failed.__cause__, error.DNSLookupError):
                    raise
                wait_seconds = choose_wait(failures)
                if isinstance(failed, Busy | ShuttingDown) and failed.retry_after is not None:
                    wait_seconds += min(failed.retry_after, MAX_RETRY_AFTER_SECONDS)
            await sleep(self._clock, wait_seconds)

    async def _try_once(self, make_protocol: MakeProtocol) -> ClientProtocol:
        timed_out = False

        def time_out() -> None:
            nonlocal timed_out
            timed_out = True
            opening.cancel()

        opening = Deferred.fromCoroutine(self._open(make_protocol))
        # The endpoint's own timeout does not cover the look-up of the name.
        timer = self._clock.callLater(self._timeout_seconds, time_out)
        try:
            return await opening
        except ReconnectInVersion1 as reason:
            if not self._has_greeted:
                raise
            # It is no old server: it went away, and may be about to come back.
            raise ConnectFailed(f"no connection to {self.server}: {reason}") from reason
        except (CancelledError, error.ConnectingCancelledError, error.TimeoutError) as failed:
            if not timed_out and not isinstance(failed, error.TimeoutError):
                raise CancelledError from failed
            raise ConnectTimeout(
                f"no connection to {self.server} within {self._timeout_seconds:g} seconds"
            ) from failed
        except error.DNSLookupError as failed:
            raise ConnectFailed(
                f"no connection to {self.server}: no address of the host is known"
            ) from failed
        except TransferInterrupted as failed:
            raise ConnectFailed(f"no connection to {self.server}: {failed}") from failed
        except (error.ConnectError, OSError) as failed:
            raise ConnectFailed(f"no connection to {self.server}: {_explain(failed)}") from failed
        finally:
            if timer.active():
                timer.cancel()

    async def _open(self, make_protocol: MakeProtocol) -> ClientProtocol:
        factory = _ProtocolFactory(lambda: make_protocol(self._versions))
        protocol = cast(ClientProtocol, await self._endpoint.connect(factory))
        await protocol.opened
        return protocol


class _ProtocolFactory(Factory):
    noisy = False

    def __init__(self, make_protocol: Callable[[], ClientProtocol]) -> None:
        self._make_protocol = make_protocol

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:
        return self._make_protocol()


def _explain(failed: Exception) -> str:
    if isinstance(failed, error.ConnectionRefusedError):
        return "connection refused; is the server running there?"
    number = getattr(failed, "osError", None) or getattr(failed, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(failed)
