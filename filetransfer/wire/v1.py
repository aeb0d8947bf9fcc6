"""Version 1, the classic protocol: states, decoders, encoders.

Every message begins with one octet, 3 bits of code and 5 bits of length (``CCC LLLLL``)::

    PUT      0  name[L]  size u32  body[size]          done       0
    GET      1  name[L]                                content    1  name[L]  size u32  body[size]
    CHANGE   2  old[L]   N u8  new[N]                  summary    2  name[L]  size u32  text[size]
    SUMMARY  3  name[L]  (L = 0: HELP)                 not found  3
    HELP     4                                         unknown    4
    -        5, 6, 7     unknown                       refused    5
                                                       help       6  text[L]

Integers are big-endian, names are UTF-8. Both ends read messages with the same states; the last two are the client's
alone, whose driver gets a SUMMARY's text parsed::

    AWAITING_HEADER  -> AWAITING_HEADER  both    the message was its first octet
    AWAITING_HEADER  -> AWAITING_NAME    both    a name follows, or the text of HELP
    AWAITING_HEADER  -> BARE_TEXT        client  a SUMMARY is answered without a head
    AWAITING_NAME    -> AWAITING_HEADER  both    the message ended with it
    AWAITING_NAME    -> AWAITING_SIZE    both    a size and a body follow
    AWAITING_NAME    -> RECEIVING_BODY   server  a PUT without a name has no size, and its body is empty
    AWAITING_SIZE    -> RECEIVING_BODY   both    a body follows, which may be empty
    AWAITING_SIZE    -> FRAMED_TEXT      client  the body is the text of a SUMMARY
    RECEIVING_BODY   -> AWAITING_HEADER  both    the body has ended
    RECEIVING_BODY   -> DISCARDING_BODY  both    the driver does not want it
    DISCARDING_BODY  -> AWAITING_HEADER  both    the body has ended
    FRAMED_TEXT      -> AWAITING_HEADER  client  the text has ended
    BARE_TEXT        -> AWAITING_HEADER  client  its third line has ended

There is one reader for each state (see ``wire/decoder.py``). A GET among many costs 0.9 µs so, a PUT of ten octets 1.8
(an automat machine: 9 to 22).

Source: protocol, section 1.
"""

from __future__ import annotations

import math
import re
from collections import deque
from typing import ClassVar

from filetransfer.errors import (
    LocalProtocolError,
    NotAuthenticated,
    NotFound,
    RemoteProtocolError,
    RequestRefused,
    TooLarge,
    UnknownToVersion,
    Unsupported,
)
from filetransfer.wire.decoder import (
    AWAITING_HEADER,
    AWAITING_NAME,
    AWAITING_SIZE,
    BARE_TEXT,
    FRAMED_TEXT,
    RECEIVING_BODY,
    Decoder,
)
from filetransfer.wire.maps import list_fields
from filetransfer.wire.messages import (
    BodyEnd,
    Change,
    Content,
    Done,
    Event,
    Get,
    Help,
    HelpText,
    Put,
    Refused,
    Request,
    Response,
    Statistics,
    Summary,
    Unknown,
)

MAX_NAME_OCTETS = 31
MAX_NEW_NAME_OCTETS = 255
MAX_SIZE = 2**32 - 1

SILENCE_SECONDS = 1.0
"""Without another octet, after which a bare summary has ended. Source: protocol, section 1, rule 10."""

SUMMARY_NAME = b"summary.txt"

# Codes of requests.
_PUT, _GET, _CHANGE, _SUMMARY, _HELP = range(5)
# Codes of responses.
_DONE, _CONTENT, _STATISTICS, _NOT_FOUND, _UNKNOWN, _REFUSED, _HELP_TEXT = range(7)
_DONE_OCTETS = bytes([_DONE << 5])

# What a web browser or a TLS client that is led to this port begins with. Every method decodes as CHANGE: a web page
# could rename files. None of these is as long as the request that it decodes as, so that waiting for the rest of one
# keeps no request waiting. Source: protocol, section 1, rule 11; RFC 9110, 5789 and 9113.
_HTTP_METHODS = b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PRI".split()
_FOREIGN_OPENINGS = (b"\x16\x03", *(method + b" " for method in _HTTP_METHODS))
_LONGEST_OPENING = max(map(len, _FOREIGN_OPENINGS))

