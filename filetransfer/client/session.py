"""A session with a server: the Python API of the client.

    async with connect("localhost", 9000) as session:
        await session.put("report.csv", "report.csv")

A session outlives its connections (``client/conversation.py``). What it offers is the same whatever version the server
speaks; what that version cannot say is refused here, with an error that says so.
"""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator, Awaitable, Collection
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.threads import deferToThread

from filetransfer.client.connecting import Connector
from filetransfer.client.conversation import Conversation
from filetransfer.client.destinations import (
    LocalDestination,
    PathDestination,
    Stream,
    find_destination,
)
from filetransfer.client.doubts import ask_carefully
from filetransfer.client.exchanges import (
    ListExchange,
    Page,
    PlainExchange,
    Preserve,
    Progress,
    Transferred,
)
from filetransfer.client.get_exchange import GetExchange
from filetransfer.client.journal import Journal, UploadEntry
from filetransfer.client.known import find_state_directory
from filetransfer.client.patience import ask_patiently
from filetransfer.client.protocol import ServerInfo
from filetransfer.client.put_exchange import PutExchange
from filetransfer.client.resuming import (
    FEATURE,
    MIN_OCTETS,
    Recovery,
    ResumableDownload,
    ResumableUpload,
)
from filetransfer.client.sources import (
    LocalSource,
    PathSource,
    Pipe,
    PipeSource,
    Source,
    find_source,
)
from filetransfer.client.throttle import ThrottledEndpoint
from filetransfer.errors import (
    LocalProtocolError,
    NameInvalid,
    RemoteProtocolError,
    UnknownToVersion,
)
from filetransfer.names import check_path
from filetransfer.store.stable import Durability
from filetransfer.wire.connection import ALPN
from filetransfer.wire.messages import (
    Change,
    Copy,
    Delete,
    Digest,
    Digested,
    Done,
    Entry,
    Get,
    Help,
    HelpText,
    List,
    MakeDirectory,
    Put,
    Response,
    Stat,
    Statistics,
    Status,
    Summary,
)

if TYPE_CHECKING:
    from filetransfer.client.family import Family
    from filetransfer.client.trust import Trust

DEFAULT_PORT = 9000
DEFAULT_TLS_PORT = 9001
DEFAULT_VERSIONS = (1, 2)

_PAGE_ENTRIES = 5000
"""Entries of a listing that are asked for at a time: some 2 MB of them here, and 30 ms of taking them apart."""

# RFC 8305 advises 0.25 s between the addresses of one name and allows 0.01; "localhost" is often two, of which one
# refuses, and the endpoint waits out the delay even then.
_ATTEMPT_DELAY_SECONDS = 0.05


