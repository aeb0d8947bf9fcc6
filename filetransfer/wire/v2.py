"""Version 2: the same shape over wider fields. Decoders and encoders.

    message  = header head [ body ]
    header   = octet: body flag 0x80, code 0x7f | u24: size of the head
    head     = a MessagePack map of at most 65,536 octets
    body     = *( u32 n (1 <= n <= 2**24) | n octets ) u32 0 trailer
    trailer  = u24 size | a MessagePack map of at most 65,536 octets

The states are those of version 1; only that a body comes in chunks, each with its own size, which the driver learns of
by :class:`~filetransfer.wire.messages.BodyRun`::

    AWAITING_HEADER  -> AWAITING_NAME     a header has come, a head follows
    AWAITING_NAME    -> AWAITING_HEADER   the message was its head
    AWAITING_NAME    -> AWAITING_SIZE     a body follows
    AWAITING_SIZE    -> RECEIVING_BODY    a chunk follows
    AWAITING_SIZE    -> DISCARDING_BODY   a chunk follows, and nobody wants it
    AWAITING_SIZE    -> AWAITING_HEADER   the trailer has come
    RECEIVING_BODY   -> AWAITING_SIZE     the chunk has ended
    RECEIVING_BODY   -> DISCARDING_BODY   the driver does not want the rest
    DISCARDING_BODY  -> AWAITING_SIZE     the chunk has ended

What cannot be framed fails the connection (:class:`~filetransfer.errors.RemoteProtocolError`); what can be framed and
makes no sense is a :class:`~filetransfer.wire.messages.Malformed` request, which is refused like any other.

Source: protocol, section 2.
"""

from __future__ import annotations

import dataclasses
from collections import deque
from typing import Any, ClassVar, Final

from filetransfer import errors
from filetransfer.errors import LocalProtocolError, RemoteProtocolError, RequestRefused
from filetransfer.wire.decoder import (
    AWAITING_HEADER,
    AWAITING_NAME,
    AWAITING_SIZE,
    DISCARDING_BODY,
    RECEIVING_BODY,
    Decoder,
    State,
)
from filetransfer.wire.maps import MAX_HEAD_OCTETS, convert_map, decode_map, encode_map, list_fields
from filetransfer.wire.messages import (
    Authenticate,
    Authenticated,
    BodyEnd,
    BodyRun,
    Challenge,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Digested,
    Digests,
    Done,
    EndOfMessages,
    Event,
    Get,
    Greeting,
    Help,
    HelpText,
    List,
    Listing,
    MakeDirectory,
    Malformed,
    Put,
    Refused,
    Request,
    Response,
    Size,
    Stat,
    Statistics,
    Status,
    Summary,
    Unknown,
    Working,
)

MAX_CHUNK_OCTETS = 2**24
MAX_SMALL_CHUNKS = 1024
SMALL_CHUNK_OCTETS = 1024

_BODY_FLAG = 0x80
_HEADER_OCTETS = 4
_SIZE_OCTETS = 4
_TRAILER_SIZE_OCTETS = 3

# The place of a request in this row is its code.
_REQUESTS: Final[tuple[type[Any], ...]] = (
    Put,
    Get,
    Change,
    Summary,
    Help,
    List,
    Stat,
    Delete,
    MakeDirectory,
    Authenticate,
    Digest,
    Copy,
)
_CODES = {request: code for code, request in enumerate(_REQUESTS)}
_DONE, _REFUSED, _CONTINUE, _WORKING = range(4)
_RESPONSES: Final[dict[type[Any], type[Any]]] = {
    Put: Done,
    Get: Content,
    Change: Done,
    Summary: Statistics,
    Help: HelpText,
    List: Listing,
    Stat: Status,
    Delete: Done,
    MakeDirectory: Done,
    Authenticate: Authenticated,
    Digest: Digested,
    Copy: Done,
}
_WITH_BODY = (Put, Content, Listing)
_LEAVES = {leaf.word: leaf for leaf in RequestRefused.__subclasses__()}