# The text of a SUMMARY is three short lines; other servers may round, pad or end their lines as they like.
_MAX_TEXT_OCTETS = 4096
_BARE_OPENING = b"Max: "
_STATISTICS_TEXT = re.compile(rb"\s*Max:\s*(\S+)\s+Min:\s*(\S+)\s+Avg:\s*(\S+)\s*")


class _Codec(Decoder):
    """What both ends share: a body is one run, and what it is stands in the head before it."""

    __slots__ = ()

    max_run: ClassVar[int] = MAX_SIZE
    has_trailers: ClassVar[bool] = False

    def encode_run(self, count: int) -> bytes:
        """Give the octets that stand before a run of a body: none."""
        return b""

    def encode_body_end(self, end: BodyEnd) -> bytes:
        """Give the octets that stand behind the last run of a body: none.

        Raises:
            LocalProtocolError: the body has not ended, and must not go on: only failing the connection can say that.
        """
        if end.refusal is not None:
            raise LocalProtocolError("version 1 cannot end a body early")
        return b""


class ServerCodec(_Codec):
    """The server's end: requests in, responses out.

    Args:
        has_bare_summary: answer SUMMARY with its text alone, as the article's own server does (rule 10).
    """

    __slots__ = ("_has_bare_summary", "_is_opening")

    answers_early: ClassVar[bool] = False
    says_why: ClassVar[bool] = False

    def __init__(self, *, has_bare_summary: bool = False) -> None:
        super().__init__()
        self._has_bare_summary = has_bare_summary
        self._is_opening = True

    def _read_header(self) -> Event | None:
        position = self._position
        if position == len(self._octets):
            return self.read_end()
        if self._is_opening and self._may_be_foreign():
            return None
        octet = self._octets[position]
        self._position = position + 1
        self._code = code = octet >> 5
        self._length = length = octet & 0x1F
        if code > _HELP:
            return Unknown(code)
        if code == _HELP or (code == _SUMMARY and not length):
            return Help()
        self.state = AWAITING_NAME
        return self._read_name()

    def _may_be_foreign(self) -> bool:
        opening = self._octets[self._position : self._position + _LONGEST_OPENING]
        if opening.startswith(_FOREIGN_OPENINGS):
            raise RemoteProtocolError("the peer speaks HTTP or TLS")
        self._is_opening = any(foreign.startswith(opening) for foreign in _FOREIGN_OPENINGS)
        return self._is_opening

    def _read_name(self) -> Event | None:
        end = self._position + self._length
        path = self._peek_name(self._position, end)
        if path is None:
            return None
        code = self._code
        if code == _CHANGE:
            return self._read_new_name(path, end)
        self._position = end
        if code == _PUT:
            return self._begin_put(path)
        self.state = AWAITING_HEADER
        return Get(path) if code == _GET else Summary(path)

    def _read_new_name(self, path: str, position: int) -> Event | None:
        # Both names are read at once, so that no state is needed for what lies between them: at most 31 + 1 + 255
        # octets wait for that.
        if position == len(self._octets):
            return None
        end = position + 1 + self._octets[position]
        to = self._peek_name(position + 1, end)
        if to is None:
            return None
        self._position = end
        self.state = AWAITING_HEADER
        return Change(path, to)

    def _peek_name(self, start: int, end: int) -> str | None:
        octets = self._octets[start:end]
        # Before the name is whole: a line of HTTP may be all that the peer sends.
        if b"\n" in octets or b"\r" in octets:
            raise RemoteProtocolError("a name holds a line break: the peer may be a web browser")
        if len(octets) < end - start:
            return None
        return octets.decode("utf-8", "surrogateescape")

    def _begin_put(self, path: str) -> Event | None:
        if not path:
            # A known client sends a lone 00 when its local file is missing: no size will come (rule 5).
            self.state = RECEIVING_BODY
            return Put(path, 0)
        self._path = path
        self.state = AWAITING_SIZE
        return self._read_size()

    def _read_size(self) -> Event | None:
        octets = self.take(4)
        if octets is None:
            return None
        self.run = size = int.from_bytes(octets, "big")
        self.state = RECEIVING_BODY
        return Put(self._path, size)

    _readers = (
        _read_header,
        _read_name,
        _read_size,
        Decoder.read_body,
        Decoder.read_discarded,
    )

    def encode(self, response: Response, request: Request) -> bytes:
        """Give the octets of a response, without its body.

        Args:
            response: what to say.
            request: what it answers; version 1 says the same refusal differently to different requests.

        Raises:
            TooLarge: the file has 2**32 octets or more; the request must be refused (rule 6).
            LocalProtocolError: version 1 cannot say the name of the content.
        """
        match response:
            case Done():
                return _DONE_OCTETS
            case Content(path, size):
                if size > MAX_SIZE:
                    raise TooLarge("version 1 cannot send files of 4 GiB and more: use version 2")
                return _encode_named(_CONTENT, _encode_name(path, MAX_NAME_OCTETS), size)
            case Statistics(maximum, minimum, mean):
                text = f"Max: {maximum!r}\nMin: {minimum!r}\nAvg: {mean!r}\n".encode()
                if self._has_bare_summary:
                    return text
                return _encode_named(_STATISTICS, SUMMARY_NAME, len(text)) + text
            case HelpText(text):
                octets = text.encode()[:MAX_NAME_OCTETS]
                return bytes([_HELP_TEXT << 5 | len(octets)]) + octets
            case Refused(error):
                return bytes([_refusal_code(error, request) << 5])
        raise LocalProtocolError(f"version 1 cannot answer {response}")


