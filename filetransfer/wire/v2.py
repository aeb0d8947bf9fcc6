"""Version 2: the same shape over wider fields. What heads and trailers say; ``v2_frames.py`` finds them.

What cannot be framed fails the connection (:class:`~filetransfer.errors.RemoteProtocolError`); what can be framed and
makes no sense is a :class:`~filetransfer.wire.messages.Malformed` request, which is refused like any other.

The driver hears of a body only where it expects one. What comes with a request that is malformed or unknown is thrown
away here, and so is what comes behind the end that was promised: there the driver gets its
:class:`~filetransfer.wire.messages.BodyEnd` at once, and may refuse before the body has ended.

Source: protocol, section 2.
"""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar, Final, cast

from msgspec import Struct

from filetransfer.errors import (
    Cancelled,
    Invalid,
    LocalProtocolError,
    RemoteProtocolError,
    RequestRefused,
    SizeMismatch,
)
from filetransfer.wire.decoder import (
    DISCARDING_BODY,
)
from filetransfer.wire.maps import (
    decode_map,
    decode_message,
    encode_map,
    list_fields,
)
from filetransfer.wire.messages import (
    Authenticate,
    Authenticated,
    BodyEnd,
    Challenge,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Digested,
    Digests,
    Done,
    Etag,
    Event,
    Get,
    Greeting,
    Help,
    HelpText,
    List,
    Listing,
    MakeDirectory,
    Malformed,
    Maybe,
    Mode,
    Nanoseconds,
    Put,
    Refused,
    Request,
    Response,
    Seconds,
    Size,
    Stat,
    Statistics,
    Status,
    Summary,
    Unavailable,
    Unknown,
    Working,
)
from filetransfer.wire.v2_frames import WITH_BODY, Frames, encode_frame

# The place of a request in this table is its code. Beside it: what done says to it, and the keys that are always there.
_TABLE: Final[tuple[tuple[type[Any], type[Any], tuple[str, ...]], ...]] = (
    (Put, Done, ("size", "etag")),
    (Get, Content, ("size", "etag", "modified", "mode")),
    (Change, Done, ("etag",)),
    (Summary, Statistics, ("count", "max", "min", "mean", "sum", "stddev")),
    (Help, HelpText, ("requests", "features", "limits", "software", "text")),
    (List, Listing, ()),
    (Stat, Status, ()),
    (Delete, Done, ()),
    (MakeDirectory, Done, ()),
    (Authenticate, Authenticated, ("identity",)),
    (Digest, Digested, ("digest", "size", "etag")),
    (Copy, Done, ("size", "etag")),
)
_REQUESTS = tuple(request for request, _, _ in _TABLE)
_CODES = {request: code for code, request in enumerate(_REQUESTS)}
_ANSWERS = {request: (answer, promised) for request, answer, promised in _TABLE}
_GREETING_KEYS = ("version", "software", "features", "limits", "mechanisms")
_DONE, _REFUSED, _CONTINUE, _WORKING = range(4)
_LEAVES = {leaf.word: leaf for leaf in RequestRefused.__subclasses__()}