class Session:
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
        self.server = connector.server
        self._connector = connector
        self._clock = clock
        self._timeout_seconds = timeout_seconds
        self._tries = tries
        self._conversation = Conversation(
            connector, clock, timeout_seconds=timeout_seconds, tries=tries
        )
        journal = Journal(find_state_directory())
        self._recovery = Recovery(self._conversation, connector, clock, journal, self.server, tries)

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
        if name is None:
            if not isinstance(local, str | os.PathLike):
                raise LocalProtocolError("an open file has no name: say which one")
            name = os.path.basename(os.fspath(local))
        request = Put(
            check_path(name),
            modified=modified,
            mode=mode,
            parents=parents,
            if_match=if_match,
            if_none_match=if_none_match,
        )
        source = await self._find_source(local)
        try:
            if (
                resume
                and isinstance(source, PathSource)
                and await self._can_resume(source, request)
            ):
                return await self._resume_put(source, request, preserve, progress)
            is_durable = self._conversation.is_durable
            return await self._conversation.submit(
                PutExchange(source, request, preserve, is_durable, progress)
            )
        finally:
            source.close()

    async def _can_resume(self, source: PathSource, request: Put) -> bool:
        if os.stat(source.path).st_size < MIN_OCTETS:
            return False
        path = os.path.abspath(source.path)
        self._recovery.was_begun(UploadEntry, self.server, request.path, path)
        await self._conversation.open()
        return self._conversation.has_feature(FEATURE)

    async def _resume_put(
        self, source: PathSource, request: Put, preserve: Preserve, progress: Progress | None
    ) -> Transferred:
        path = os.path.abspath(source.path)
        return await ResumableUpload(self._recovery, path, request, preserve, progress).run()

    async def _find_source(self, local: LocalSource) -> Source:
        found = find_source(local)
        if not isinstance(found, Pipe):
            return found
        try:
            codec = await self._conversation.open()
            if not codec.needs_size:
                return PipeSource(found)
            source: Source = await deferToThread(found.spool)
        except BaseException:
            found.close()
            raise
        return source

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
        if preserve and not (await self._conversation.open()).can_stat:
            raise UnknownToVersion(
                "version 1 of the protocol tells neither times nor modes of files"
            )
        request = Get(check_path(name), offset, count, if_match)
        found = find_destination(name.rpartition("/")[2] if local is None else local, durability)
        if isinstance(found, PathDestination):
            if resume and offset == 0 and count is None:
                return await self._resume_get(request, found, preserve, progress)
            return await self._fetch(request, found, preserve, progress)
        stream = found if isinstance(found, Stream) else await deferToThread(found)
        try:
            result = await self._fetch(request, stream, preserve, progress)
        except BaseException:
            # Not waited for: a thread may be sitting in write(), with nobody reading at the other end.
            deferToThread(stream.close).addErrback(lambda _: None)
            raise
        await deferToThread(stream.close)
        return result

    async def _fetch(
        self,
        request: Get,
        destination: PathDestination | Stream,
        preserve: Preserve,
        progress: Progress | None,
    ) -> Transferred:
        publisher = self._conversation.publisher
        return await self._conversation.submit(
            GetExchange(request, destination, publisher, preserve, progress)
        )

    async def _resume_get(
        self,
        request: Get,
        destination: PathDestination,
        preserve: Preserve,
        progress: Progress | None,
    ) -> Transferred:
        return await ResumableDownload(
            self._recovery, request, destination, preserve, progress
        ).run()

    async def get_octets(
        self, name: str, *, offset: int = 0, count: int | None = None, if_match: str | None = None
    ) -> bytes:
        """Fetch octets of a file into memory. Arguments and errors as for :meth:`get`."""
        buffer = io.BytesIO()
        await self.get(name, buffer, offset=offset, count=count, if_match=if_match)
        return buffer.getvalue()

    async def change(
        self, old_name: str, new_name: str, *, replace: bool = False, if_match: str | None = None
    ) -> str | None:
        """Give a file on the server another name.

        Args:
            old_name: that it has.
            new_name: that it gets.
            replace: whether a file that has the new name is replaced.
            if_match: do it only if the file has this etag.

        Returns:
            The etag that the file has then; None where the server does not say.

        Raises:
            NotFound: there is no file of the old name.
            Exists: there is one of the new name, and ``replace`` was not said.
            PreconditionFailed: ``if_match`` does not hold.
            OutcomeUnknown: the connection was lost before the answer: the change may have been done.
        """
        check_path(old_name)
        check_path(new_name, about="to")
        request = Change(old_name, new_name, replace, if_match)
        done = cast(Done, await self._ask_carefully(request, "the change"))
        return done.etag

    async def copy(
        self, name: str, new_name: str, *, replace: bool = False, if_match: str | None = None
    ) -> Transferred:
        """Copy a file on the server. Arguments and errors as for :meth:`change`."""
        check_path(name)
        check_path(new_name, about="to")
        request = Copy(name, new_name, replace, if_match)

        def ask() -> Awaitable[Response]:
            return self._ask_carefully(request, "the copy")

        done = cast(Done, await ask_patiently(self._clock, self._tries, ask))
        return Transferred(done.size or 0, done.etag, is_durable=self._conversation.is_durable())

    async def summary(
        self,
        name: str,
        *,
        column: int | str | None = None,
        delimiter: str | None = None,
        skip: int = 0,
    ) -> Statistics:
        """Ask for the largest, the smallest and the mean of the numbers in a file on the server.

        Args:
            name: of the file.
            column: which to look at, from 1, or by the name in its header; all there is when it is None.
            delimiter: one character, between columns.
            skip: lines at the beginning that are left out, >= 0.

        Returns:
            The statistics; which of them beyond those three depends on the server.

        Raises:
            NotFound: there is no such file; in version 1 also: it holds something other than numbers.
            NotNumeric: it holds something other than numbers, or none.
        """
        request = Summary(check_path(name), column, delimiter, skip)
        return cast(Statistics, await self._ask_patiently(request))

    async def help(self) -> str:
        """Ask the server what can be asked, in words for a person."""
        return (await self.describe()).text

    async def describe(self) -> HelpText:
        """Ask the server what can be asked, and what else it says of itself."""
        return cast(HelpText, await self._conversation.submit(PlainExchange(Help())))

    async def list(
        self, name: str | None = None, *, recursive: bool = False
    ) -> AsyncIterator[Entry]:
        """List a directory on the server, in the order of the paths' components.

        What is asked for is a part at a time: a directory of any size needs no more memory than a small one.

        Args:
            name: of the directory; None for the root.
            recursive: whether to list what is in the directories in it, and so on.

        Yields:
            Each entry, with its path from the root; the directory itself is none of them.

        Raises:
            NotFound: there is no such directory. NotDirectory: it is something else.
            RemoteProtocolError: the server sent a path that may not be, or not in order.
        """
        if name is not None:
            check_path(name)
        after: str | None = None
        asked = self._ask_page(name, recursive, None)
        try:
            while True:
                page = await asked
                if page.more is not None and (page.more == after or not page.entries):
                    raise RemoteProtocolError("the server's list does not go on")
                after = page.more
                ask_at = -1 if after is None else len(page.entries) // 2
                for number, entry in enumerate(page.entries):
                    if number == ask_at:
                        asked = self._ask_page(name, recursive, after)
                    check_entry(entry, name)
                    yield entry
                if after is None:
                    return
        finally:
            asked.addErrback(lambda _: None)
            asked.cancel()

    def _ask_page(self, name: str | None, recursive: bool, after: str | None) -> Deferred[Page]:
        """Ask for a part of a list. It is worked on by the server while the one before is used up here."""
        request = List(name, recursive, after, _PAGE_ENTRIES)
        return self._conversation.submit(ListExchange(request))

    async def stat(self, name: str) -> Status:
        """Ask what is known of a path on the server. Raises NotFound: there is nothing."""
        request = Stat(check_path(name))
        return cast(Status, await self._conversation.submit(PlainExchange(request)))

    async def digest(
        self, name: str, *, algorithm: str | None = None, if_match: str | None = None
    ) -> Digested:
        """Ask for the digest of a file on the server.

        Args:
            name: of the file.
            algorithm: ``xxh3-128`` or ``sha256``, or what else the server knows; None for the server's choice.
            if_match: answer only if the file has this etag.

        Raises:
            NotFound: there is no such file. Unsupported: the server does not know the algorithm.
        """
        request = Digest(check_path(name), algorithm, if_match)
        return cast(Digested, await self._ask_patiently(request))

    async def delete(
        self, name: str, *, recursive: bool = False, if_match: str | None = None
    ) -> None:
        """Remove a file or a directory on the server.

        Args:
            name: of it.
            recursive: whether a directory goes with all that is in it.
            if_match: remove it only if it has this etag.

        Raises:
            NotFound: there is no such thing. NotEmpty: a directory that is not empty, and ``recursive`` was not said.
            PreconditionFailed: ``if_match`` does not hold.
            OutcomeUnknown: the connection was lost before the answer: it may have been removed.
        """
        request = Delete(check_path(name), recursive, if_match)
        await self._ask_carefully(request, "the removal")

    async def make_directory(self, name: str, *, parents: bool = False) -> None:
        """Make a directory on the server.

        Args:
            name: of it.
            parents: make what is missing on the way too; one that is there already is no error then.

        Raises:
            Exists: there is something of this name.
            NotFound: a directory on the way is missing, and ``parents`` was not said.
            OutcomeUnknown: the connection was lost before the answer, and ``parents`` was not said.
        """
        request = MakeDirectory(check_path(name), parents)
        if parents:
            await self._conversation.submit(PlainExchange(request))
        else:
            await self._ask_carefully(request, "the making of the directory")

    async def _ask_patiently(self, request: Digest | Summary) -> Response:
        def ask() -> Awaitable[Response]:
            return self._conversation.submit(PlainExchange(request))

        return await ask_patiently(self._clock, self._tries, ask)

    async def _ask_carefully(
        self, request: Change | Copy | Delete | MakeDirectory, doubt: str
    ) -> Response:
        return await ask_carefully(self._conversation, request, doubt, self._tries)

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


