"""Making a connection: several tries, with longer and longer waits that no two clients share."""

from __future__ import annotations

import os
import secrets
from typing import Any, cast

from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol

from filetransfer.errors import ConnectFailed, ConnectTimeout

_FIRST_WAIT_SECONDS = 0.25
_MAX_WAIT_SECONDS = 8.0

_random = secrets.SystemRandom()


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
        timeout_seconds: for each try, > 0.
        tries: at most, >= 1.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        server: str,
        clock: IReactorTime,
        *,
        timeout_seconds: float,
        tries: int,
    ) -> None:
        self.server = server
        self._endpoint = endpoint
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tries = tries

    async def connect(self, factory: Factory) -> Any:
        """Give the connected protocol.

        Raises:
            ConnectTimeout: no answer in time; that is not tried again, it has taken long enough.
            ConnectFailed: refused, or no such host.
        """
        failures = 0
        while True:
            try:
                return await self._try_once(factory)
            except ConnectTimeout:
                raise
            except ConnectFailed as failed:
                failures += 1
                if failures >= self._tries or isinstance(failed.__cause__, error.DNSLookupError):
                    raise
            await sleep(self._clock, choose_wait(failures))

    async def _try_once(self, factory: Factory) -> Protocol:
        timed_out = False

        def time_out() -> None:
            nonlocal timed_out
            timed_out = True
            connecting.cancel()

        connecting = self._endpoint.connect(factory)
        # The endpoint's own timeout does not cover the look-up of the name.
        timer = self._clock.callLater(self._timeout_seconds, time_out)
        try:
            return cast(Protocol, await connecting)
        except (CancelledError, error.ConnectingCancelledError, error.TimeoutError) as failed:
            if not timed_out and not isinstance(failed, error.TimeoutError):
                raise CancelledError from failed
            raise ConnectTimeout(
                f"no connection to {self.server} within {self._timeout_seconds:g} seconds"
            ) from failed
        except error.DNSLookupError as failed:
            raise ConnectFailed(
                f"no connection to {self.server}: the host is not known"
            ) from failed
        except (error.ConnectError, OSError) as failed:
            raise ConnectFailed(f"no connection to {self.server}: {_explain(failed)}") from failed
        finally:
            if timer.active():
                timer.cancel()


def _explain(failed: Exception) -> str:
    if isinstance(failed, error.ConnectionRefusedError):
        return "connection refused; is the server running there?"
    number = getattr(failed, "osError", None) or getattr(failed, "errno", None)
    return os.strerror(number) if isinstance(number, int) else str(failed)