class _Codec(Decoder):
    """What both ends share: headers, heads, chunks and trailers.

    Attributes:
        has_body: whether a body follows the message that was given last.
    """

    __slots__ = ("_body_state", "_chunk_octets", "_chunks", "_flag", "has_body")

    max_run: ClassVar[int] = MAX_CHUNK_OCTETS

    def __init__(self) -> None:
        super().__init__()
        self.has_body = False
        self._flag = False
        self._body_state: State = RECEIVING_BODY
        self._chunks = 0
        self._chunk_octets = 0

    def discard_body(self) -> None:
        """Throw away the rest of the body; its :class:`BodyEnd` comes all the same."""
        self._body_state = DISCARDING_BODY
        super().discard_body()

    def encode_run(self, count: int) -> bytes:
        """Give the octets that stand before a run of ``count`` octets of a body, 1 <= count <= max_run."""
        if not 1 <= count <= MAX_CHUNK_OCTETS:
            raise LocalProtocolError(f"a chunk has 1 to {MAX_CHUNK_OCTETS} octets, not {count}")
        return count.to_bytes(_SIZE_OCTETS, "big")

    def encode_body_end(self, end: BodyEnd) -> bytes:
        """Give the octets that stand behind the last run of a body."""
        trailer: dict[str, Any] = {}
        if end.digest:
            trailer["digest"] = end.digest
        if end.refusal is not None:
            trailer["error"] = end.refusal.word
        if end.more is not None:
            trailer["more"] = end.more
        if end.hidden:
            trailer["hidden"] = end.hidden
        octets = encode_map(trailer)
        return bytes(_SIZE_OCTETS) + len(octets).to_bytes(_TRAILER_SIZE_OCTETS, "big") + octets

    def _read_header(self) -> Event | None:
        if not self.available:
            return EndOfMessages() if self._is_at_eof else None
        header = self.take(_HEADER_OCTETS)
        if header is None:
            return None
        self._flag = bool(header[0] & _BODY_FLAG)
        self._code = header[0] & ~_BODY_FLAG
        self._length = int.from_bytes(header[1:], "big")
        if self._length > MAX_HEAD_OCTETS:
            raise RemoteProtocolError(f"a head of {self._length} octets")
        self.state = AWAITING_NAME
        return self._read_head()

    def _read_head(self) -> Event | None:
        octets = self.take(self._length)
        if octets is None:
            return None
        head = decode_map(octets)
        self.has_body = self._flag
        self._body_state = RECEIVING_BODY
        self._chunks = self._chunk_octets = 0
        self.state = AWAITING_SIZE if self._flag else AWAITING_HEADER
        return self._take_head(head)

    def _take_head(self, head: dict[str, Any]) -> Event:
        raise NotImplementedError

    def _read_size(self) -> Event | None:
        start = self._position
        octets = self._octets[start : start + _SIZE_OCTETS]
        if len(octets) < _SIZE_OCTETS:
            return None
        size = int.from_bytes(octets, "big")
        if not size:
            return self._read_trailer(start + _SIZE_OCTETS)
        if size > MAX_CHUNK_OCTETS:
            raise RemoteProtocolError(f"a chunk of an unknown kind or size: {size:#010x}")
        self._position = start + _SIZE_OCTETS
        self._count_chunk(size)
        self.run = size
        self.state = self._body_state
        return BodyRun() if self.state is RECEIVING_BODY else self._read_discarded_chunk()

    def _count_chunk(self, size: int) -> None:
        self._chunks += 1
        self._chunk_octets += size
        if (
            self._chunks > MAX_SMALL_CHUNKS
            and self._chunk_octets < self._chunks * SMALL_CHUNK_OCTETS
        ):
            raise RemoteProtocolError("a body in chunks that are too small")

    def _read_trailer(self, start: int) -> Event | None:
        # Size and trailer are read at once, with the empty chunk before them: no state for what lies between.
        end = start + _TRAILER_SIZE_OCTETS
        if len(self._octets) < end:
            return None
        size = int.from_bytes(self._octets[start:end], "big")
        if size > MAX_HEAD_OCTETS:
            raise RemoteProtocolError(f"a trailer of {size} octets")
        if len(self._octets) < end + size:
            return None
        trailer = decode_map(self._octets[end : end + size])
        self._position = end + size
        self.state = AWAITING_HEADER
        return _read_body_end(trailer)

    def _read_chunk(self) -> Event | None:
        if self.run:
            return None
        self.state = AWAITING_SIZE
        return self._read_size()

    def _read_discarded_chunk(self) -> Event | None:
        self._position += (count := min(self.run, self.available))
        self.run -= count
        return self._read_chunk()

    _readers = (_read_header, _read_head, _read_size, _read_chunk, _read_discarded_chunk)


class ServerCodec(_Codec):
    """The server's end: requests in, responses out."""

    __slots__ = ()

    def _take_head(self, head: dict[str, Any]) -> Event:
        if self._code >= len(_REQUESTS):
            return Unknown(self._code)
        kind = _REQUESTS[self._code]
        if self._flag is not (kind is Put):
            return Malformed(
                errors.Invalid(f"{kind.__name__} with a body it has not, or without the one it has")
            )
        try:
            request: Request = convert_map(head, kind)
        except RequestRefused as refusal:
            return Malformed(refusal)
        return request

    def encode_greeting(self, greeting: Greeting) -> bytes:
        """Give the octets that a server begins with."""
        return _encode_message(_DONE, greeting)

    def encode(self, response: Response, request: Request) -> bytes:
        """Give the octets of a response, without its body.

        Args:
            response: what to say.
            request: what it answers.
        """
        match response:
            case Refused(error):
                return _encode_message(_REFUSED, _describe_refusal(error))
            case Challenge():
                return _encode_message(_CONTINUE, response)
            case Working():
                return _encode_message(_WORKING, response)
        return _encode_message(_DONE, response)


