"""What both ends of a connection drive: octets in, messages out, and the octets of bodies let past.

The driver feeds what it read (:meth:`Connection.receive`), then pulls events until there are none
(:meth:`Connection.next_event`). Pull, not callbacks: a driver whose disk is busy stops asking, and that is all there is
to back-pressure.

While :attr:`Connection.run` is above 0, the next ``run`` octets from the peer are body. Those that were fed already are
taken with :meth:`Connection.take_body`; the rest may be fed and taken, or moved straight from the socket and reported
with :meth:`Connection.body_moved`. Then :meth:`Connection.next_event` goes on, with
:class:`~filetransfer.wire.messages.BodyEnd`, or with :class:`~filetransfer.wire.messages.BodyRun` where a body comes in
several runs.

This is the one place that chooses the version, once a connection, in one of three ways::

    TLS has agreed on filetransfer/2     version 2 from the first octet; the server's greeting is that octet
    the client's first octet is E0       the server answers E0 and its greeting, or 80 where it has no version 2
    otherwise                            version 1

A driver begins with :func:`begin_server` or :func:`begin_client`, sends the octets it is given, and drives what it is
given; when that says :class:`~filetransfer.wire.messages.VersionChosen`, it does the same again. Nothing else differs:
field widths live in the versions' modules, and a driver that needs to know what a version can, reads it
(:attr:`Connection.max_run`, :attr:`Connection.has_trailers`), and never which version it is.

Source: protocol, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import ClassVar, Protocol

from filetransfer.errors import LocalProtocolError, ReconnectInVersion1, RemoteProtocolError
from filetransfer.wire import v1, v2
from filetransfer.wire.decoder import Decoder
from filetransfer.wire.maps import MAX_MAP_OCTETS
from filetransfer.wire.messages import (
    BodyEnd,
    EndOfMessages,
    Event,
    Greeting,
    Request,
    Response,
    Unavailable,
    VersionChosen,
)
from filetransfer.wire.v2_frames import MAX_CHUNK_OCTETS

__all__ = [
    "ALPN",
    "FRAME_LIMITS",
    "MAX_UNPARSED_OCTETS",
    "ClientConnection",
    "ClientEnd",
    "Connection",
    "Event",
    "ServerConnection",
    "ServerEnd",
    "begin_client",
    "begin_server",
]

ALPN = b"filetransfer/2"
"""What both ends name in TLS when they speak version 2."""

MAX_UNPARSED_OCTETS = 2 * MAX_MAP_OCTETS
"""A driver that feeds at least so much before it stops never waits for an event that waits for it.

The most that is parsed at once is a trailer and the seven octets before it.
"""

FRAME_LIMITS = {"head": MAX_MAP_OCTETS, "chunk": MAX_CHUNK_OCTETS}
"""What version 2 takes at most, in octets, by the names that a greeting has for it."""

SILENCE_SECONDS = 3.0
"""Without an answer, after which a server is taken for one that does not know version 2."""

_VERSION_2 = b"\xe0"
_UNKNOWN_REQUEST = b"\x80"


class Connection(Protocol):
    """What both ends offer, in either version and before it is chosen."""

    max_run: ClassVar[int]
    """The most octets of one run of a body."""

    has_trailers: ClassVar[bool]
    """Whether something can be said behind a body, so that its digest is worth working out."""

    run: int
    """Octets of the current body's run that were neither taken nor moved yet, >= 0."""

    @property
    def available(self) -> int: ...
    @property
    def is_between_messages(self) -> bool: ...
    @property
    def has_body(self) -> bool: ...
    def receive(self, octets: bytes) -> None: ...
    def receive_eof(self) -> None: ...
    def next_event(self) -> Event | None: ...
    def take_body(self, limit: int) -> bytes: ...
    def body_moved(self, count: int) -> None: ...
    def discard_body(self) -> None: ...
    def encode_run(self, count: int) -> bytes: ...
    def encode_body_end(self, end: BodyEnd) -> bytes: ...


class ServerEnd(Connection, Protocol):
    """The server's end."""

    answers_early: ClassVar[bool]
    """Whether a request may be answered before its body has ended; if not, the answer waits until it has gone by."""

    says_why: ClassVar[bool]
    """Whether a refusal tells the peer that it may come again later, or is working on it."""

    def encode(self, response: Response, request: Request) -> bytes: ...


class ClientEnd(Connection, Protocol):
    """The client's end."""

    has_greeting: ClassVar[bool]
    """Whether the server says first who it is and what it can; requests may be sent before that."""

    can_stat: ClassVar[bool]
    """Whether it can be asked what is under a path."""

    needs_size: ClassVar[bool]
    """Whether a body can be sent only when its size is known."""

    @property
    def is_ready(self) -> bool:
        """Whether requests can be encoded."""
        ...

    @property
    def silence_seconds(self) -> float | None: ...
    @property
    def may_end_with_silence(self) -> bool: ...
    def receive_silence(self) -> None: ...
    def encode(self, request: Request) -> bytes: ...


class ServerConnection(v1.ServerCodec):
    """The server's end, in version 1 alone."""

    __slots__ = ()


class ClientConnection(v1.ClientCodec):
    """The client's end, in version 1 alone."""

    __slots__ = ()