class ClientCodec(_Codec):
    """The client's end: requests out, responses in, matched to the requests in order."""

    __slots__ = ("_expected",)

    is_ready: ClassVar[bool] = True
    has_greeting: ClassVar[bool] = False
    can_stat: ClassVar[bool] = False
    needs_size: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        self._expected: deque[Request] = deque()

    def encode(self, request: Request) -> bytes:
        """Give the octets of a request, without its body, and expect the response to it.

        Raises:
            LocalProtocolError: version 1 cannot say it: a name that is empty or too long, that is not text or holds a
                line break; a file that is too large; what a server must take for HTTP or TLS.
        """
        octets = self._encode(request)
        if octets.startswith(_FOREIGN_OPENINGS):
            raise LocalProtocolError(f"the server would take {octets[:8]!r} for HTTP or TLS")
        self._expected.append(request)
        return octets

    def _encode(self, request: Request) -> bytes:
        match request:
            case Put(path, int(size)) if request == Put(path, size):
                if not 0 <= size <= MAX_SIZE:
                    raise LocalProtocolError(
                        f"version 1 carries files below 4 GiB, this one has {size} octets"
                    )
                return _encode_named(_PUT, _encode_name(path, MAX_NAME_OCTETS), size)
            case Get(path) if request == Get(path):
                return _encode_named(_GET, _encode_name(path, MAX_NAME_OCTETS))
            case Change(path, to) if request == Change(path, to):
                new = _encode_name(to, MAX_NEW_NAME_OCTETS)
                old = _encode_named(_CHANGE, _encode_name(path, MAX_NAME_OCTETS))
                return old + bytes([len(new)]) + new
            case Summary(path) if request == Summary(path):
                return _encode_named(_SUMMARY, _encode_name(path, MAX_NAME_OCTETS))
            case Help():
                return bytes([_HELP << 5])
        raise UnknownToVersion(f"version 1 of the protocol cannot say {_describe(request)}")

    @property
    def silence_seconds(self) -> float | None:
        """How long a silence is worth :meth:`receive_silence`; None when none is."""
        return SILENCE_SECONDS if self.may_end_with_silence else None

    @property
    def may_end_with_silence(self) -> bool:
        """Whether a second without another octet ends the response (rule 10): its third bare line has begun."""
        if self.state is not BARE_TEXT:
            return False
        lines = self._bare_lines()
        return len(lines) == 3 and lines[2] != b""

    def receive_silence(self) -> None:
        """Take note that a second has passed without another octet."""
        if self.may_end_with_silence:
            self._octets += b"\n"

    def _read_header(self) -> Event | None:
        if not self.available:
            return self.read_end()
        if not self._expected:
            raise RemoteProtocolError("the server answered what was not asked")
        request = self._expected[0]
        if isinstance(request, Summary):
            opening = self._octets[self._position : self._position + len(_BARE_OPENING)]
            if opening == _BARE_OPENING:
                self.state = BARE_TEXT
                return self._read_bare_text()
            if _BARE_OPENING.startswith(opening):
                return None
        octet = self._octets[self._position]
        self._position += 1
        self._code, self._length = octet >> 5, octet & 0x1F
        return self._begin_response(request)

    def _begin_response(self, request: Request) -> Event | None:
        match self._code, request:
            case ((3 | 4 | 5), _):
                return self._answer(Refused(_refusal_from_code(self._code)))
            case 0, (Put() | Change()):
                return self._answer(Done())
            case (1, Get()) | (2, Summary()) | (6, Help()):
                self.state = AWAITING_NAME
                return self._read_name()
        raise RemoteProtocolError(
            f"the server answered {type(request).__name__} with code {self._code}"
        )

    def _read_name(self) -> Event | None:
        octets = self.take(self._length)
        if octets is None:
            return None
        if self._code == _HELP_TEXT:
            return self._answer(HelpText(octets.decode("utf-8", "replace")))
        self._path = octets.decode("utf-8", "surrogateescape")
        self.state = AWAITING_SIZE
        return self._read_size()

    def _read_size(self) -> Event | None:
        octets = self.take(4)
        if octets is None:
            return None
        size = int.from_bytes(octets, "big")
        if self._code == _CONTENT:
            self._expected.popleft()
            self.run = size
            self.state = RECEIVING_BODY
            return Content(self._path, size)
        if size > _MAX_TEXT_OCTETS:
            raise RemoteProtocolError(f"the server's summary has {size} octets")
        self._length = size
        self.state = FRAMED_TEXT
        return self._read_framed_text()

    def _read_framed_text(self) -> Event | None:
        octets = self.take(self._length)
        return None if octets is None else self._answer(_parse_statistics(octets))

    def _read_bare_text(self) -> Event | None:
        if self._is_at_eof:
            self.receive_silence()
        lines = self._bare_lines()
        if len(lines) <= 3:
            if self.available >= _MAX_TEXT_OCTETS:
                raise RemoteProtocolError("the server's summary does not end")
            return None
        text = b"\n".join(lines[:3])
        self._position += len(text) + 1
        return self._answer(_parse_statistics(text))

    def _bare_lines(self) -> list[bytes]:
        # No more than may be looked at: else a text that is too long would pass when it comes in one piece.
        text = self._octets[self._position : self._position + _MAX_TEXT_OCTETS]
        return text.split(b"\n", 3)

    def _answer(self, response: Response) -> Response:
        self._expected.popleft()
        self.state = AWAITING_HEADER
        return response

    _readers = (
        _read_header,
        _read_name,
        _read_size,
        Decoder.read_body,
        Decoder.read_discarded,
        _read_framed_text,
        _read_bare_text,
    )