def check_entry(entry: Entry, directory: str | None) -> None:
    """Look at a path that a server sent, before anything is done with it.

    Raises:
        RemoteProtocolError: it is no path, or lies outside the directory that was listed.
    """
    try:
        check_path(entry.path)
    except NameInvalid as refusal:
        raise RemoteProtocolError(f"the server lists what is no path: {refusal}") from refusal
    if directory is not None and not entry.path.startswith(f"{directory}/"):
        raise RemoteProtocolError("the server lists what lies outside the directory")


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
    server = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if endpoint is None:
        endpoint = HostnameEndpoint(
            _choose_addresses(reactor, family),
            host,
            port,
            timeout=connect_timeout_seconds,
            attemptDelay=_ATTEMPT_DELAY_SECONDS,
        )
    if max_rate is not None:
        endpoint = ThrottledEndpoint(endpoint, max_rate, reactor)
    if tls is not None:
        from filetransfer.client.trust import TrustingEndpoint

        endpoint = TrustingEndpoint(
            endpoint, host, port, tls, protocols=[ALPN] if 2 in versions else []
        )
    connector = Connector(
        endpoint,
        server,
        reactor,
        timeout_seconds=connect_timeout_seconds,
        tries=tries,
        versions=versions,
    )
    return Session(connector, reactor, timeout_seconds=timeout_seconds, tries=tries)


def _choose_addresses(reactor: Any, family: Family | None) -> Any:
    if family is None:
        return reactor
    from filetransfer.client.family import OneFamily

    return OneFamily(reactor, family)