def begin_server(
    greeting: Greeting | Unavailable | None = None,
    *,
    alpn: bytes | None = None,
    has_bare_summary: bool = False,
) -> tuple[ServerEnd, bytes]:
    """Begin the server's end of a connection: over TLS, when its handshake is done.

    Args:
        greeting: what to say first in version 2; None when it is switched off.
        alpn: what TLS has agreed on; None in the clear, or when it is nothing. Only a server with a greeting offers
            :data:`ALPN`.
        has_bare_summary: see :class:`filetransfer.wire.v1.ServerCodec`.

    Returns:
        What to drive, and the octets to send first.
    """
    if greeting is None:
        return ServerConnection(has_bare_summary=has_bare_summary), b""
    if alpn == ALPN:
        return _greet(greeting)
    return _ServerOpening(greeting, has_bare_summary), b""


def begin_client(
    versions: Collection[int] = (1,), *, alpn: bytes | None = None
) -> tuple[ClientEnd, bytes]:
    """Begin the client's end of a connection: over TLS, when its handshake is done.

    Args:
        versions: those that will do. Of ``(1, 2)``, it is 2 if the server speaks it; ``(2,)`` demands it.
        alpn: what TLS has agreed on; None in the clear, or when it is nothing. Only a client whom version 2 will do
            names :data:`ALPN`.

    Returns:
        What to drive, and the octets to send first. While it is not ``is_ready``, nothing else is sent;
        its ``next_event`` may raise ReconnectInVersion1.
    """
    if alpn == ALPN:
        return v2.ClientCodec(), b""
    if 2 not in versions:
        return ClientConnection(), b""
    return _ClientOpening(1 in versions), _VERSION_2


def _greet(greeting: Greeting | Unavailable) -> tuple[v2.ServerCodec, bytes]:
    codec = _ClosedServer() if isinstance(greeting, Unavailable) else v2.ServerCodec()
    return codec, codec.encode_greeting(greeting)


class _ClosedServer(v2.ServerCodec):
    """A server's end that has said why it cannot serve: it hears nothing any more."""

    __slots__ = ()

    def next_event(self) -> Event:
        self.take(self.available)
        return EndOfMessages()


class _Opening(Decoder):
    """A connection whose version is not known yet: there are no messages, and no bodies."""

    __slots__ = ()

    max_run: ClassVar[int] = 0
    has_trailers: ClassVar[bool] = False
    answers_early: ClassVar[bool] = False
    says_why: ClassVar[bool] = False

    def encode_run(self, count: int) -> bytes:
        raise LocalProtocolError("the version is not chosen yet")

    def encode_body_end(self, end: BodyEnd) -> bytes:
        raise LocalProtocolError("the version is not chosen yet")

    def _hand_over(self, codec: Decoder, octets: bytes = b"") -> VersionChosen:
        """Give all that was fed and is not parsed to the codec of the version that was chosen."""
        codec.receive(self.take(self.available) or b"")
        if self._is_at_eof:
            codec.receive_eof()
        return VersionChosen(codec, octets)


class _ServerOpening(_Opening):
    """The server's end, until the client's first octet."""

    __slots__ = ("_greeting", "_has_bare_summary")

    def __init__(self, greeting: Greeting | Unavailable, has_bare_summary: bool) -> None:
        super().__init__()
        self._greeting = greeting
        self._has_bare_summary = has_bare_summary

    def encode(self, response: Response, request: Request) -> bytes:
        raise LocalProtocolError("nothing was asked yet")

    def _read_header(self) -> Event | None:
        if not self.available:
            return self.read_end()
        if not self._octets.startswith(_VERSION_2, self._position):
            return self._hand_over(ServerConnection(has_bare_summary=self._has_bare_summary))
        self.take(1)
        codec, octets = _greet(self._greeting)
        return self._hand_over(codec, _VERSION_2 + octets)

    _readers = (_read_header,)


class _ClientOpening(_Opening):
    """The client's end, between its E0 and the server's answer."""

    __slots__ = ("_has_version_1", "_is_silent")

    is_ready: ClassVar[bool] = False
    has_greeting: ClassVar[bool] = False
    can_stat: ClassVar[bool] = False
    needs_size: ClassVar[bool] = True
    silence_seconds: ClassVar[float] = SILENCE_SECONDS
    may_end_with_silence: ClassVar[bool] = True

    def __init__(self, has_version_1: bool) -> None:
        super().__init__()
        self._has_version_1 = has_version_1
        self._is_silent = False

    def receive_silence(self) -> None:
        """Take note that the server has not answered for :attr:`silence_seconds`."""
        self._is_silent = True

    def encode(self, request: Request) -> bytes:
        raise LocalProtocolError("the version is not chosen yet")

    def _read_header(self) -> Event | None:
        # Left where it is: what is no answer stays none when it is asked for again.
        answer = self._octets[self._position : self._position + 1]
        if answer == _VERSION_2:
            self.take(1)
            return self._hand_over(v2.ClientCodec())
        if answer == _UNKNOWN_REQUEST and self._has_version_1:
            self.take(1)
            return self._hand_over(ClientConnection())
        if not (answer or self._is_silent or self._is_at_eof):
            return None
        reason = "the server does not answer in version 2 of the protocol"
        raise ReconnectInVersion1(reason) if self._has_version_1 else RemoteProtocolError(reason)

    _readers: ClassVar[tuple[Callable[..., Event | None], ...]] = (_read_header,)