class ClientCodec(_Codec):
    """The client's end: requests out, the greeting and responses in, matched to the requests in order."""

    __slots__ = ("_expected", "_is_greeted")

    def __init__(self) -> None:
        super().__init__()
        self._expected: deque[Request] = deque()
        self._is_greeted = False

    def encode(self, request: Request) -> bytes:
        """Give the octets of a request, without its body, and expect the response to it.

        Raises:
            LocalProtocolError: the head is too large.
        """
        octets = _encode_message(_CODES[type(request)], request)
        self._expected.append(request)
        return octets

    def _take_head(self, head: dict[str, Any]) -> Event:
        if not self._is_greeted:
            return self._take_greeting(head)
        if not self._expected:
            raise RemoteProtocolError("the server answered what was not asked")
        try:
            return self._take_response(head, self._expected[0])
        except RequestRefused as refusal:
            raise RemoteProtocolError(f"the server's answer makes no sense: {refusal}") from refusal

    def _take_greeting(self, head: dict[str, Any]) -> Event:
        self._is_greeted = True
        if self._code == _REFUSED:
            return Refused(_read_refusal(head))
        if self._code != _DONE:
            raise RemoteProtocolError(f"the server greeted with code {self._code}")
        try:
            greeting: Greeting = convert_map(head, Greeting)
        except RequestRefused as refusal:
            raise RemoteProtocolError(
                f"the server's greeting makes no sense: {refusal}"
            ) from refusal
        return greeting

    def _take_response(self, head: dict[str, Any], request: Request) -> Response:
        kind = _RESPONSES[type(request)]
        if self._code == _DONE:
            if self._flag is not (kind in _WITH_BODY):
                raise RemoteProtocolError(
                    "the server's answer has a body where it must not, or none"
                )
            self._expected.popleft()
            if isinstance(request, Get):
                head = {**head, "path": request.path}
            response: Response = convert_map(head, kind)
            return response
        if self._flag:
            raise RemoteProtocolError("the server's refusal has a body")
        if self._code == _REFUSED:
            self._expected.popleft()
            return Refused(_read_refusal(head))
        if self._code == _WORKING:
            return Working()
        if self._code == _CONTINUE and isinstance(request, Authenticate):
            self._expected.popleft()
            challenge: Challenge = convert_map(head, Challenge)
            return challenge
        raise RemoteProtocolError(f"the server answered with code {self._code}")


@dataclasses.dataclass(slots=True)
class _Trailer:
    """The keys of trailers. ``error`` stands in for all others: the body is of no use then."""

    digest: Digests = dataclasses.field(default_factory=dict)
    error: str | None = None
    more: str | None = None
    hidden: Size = 0


@dataclasses.dataclass(slots=True)
class _Refusal:
    """The head of a refusal."""

    error: str
    message: str = ""
    retry_after: Size | None = None


def _read_body_end(trailer: dict[str, Any]) -> BodyEnd:
    try:
        end: _Trailer = convert_map(trailer, _Trailer)
    except RequestRefused as refusal:
        return BodyEnd(refusal=refusal)
    if end.error is not None:
        return BodyEnd(refusal=_make_refusal(end.error, "the sender gave the body up"))
    return BodyEnd(end.digest, None, end.more, end.hidden)


def _describe_refusal(error: RequestRefused) -> _Refusal:
    return _Refusal(error.word, str(error))


def _read_refusal(head: dict[str, Any]) -> RequestRefused:
    try:
        refusal: _Refusal = convert_map(head, _Refusal)
    except RequestRefused as error:
        raise RemoteProtocolError(f"the server's refusal makes no sense: {error}") from error
    return _make_refusal(refusal.error, refusal.message)


def _make_refusal(word: str, message: str) -> RequestRefused:
    return _LEAVES.get(word, RequestRefused)(message or word)


def _encode_message(code: int, message: Any) -> bytes:
    head = encode_map(list_fields(message))
    flag = _BODY_FLAG if isinstance(message, _WITH_BODY) else 0
    return bytes([flag | code]) + len(head).to_bytes(_HEADER_OCTETS - 1, "big") + head