class ServerCodec(Frames):
    """The server's end: requests in, responses out."""

    __slots__ = ()

    answers_early: ClassVar[bool] = True
    says_why: ClassVar[bool] = True

    def _take_head(self, head: bytes) -> Event:
        if self._code >= len(_REQUESTS):
            decode_map(head)
            return Unknown(self._code)
        kind = _REQUESTS[self._code]
        if self._flag is not (kind is Put):
            decode_map(head)
            return Malformed(Invalid("it has a body that it must not have, or lacks one"))
        try:
            request: Request = decode_message(head, kind)
        except Invalid as refusal:
            return Malformed(refusal)
        if isinstance(request, Put):
            self._promised = None if request.size is None else request.size - request.offset
        return request

    def _take_excess(self) -> Event:
        self._is_heard = self._is_wanted = False
        self.state = DISCARDING_BODY
        return BodyEnd(refusal=SizeMismatch("the body is longer than the request said"))

    def _take_trailer(self, trailer: bytes) -> BodyEnd:
        try:
            end: _Trailer = decode_message(trailer, _Trailer)
        except Invalid as refusal:
            return BodyEnd(refusal=refusal)
        if end.error is not None:
            return BodyEnd(refusal=Cancelled("the sender gave the body up"))
        if self._is_short():
            return BodyEnd(refusal=SizeMismatch("the body is shorter than the request said"))
        return BodyEnd(end.digest)

    def encode_greeting(self, greeting: Greeting | Unavailable) -> bytes:
        """Give the octets that a server begins with."""
        if isinstance(greeting, Unavailable):
            return _encode_refusal(greeting.error)
        return _encode_message(_DONE, list_fields(greeting, _GREETING_KEYS))

    def encode(self, response: Response, request: Request) -> bytes:
        """Give the octets of a response, without its body.

        Args:
            response: what to say.
            request: what it answers.

        Raises:
            LocalProtocolError: it is no answer to this request, or lacks what the answer always has.
        """
        match response:
            case Refused(error):
                return _encode_refusal(error)
            case Working():
                return _encode_message(_WORKING, response)
            case Challenge() if isinstance(request, Authenticate):
                return _encode_message(_CONTINUE, response)
        answer, promised = _ANSWERS.get(type(request), (None, ()))
        if type(response) is not answer:
            raise LocalProtocolError(f"version 2 cannot answer {request} with {response}")
        head: Any = response
        if isinstance(response, Content):
            head = _ContentHead(
                response.size,
                response.offset,
                response.etag,
                response.modified,
                response.mode,
                response.digest,
            )
        if not _has_all(head, promised):
            head = list_fields(head, promised)
        return _encode_message(_DONE, head, isinstance(response, WITH_BODY))


class ClientCodec(Frames):
    """The client's end: requests out, the greeting and responses in, matched to the requests in order.

    A server may refuse a PUT whose body it has not all got. Then the client finishes the chunk in hand and ends the
    body with ``encode_body_end(BodyEnd(refusal=Cancelled(...)))``, to which there is no further response.
    """

    __slots__ = ("_expected", "_is_greeted")

    is_ready: ClassVar[bool] = True
    has_greeting: ClassVar[bool] = True
    can_stat: ClassVar[bool] = True
    needs_size: ClassVar[bool] = False
    silence_seconds: ClassVar[None] = None
    may_end_with_silence: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self._expected: deque[Request] = deque()
        self._is_greeted = False

    def receive_silence(self) -> None:
        """Take note of a silence: in version 2, it says nothing."""

    def encode(self, request: Request) -> bytes:
        """Give the octets of a request, without its body, and expect the response to it.

        Raises:
            LocalProtocolError: its head is too large, or holds what is not text or beyond 64 bits.
        """
        code = _CODES.get(type(request))
        if code is None:
            raise LocalProtocolError(f"version 2 cannot say {request}")
        octets = _encode_message(code, request, isinstance(request, WITH_BODY))
        self._expected.append(request)
        return octets

    def _take_head(self, head: bytes) -> Event:
        try:
            return self._take_response(head) if self._is_greeted else self._take_greeting(head)
        except Invalid as refusal:
            raise RemoteProtocolError(
                f"the server said what makes no sense: {refusal}"
            ) from refusal

    def _take_greeting(self, head: bytes) -> Greeting | Unavailable:
        self._is_greeted = True
        if self._code == _DONE and not self._flag:
            greeting: Greeting = decode_message(head, Greeting)
            return greeting
        if self._code == _REFUSED and not self._flag:
            self._expected.clear()
            return Unavailable(_read_refusal(head))
        raise RemoteProtocolError(f"the server greeted with code {self._code}")

    def _take_response(self, head: bytes) -> Response:
        if not self._expected:
            raise RemoteProtocolError("the server answered what was not asked")
        request = self._expected[0]
        response = self._decode_response(head, request)
        if self._flag is not isinstance(response, WITH_BODY):
            raise RemoteProtocolError("the server's answer has a body, and must not, or has none")
        if not isinstance(response, Working):
            self._expected.popleft()
        return response

    def _decode_response(self, head: bytes, request: Request) -> Response:
        if self._code == _DONE:
            answer, promised = _ANSWERS[type(request)]
            if isinstance(request, Get):
                return self._decode_content(head, request, promised)
            self._promised = None
            return cast(Response, _decode_promised(head, answer, promised))
        if self._code == _REFUSED:
            return Refused(_read_refusal(head))
        if self._code == _WORKING:
            decode_map(head)
            return Working()
        if self._code == _CONTINUE and isinstance(request, Authenticate):
            challenge: Challenge = decode_message(head, Challenge)
            return challenge
        raise RemoteProtocolError(f"the server answered with code {self._code}")

    def _decode_content(self, head: bytes, request: Get, promised: tuple[str, ...]) -> Content:
        said: _ContentHead = _decode_promised(head, _ContentHead, promised)
        length = said.size - said.offset
        if said.offset != request.offset or length < 0:
            raise RemoteProtocolError(
                "the server sends another part of the file than was asked for"
            )
        self._promised = length if request.count is None else min(length, request.count)
        return Content(
            request.path,
            said.size,
            said.offset,
            said.etag,
            said.modified,
            said.mode,
            said.digest,
        )

    def _take_excess(self) -> Event:
        raise RemoteProtocolError("the server sends more than it promised")

    def _take_trailer(self, trailer: bytes) -> BodyEnd:
        try:
            end: _ResponseTrailer = decode_message(trailer, _ResponseTrailer)
        except Invalid as refusal:
            raise RemoteProtocolError(f"a trailer that makes no sense: {refusal}") from refusal
        if end.error is not None:
            return BodyEnd(refusal=_make_refusal(end.error, "the server gave the body up"))
        if self._is_short():
            raise RemoteProtocolError("the server sent less than it promised")
        return BodyEnd(end.digest, None, end.more, end.hidden)