def _describe(request: Request) -> str:
    """Name a request; of one that version 1 knows, also what is more than its own."""
    is_known = isinstance(request, Put | Get | Change | Summary | Help)
    more = sorted(list_fields(request).keys() - {"path", "to", "size"}) if is_known else []
    name = re.sub("(?<=[a-z])(?=[A-Z])", "_", type(request).__name__).upper()
    return f"{name} with {', '.join(more).replace('_', '-')}" if more else name


def _encode_name(path: str, limit: int) -> bytes:
    try:
        octets = path.encode()
    except UnicodeEncodeError:
        raise LocalProtocolError(f"names are UTF-8, {path!r} is not") from None
    if not 0 < len(octets) <= limit:
        raise LocalProtocolError(
            f"version 1 carries names of 1 to {limit} octets, {path!r} has {len(octets)}"
        )
    if b"\n" in octets or b"\r" in octets:
        raise LocalProtocolError(f"version 1 carries no names with line breaks: {path!r}")
    return octets


def _encode_named(code: int, name: bytes, size: int | None = None) -> bytes:
    head = bytes([code << 5 | len(name)]) + name
    return head if size is None else head + size.to_bytes(4, "big")


def _refusal_code(error: RequestRefused, request: Request) -> int:
    # Rules 6, 7 and 8: a GET or SUMMARY that cannot be done is "not found", so is a CHANGE because of its old name.
    if isinstance(error, Unsupported):
        return _UNKNOWN
    if isinstance(request, Put):
        return _REFUSED
    if isinstance(request, Change) and error.about != "path":
        # What an unknown peer may not change it is not told of either (section 2, "Who").
        return _NOT_FOUND if isinstance(error, NotAuthenticated) else _REFUSED
    return _NOT_FOUND


def _refusal_from_code(code: int) -> RequestRefused:
    if code == _NOT_FOUND:
        return NotFound("not found", about="path")
    if code == _UNKNOWN:
        return Unsupported("the server does not know this request")
    return RequestRefused("refused by the server (version 1 does not say why)")


def _parse_statistics(text: bytes) -> Statistics:
    matched = _STATISTICS_TEXT.fullmatch(text)
    try:
        numbers = [float(number) for number in matched.groups()] if matched else []
    except ValueError:
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise RemoteProtocolError("the server's summary is not three numbers")
    maximum, minimum, mean = numbers
    return Statistics(maximum, minimum, mean)
