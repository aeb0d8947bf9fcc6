"""A session with a server: the Python API of the client.

    async with connect("localhost", 9000) as session:
        await session.put("report.csv", "report.csv")

A session outlives its connections. Exchanges wait in it in the order they were asked for; the connection of the moment
takes them (``client/protocol.py``), at most :data:`MAX_UNANSWERED` at a time, so that ten thousand small files do not
mean ten thousand open ones. What a lost connection leaves unanswered is asked again on the next one, but for CHANGE:

    lost after responses had come     the server may close whenever it likes, some do after each response: go on at once
    lost without a response           up to ``tries`` times with waits in between, then the oldest exchange fails
    the server broke the rules        everything fails: more of it would not make sense either
    nothing moved for too long        the same: each exchange would have to wait as long again

A CHANGE that was sent and not answered fails with :class:`~filetransfer.errors.OutcomeUnknown`: done twice, it could
rename another file. So that a server that closes after each response does not leave one in doubt, a CHANGE is not sent
behind unanswered requests until the server has answered twice on one connection.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Coroutine
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.threads import deferToThread

from filetransfer.client.connecting import Connector, choose_wait
from filetransfer.client.destinations import (
    LocalDestination,
    PathDestination,
    Publisher,
    Stream,
    find_destination,
)
from filetransfer.client.exchanges import (
    ChangeExchange,
    Exchange,
    GetExchange,
    HelpExchange,
    Progress,
    PutExchange,
    SummaryExchange,
    Transferred,
)
from filetransfer.client.protocol import ClientProtocol
from filetransfer.client.sources import LocalSource, Source, Spooling, find_source
from filetransfer.client.throttle import ThrottledEndpoint
from filetransfer.errors import (
    FileTransferError,
    LocalProtocolError,
    TransferInterrupted,
    TransferTimeout,
)
from filetransfer.names import check_path
from filetransfer.store.stable import Durability
from filetransfer.wire.messages import Statistics

if TYPE_CHECKING:
    from filetransfer.client.trust import Trust

DEFAULT_PORT = 9000
DEFAULT_TLS_PORT = 9001
MAX_UNANSWERED = 256
"""Requests without an answer at a time: as many as a server takes from one connection. Source: protocol, section 5."""

MAX_UNDER_WAY = 2 * MAX_UNANSWERED
"""Exchanges at a time. With fewer, the server would wait whenever a batch of small files is written here."""

_MAX_OPEN = 64
"""Large files that may wait to be published, with their descriptors open, before no more is asked for."""

# RFC 8305 advises 0.25 s between the addresses of one name and allows 0.01; "localhost" is often two, of which one
# refuses, and the endpoint waits out the delay even then.
_ATTEMPT_DELAY_SECONDS = 0.05

# Responses on one connection, the second of which shows that the server does not close after each.
_PROVEN_RESPONSES = 2
# Connections in a row with one response each, after which the server is believed to close after each.
_PROVEN_CLOSES = 2

_Result = TypeVar("_Result")


class Session:
    """What can be asked of one server. Made by :func:`connect`.

    All methods may be called while others are under way: requests go out in the order of the calls, over one
    connection, without waiting for each other's answers. (What has to be copied from a pipe first, or opened to write
    to one, joins the order when that is done.)

    Attributes:
        server: what to call the server in messages, as ``host:port``.
    """

    def __init__(
        self,
        connector: Connector,
        clock: IReactorTime,
        *,
        timeout_seconds: float,
        tries: int,
    ) -> None:
        self.server = connector.server
        self._connector = connector
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._tries_left = tries
        self._waiting: deque[Exchange[Any]] = deque()
        self._pending: set[Exchange[Any]] = set()
        self._under_way: set[Exchange[Any]] = set()
        self._publisher = Publisher(deferToThread)
        self._protocol: ClientProtocol | None = None
        self._connecting: Deferred[None] | None = None
        self._is_connecting = False
        self._wake: IDelayedCall | None = None
        self._idle: Deferred[None] | None = None
        self._tidying: set[Deferred[None]] = set()
        self._single_responses = 0
        self._closes_after_response = False
        self._is_closed = False

    async def __aenter__(self) -> Session:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            await self.close()
        else:
            await self.abort()

    async def open(self) -> None:
        """Connect now rather than at the first request.

        Raises:
            Untrusted: over TLS, the server is not believed, or does not believe us.
            ConnectTimeout: nobody answered in time.
            ConnectFailed: every try was refused, or the host is not known.
        """
        if self._protocol is None:
            factory = _ProtocolFactory(self._make_protocol)
            self._take_protocol(await self._connector.connect(factory))

    async def put(
        self, local: LocalSource, name: str | None = None, *, progress: Progress | None = None
    ) -> Transferred:
        """Store a file on the server, replacing what has the name.

        Args:
            local: a path; or a descriptor or an open binary file, sent from its position to its end and left open.
                What has no size (a pipe, a terminal) is copied to a temporary file first.
            name: on the server; the last component of the path when it is None.
            progress: told of what moves.

        Returns:
            What was stored, once the server says that it is.

        Raises:
            OSError: the local file cannot be read.
            NameInvalid: the name is none; nothing was sent.
            LocalProtocolError: the protocol cannot carry the name or the size.
            SourceChanged: the local file changed while it was sent.
            RequestRefused: the server said no.
            TransferInterrupted: the connection was lost, or timed out, and trying again did not help.
            RemoteProtocolError: the server broke the rules.
        """
        if name is None:
            if not isinstance(local, str | os.PathLike):
                raise LocalProtocolError("an open file has no name: say which one")
            name = os.path.basename(os.fspath(local))
        check_path(name)
        source = find_source(local)
        if isinstance(source, Spooling):
            source = await _spool(source)
        try:
            return await self._submit(PutExchange(source, name, progress))
        finally:
            source.close()

    async def get(
        self,
        name: str,
        local: LocalDestination | None = None,
        *,
        durability: Durability = "full",
        progress: Progress | None = None,
    ) -> Transferred:
        """Fetch a file from the server.

        Args:
            name: on the server.
            local: a path, whose file appears whole or not at all, replacing what is there; or a descriptor or a
                writable binary file, that takes the octets as they come and is left open. The last component of
                the name, in the current directory, when it is None.
            durability: ``full``: a power cut after this returns does not take the file away; ``none``: it may.
            progress: told of what moves.

        Raises:
            OSError: the local file cannot be written.
            NameInvalid: the name is none; nothing was sent.
            NotFound: the server has no such file.
            LocalProtocolError, RequestRefused, TransferInterrupted, RemoteProtocolError: as for :meth:`put`.
        """
        check_path(name)
        found = find_destination(name.rpartition("/")[2] if local is None else local, durability)
        if isinstance(found, PathDestination):
            return await self._submit(GetExchange(name, found, self._publisher, progress))
        stream = found if isinstance(found, Stream) else await deferToThread(found)
        try:
            result = await self._submit(GetExchange(name, stream, self._publisher, progress))
        except BaseException:
            # Not waited for: a thread may be sitting in write(), with nobody reading at the other end.
            deferToThread(stream.close).addErrback(lambda _: None)
            raise
        await deferToThread(stream.close)
        return result

    async def change(self, old_name: str, new_name: str) -> None:
        """Give a file on the server another name; never replaces.

        Raises:
            NameInvalid: one of the names is none; nothing was sent.
            NotFound: there is no file of the old name.
            RequestRefused: the new name exists, or the server said no for another reason.
            OutcomeUnknown: the connection was lost before the answer: the change may have been done.
            LocalProtocolError, TransferInterrupted, RemoteProtocolError: as for :meth:`put`.
        """
        check_path(old_name)
        check_path(new_name, about="to")
        await self._submit(ChangeExchange(old_name, new_name))

    async def summary(self, name: str) -> Statistics:
        """Ask for the largest, the smallest and the mean of the numbers in a file on the server.

        Raises:
            NameInvalid: the name is none; nothing was sent.
            NotFound: there is no such file, or it holds something other than numbers.
            LocalProtocolError, RequestRefused, TransferInterrupted, RemoteProtocolError: as for :meth:`put`.
        """
        check_path(name)
        return await self._submit(SummaryExchange(name))

    async def help(self) -> str:
        """Ask the server what can be asked. Raises as :meth:`put`."""
        return await self._submit(HelpExchange())

    async def close(self) -> None:
        """Wait for what is under way, then say bye. A second call does nothing."""
        while self._pending:
            self._idle = Deferred()
            await self._idle
        self._is_closed = True
        if self._protocol is not None:
            await self._protocol.close()
        await self._tidy_up()

    async def abort(self) -> None:
        """Give up what is under way, leaving no parts behind, and say bye. A second call does nothing."""
        self._is_closed = True
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._connecting is not None:
            self._connecting.cancel()
        for exchange in list(self._pending):
            exchange.fail(TransferInterrupted("the session was given up"))
        if self._protocol is not None:
            await self._protocol.abort()
        await self._tidy_up()

    async def _tidy_up(self) -> None:
        """Wait until nothing is left that would be left behind."""
        while self._tidying:
            done: Deferred[None] = Deferred()
            next(iter(self._tidying)).addCallback(done.callback)
            await done
        await self._publisher.close()

    # What the connection calls.

    def take_next(self, protocol: ClientProtocol) -> Exchange[Any] | None:
        """See :class:`~filetransfer.client.protocol.Owner`."""
        if (
            not self._has_waiting()
            or len(protocol.unanswered) >= MAX_UNANSWERED
            or len(self._under_way) >= MAX_UNDER_WAY
            or self._publisher.open_count >= _MAX_OPEN
            or self._is_spent(protocol)
            or (protocol.unanswered and not self._may_follow(self._waiting[0], protocol))
        ):
            return None
        exchange = self._waiting.popleft()
        self._under_way.add(exchange)
        return exchange

    def _has_waiting(self) -> bool:
        """Tell whether there is an exchange to begin; those whose callers gave them up are forgotten."""
        waiting = self._waiting
        while waiting and waiting[0].is_over:
            waiting.popleft()
        return bool(waiting)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """See :class:`~filetransfer.client.protocol.Owner`."""
        started = Deferred.fromCoroutine(work)
        if not started.called:
            self._tidying.add(started)
            started.addCallback(lambda _: self._tidying.discard(started))

    def _may_follow(self, exchange: Exchange[Any], protocol: ClientProtocol) -> bool:
        """Tell whether its request may be sent while others are unanswered."""
        return not self._closes_after_response and (
            exchange.is_repeatable or protocol.answered >= _PROVEN_RESPONSES
        )

    def _is_spent(self, protocol: ClientProtocol) -> bool:
        return self._closes_after_response and protocol.answered > 0

    def connection_over(self, protocol: ClientProtocol, error: FileTransferError) -> None:
        """See :class:`~filetransfer.client.protocol.Owner`."""
        if self._protocol is protocol:
            self._protocol = None
        unanswered = [exchange for exchange in protocol.unanswered if not exchange.is_over]
        self._under_way.difference_update(unanswered)
        if not isinstance(error, TransferInterrupted) or isinstance(error, TransferTimeout):
            self._fail([*unanswered, *self._waiting], error)
            return
        repeated = []
        for exchange in unanswered:
            if exchange.is_repeatable:
                repeated.append(exchange)
            else:
                exchange.fail(exchange.explain_loss(error))
        self._learn_from(protocol, has_more=bool(repeated or self._waiting))
        wait_seconds = self._count_loss(protocol, repeated, error)
        self._waiting.extendleft(reversed(repeated))
        self._wake_after(wait_seconds)

    def _learn_from(self, protocol: ClientProtocol, *, has_more: bool) -> None:
        """Notice a server that closes after each response: two connections in a row that had one, and not by us."""
        if protocol.was_dropped:
            return
        self._single_responses = self._single_responses + 1 if protocol.answered == 1 else 0
        if has_more and self._single_responses >= _PROVEN_CLOSES:
            self._closes_after_response = True

    def _count_loss(
        self, protocol: ClientProtocol, repeated: list[Exchange[Any]], error: TransferInterrupted
    ) -> float:
        """Give the seconds to wait before the next connection; after too many losses, fail the oldest exchange."""
        if protocol.answered or protocol.was_dropped or not repeated:
            self._tries_left = self._tries
            return 0.0
        self._tries_left = max(self._tries_left - 1, 0)
        if self._tries_left:
            return choose_wait(self._tries - self._tries_left)
        # It may be this very exchange that the server cannot bear: the others go on, with one try each until one of
        # them is answered.
        repeated.pop(0).fail(error)
        return 0.0

    # Exchanges.

    def _submit(self, exchange: Exchange[_Result]) -> Deferred[_Result]:
        if self._is_closed:
            raise LocalProtocolError("the session is closed")
        self._pending.add(exchange)
        self._waiting.append(exchange)
        exchange.result.addBoth(self._ended, exchange)
        self._wake_after(0.0)
        return exchange.result

    def _ended(self, result: _Result, exchange: Exchange[Any]) -> _Result:
        self._pending.discard(exchange)
        self._under_way.discard(exchange)
        if self._protocol is not None:
            self._protocol.forget(exchange)
        if self._waiting:
            self._wake_after(0.0)
        if not self._pending and self._idle is not None:
            idle, self._idle = self._idle, None
            idle.callback(None)
        return result

    @staticmethod
    def _fail(exchanges: list[Exchange[Any]], error: Exception) -> None:
        for exchange in exchanges:
            exchange.fail(error)

    def _wake_after(self, seconds: float) -> None:
        """Look for work in a later turn: what is asked for in this one goes out together."""
        if self._wake is None and not self._is_closed:
            self._wake = self._clock.callLater(seconds, self._work)

    def _work(self) -> None:
        self._wake = None
        if not self._has_waiting():
            return
        if self._protocol is None:
            self._begin_connecting()
        elif self._is_spent(self._protocol) and not self._protocol.unanswered:
            self._protocol.drop()
        else:
            self._protocol.write_requests()

    # Connections.

    def _begin_connecting(self) -> None:
        if not self._is_connecting:
            self._is_connecting = True
            self._connecting = Deferred.fromCoroutine(self._connect())

    async def _connect(self) -> None:
        try:
            protocol = await self._connector.connect(_ProtocolFactory(self._make_protocol))
        except CancelledError:
            # By abort().
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must be told
            self._fail(list(self._waiting), error)
        else:
            self._take_protocol(protocol)
        finally:
            self._is_connecting = False

    def _make_protocol(self) -> ClientProtocol:
        return ClientProtocol(self, self._clock, self._timeout_seconds)

    def _take_protocol(self, protocol: ClientProtocol) -> None:
        self._protocol = protocol
        protocol.write_requests()


class _ProtocolFactory(Factory):
    noisy = False

    def __init__(self, make_protocol: Callable[[], ClientProtocol]) -> None:
        self._make_protocol = make_protocol

    def buildProtocol(self, addr: IAddress | None) -> ClientProtocol:
        return self._make_protocol()


async def _spool(spooling: Spooling) -> Source:
    try:
        source: Source = await deferToThread(spooling.run)
    except CancelledError:
        spooling.cancel()
        raise
    return source


def connect(
    host: str = "localhost",
    port: int | None = None,
    *,
    connect_timeout_seconds: float = 10.0,
    timeout_seconds: float = 60.0,
    tries: int = 3,
    max_rate: int | None = None,
    tls: Trust | None = None,
    endpoint: IStreamClientEndpoint | None = None,
    reactor: Any = None,
) -> Session:
    """Give a session with a server, to be entered with ``async with``, which connects.

    Without ``async with`` the session connects at the first request, and must be ended with :meth:`Session.close` or
    :meth:`Session.abort`.

    Args:
        host: a name or an address. Of a name with several addresses, the first that answers is used.
        port: 1 to 65535; None for 9000, or 9001 over TLS.
        connect_timeout_seconds: for each try to connect, > 0.
        timeout_seconds: how long nothing may move while something is unanswered, > 0.
        tries: to connect, and to send again what a lost connection left unanswered; >= 1.
        max_rate: octets a second in both directions together, > 0; None for as many as there are. What is limited goes
            through Python (``client/throttle.py``).
        tls: whom to believe over TLS; None to speak in the clear.
        endpoint: where to connect instead of to ``host`` and ``port``: a UNIX socket, a proxy.
        reactor: Twisted's; the global one when it is None.

    Raises:
        CertificateUnusable, LocalProtocolError: what ``tls`` says cannot be used.
    """
    if reactor is None:
        from twisted.internet import reactor
    if port is None:
        port = DEFAULT_PORT if tls is None else DEFAULT_TLS_PORT
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if endpoint is None:
        endpoint = HostnameEndpoint(
            reactor,
            host,
            port,
            timeout=connect_timeout_seconds,
            attemptDelay=_ATTEMPT_DELAY_SECONDS,
        )
    if max_rate is not None:
        endpoint = ThrottledEndpoint(endpoint, max_rate, reactor)
    if tls is not None:
        from filetransfer.client.trust import TrustingEndpoint

        endpoint = TrustingEndpoint(endpoint, host, port, tls, reactor)
    connector = Connector(
        endpoint, server, reactor, timeout_seconds=connect_timeout_seconds, tries=tries
    )
    return Session(connector, reactor, timeout_seconds=timeout_seconds, tries=tries)