class _ContentHead(Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """The head of a file's body: all of :class:`Content` but the path, which is what was asked for."""

    size: Size
    offset: Size = 0
    etag: Maybe[Etag] = None
    modified: Maybe[Nanoseconds] = None
    mode: Maybe[Mode] = None
    digest: Digests = {}


class _Trailer(Struct, forbid_unknown_fields=True, gc=False):
    """The trailer of a request. With ``error``, its sender gave the body up."""

    digest: Digests = {}
    error: Maybe[str] = None


class _ResponseTrailer(_Trailer):
    """The trailer of a response: LIST says more."""

    more: Maybe[str] = None
    hidden: Size = 0


class _Refusal(Struct, forbid_unknown_fields=True, gc=False):
    """The head of a refusal."""

    error: str
    message: str = ""
    retry_after: Maybe[Seconds] = None


def _read_refusal(head: bytes) -> RequestRefused:
    refusal: _Refusal = decode_message(head, _Refusal)
    return _make_refusal(refusal.error, refusal.message, refusal.retry_after)


def _make_refusal(word: str, message: str, retry_after: float | None = None) -> RequestRefused:
    leaf = _LEAVES.get(word)
    if leaf is None:
        # A later server may have more words than these.
        return RequestRefused(f"{message or 'refused'} ({word})", retry_after=retry_after)
    return leaf(message or word, retry_after=retry_after)


def _decode_promised(head: bytes, kind: type[Any], promised: tuple[str, ...]) -> Any:
    """Give an answer. Raises Invalid: as :func:`decode_message`, or something that is promised is missing."""
    answer = decode_message(head, kind)
    if not _has_all(answer, promised):
        missing = set(promised) - decode_map(head).keys()
        if missing:
            raise Invalid(f"an answer without {', '.join(sorted(missing))}")
    return answer


def _has_all(message: Any, names: tuple[str, ...]) -> bool:
    """Tell whether these fields are there, at the first look: what is 0, or empty, may be there all the same."""
    return all([getattr(message, name) for name in names])  # noqa: C419 - a third of the time


def _encode_refusal(error: RequestRefused) -> bytes:
    refusal = _Refusal(error.word, str(error), error.retry_after)
    return _encode_message(_REFUSED, list_fields(refusal, ("message",)))


def _encode_message(code: int, message: Any, has_body: bool = False) -> bytes:
    return encode_frame(code, encode_map(message), has_body=has_body)
