"""A session with a server: the Python API of the client.

    async with connect("localhost", 9000) as session:
        await session.put("report.csv", "report.csv")

A session outlives its connections (``client/conversation.py``). What becomes of files where they are is in
``client/remote_files.py``; how they come and go, in ``client/transfers.py``.
"""

from __future__ import annotations

import io
import os
from collections.abc import Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from filetransfer.client.connecting import Connector
from filetransfer.client.conversation import Conversation
from filetransfer.client.destinations import LocalDestination, PathDestination
from filetransfer.client.endpoints import find_host, limit_rate, name_server, secure
from filetransfer.client.exchanges import Preserve, Progress, Transferred
from filetransfer.client.journal import Journal
from filetransfer.client.known import find_state_directory
from filetransfer.client.protocol import ServerInfo
from filetransfer.client.remote_files import RemoteFiles
from filetransfer.client.resuming import Recovery
from filetransfer.client.sources import LocalSource
from filetransfer.client.transfers import download, upload
from filetransfer.errors import LocalProtocolError
from filetransfer.names import check_path
from filetransfer.store.stable import Durability
from filetransfer.wire.messages import Get, Put

if TYPE_CHECKING:
    from filetransfer.client.family import Family
    from filetransfer.client.trust import Trust

DEFAULT_PORT = 9000
DEFAULT_TLS_PORT = 9001
DEFAULT_VERSIONS = (1, 2)


class Session(RemoteFiles):
    """What can be asked of one server. Made by :func:`connect`.

    All methods may be called while others are under way: requests go out in the order of the calls, over one
    connection, without waiting for each other's answers. (What has to be copied from a pipe first, or opened to write
    to one, joins the order when that is done.)

    Each may raise, besides what it says:

    - NameInvalid: a name is none; nothing was sent.
    - LocalProtocolError: the version that the server speaks cannot say it; nothing was sent.
    - RequestRefused: the server said no, for another reason than those named.
    - TransferInterrupted: the connection was lost, or timed out, and trying again did not help.
    - RemoteProtocolError: the server broke the rules.

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
        conversation = Conversation(connector, clock, timeout_seconds=timeout_seconds, tries=tries)
        super().__init__(conversation, clock, tries)
        self.server = connector.server
        self._connector = connector
        self._timeout_seconds = timeout_seconds
        journal = Journal(find_state_directory())
        self._recovery = Recovery(conversation, connector, clock, journal, self.server, tries)

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

    @property
    def conversation(self) -> Conversation:
        """Its exchanges: for those who have thousands of their own."""
        return self._conversation

    @property
    def server_info(self) -> ServerInfo | None:
        """What is known of the server; None before the first connection."""
        return self._conversation.server

    @property
    def note(self) -> str:
        """What a person should be told of the version that is spoken; empty when it is the best that was asked for."""
        return self._connector.note

    async def open(self) -> ServerInfo:
        """Connect now rather than at the first request.

        Returns:
            What is known of the server.

        Raises:
            Untrusted: over TLS, the server is not believed, or does not believe us.
            ConnectTimeout: nobody answered in time.
            ConnectFailed: every try was refused, or the host is not known.
            Busy, ShuttingDown: the server says that it cannot serve now.
        """
        await self._conversation.open()
        assert self.server_info is not None  # noqa: S101 - it came with the connection
        return self.server_info

    async def put(
        self,
        local: LocalSource,
        name: str | None = None,
        *,
        modified: int | None = None,
        mode: int | None = None,
        preserve: Preserve = False,
        parents: bool = False,
        if_match: str | None = None,
        if_none_match: bool = False,
        resume: bool = True,
        progress: Progress | None = None,
    ) -> Transferred:
        """Store a file on the server, replacing what has the name.

        Args:
            local: a path; or a descriptor or an open binary file, sent from its position to its end and left open.
                What has no size (a pipe, a terminal) is sent as it is read, or copied to a temporary file first if
                the server must be told the size.
            name: on the server; the last component of the path when it is None.
            modified: the time of modification that it gets there, in nanoseconds since 1970 UTC.
            mode: the permission bits that it gets there, 0 to 0o777.
            preserve: give it those of the local file, where nothing else is said; ``"modified"``: only the time.
            parents: make the directories that are missing on the way.
            if_match: replace only a file that has this etag.
            if_none_match: replace nothing.
            resume: whether a large file that is cut off is gone on with where it was, also by a later run of the
                program (see :mod:`filetransfer.client.journal`).
            progress: told of what moves.

        Returns:
            What was stored, once the server says that it is.

        Raises:
            OSError: the local file cannot be read.
            SourceChanged: the local file changed while it was sent.
            PreconditionFailed: ``if_match`` or ``if_none_match`` does not hold.
            NotFound: a directory is missing, and ``parents`` was not said.
            DigestMismatch: what arrived is not what was sent; nothing was stored.
        """
        request = Put(
            check_path(_name_file(local) if name is None else name),
            modified=modified,
            mode=mode,
            parents=parents,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        return await upload(
            self._recovery, local, request, preserve=preserve, resume=resume, progress=progress
        )

    async def get(
        self,
        name: str,
        local: LocalDestination | PathDestination | None = None,
        *,
        offset: int = 0,
        count: int | None = None,
        if_match: str | None = None,
        preserve: Preserve = False,
        durability: Durability = "full",
        resume: bool = True,
        progress: Progress | None = None,
    ) -> Transferred:
        """Fetch a file from the server.

        Args:
            name: on the server.
            local: a path, whose file appears whole or not at all, replacing what is there; or a descriptor or a
                writable binary file, that takes the octets as they come and is left open. The last component of
                the name, in the current directory, when it is None.
            offset: of the first octet wanted, >= 0.
            count: how many octets are wanted, >= 0; all there are from ``offset`` on when it is None.
            if_match: fetch it only if it has this etag.
            preserve: give it the time of modification and the mode that it has on the server; ``"modified"``: only
                the time.
            durability: ``full``: a power cut after this returns does not take the file away; ``none``: it may.
            resume: whether a large file that is cut off is gone on with where it was, also by a later run of the
                program; what there is of it stays beside ``local`` until then.
            progress: told of what moves.

        Raises:
            OSError: the local file cannot be written.
            NotFound: the server has no such file.
            PreconditionFailed: ``if_match`` does not hold.
            DigestMismatch: what arrived is not what was sent. No file was published; a stream has got it, though.
        """
        return await download(
            self._recovery,
            Get(check_path(name), offset, count, if_match),
            name.rpartition("/")[2] if local is None else local,
            durability,
            preserve=preserve,
            resume=resume,
            progress=progress,
        )

    async def get_octets(
        self, name: str, *, offset: int = 0, count: int | None = None, if_match: str | None = None
    ) -> bytes:
        """Fetch octets of a file into memory. Arguments and errors as for :meth:`get`."""
        buffer = io.BytesIO()
        await self.get(name, buffer, offset=offset, count=count, if_match=if_match)
        return buffer.getvalue()

    def begin_another(self) -> Session:
        """Give another session with the same server, for transfers beside those of this one; it is ended by itself."""
        return Session(
            self._connector, self._clock, timeout_seconds=self._timeout_seconds, tries=self._tries
        )

    async def close(self) -> None:
        """Wait for what is under way, then say bye. A second call does nothing."""
        await self._conversation.close()

    async def abort(self) -> None:
        """Give up what is under way, leaving no parts behind, and say bye. A second call does nothing."""
        await self._conversation.abort()


def _name_file(local: LocalSource) -> str:
    if not isinstance(local, str | os.PathLike):
        raise LocalProtocolError("an open file has no name: say which one")
    return os.path.basename(os.fspath(local))


def connect(
    host: str = "localhost",
    port: int | None = None,
    *,
    connect_timeout_seconds: float = 10.0,
    timeout_seconds: float = 60.0,
    tries: int = 3,
    versions: Collection[int] = DEFAULT_VERSIONS,
    max_rate: int | None = None,
    tls: Trust | None = None,
    family: Family | None = None,
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
        versions: of the protocol, those that will do: ``(1, 2)`` prefers version 2, ``(2,)`` demands it.
        max_rate: octets a second in both directions together, > 0; None for as many as there are. What is limited goes
            through Python (``client/throttle.py``).
        tls: whom to believe over TLS; None to speak in the clear.
        family: of the addresses that ``host`` may have, 4 or 6; None for both.
        endpoint: where to connect instead of to ``host`` and ``port``: a UNIX socket, a proxy.
        reactor: Twisted's; the global one when it is None.

    Raises:
        CertificateUnusable, LocalProtocolError: what ``tls`` says cannot be used.
    """
    if reactor is None:
        from twisted.internet import reactor
    if port is None:
        port = DEFAULT_PORT if tls is None else DEFAULT_TLS_PORT
    if endpoint is None:
        endpoint = find_host(reactor, host, port, family, connect_timeout_seconds)
    endpoint = limit_rate(endpoint, max_rate, reactor)
    connector = Connector(
        secure(endpoint, host, port, tls, versions),
        name_server(host, port),
        reactor,
        timeout_seconds=connect_timeout_seconds,
        tries=tries,
        versions=versions,
    )
    return Session(connector, reactor, timeout_seconds=timeout_seconds, tries=tries)
