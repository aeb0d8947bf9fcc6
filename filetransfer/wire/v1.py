"""Version 1, the classic protocol: states, decoders, encoders.

Every message begins with one octet, 3 bits of code and 5 bits of length (``CCC LLLLL``)::

    PUT      0  name[L]  size u32  body[size]          done       0
    GET      1  name[L]                                content    1  name[L]  size u32  body[size]
    CHANGE   2  old[L]   N u8  new[N]                  summary    2  name[L]  size u32  text[size]
    SUMMARY  3  name[L]  (L = 0: HELP)                 not found  3
    HELP     4                                         unknown    4
    -        5, 6, 7     unknown                       refused    5
                                                       help       6  text[L]

Integers are big-endian, names are UTF-8. Both ends read messages with the same states::

    AWAITING_HEADER  -> AWAITING_HEADER   the message was its first octet
    AWAITING_HEADER  -> AWAITING_NAME     a name follows
    AWAITING_HEADER  -> RECEIVING_BODY    (client) a SUMMARY answered in bare text
    AWAITING_NAME    -> AWAITING_HEADER   the message ended with its name
    AWAITING_NAME    -> AWAITING_SIZE     a size and a body follow
    AWAITING_SIZE    -> RECEIVING_BODY
    RECEIVING_BODY   -> AWAITING_HEADER   the body has ended
    RECEIVING_BODY   -> DISCARDING_BODY   the driver does not want it
    DISCARDING_BODY  -> AWAITING_HEADER   the body has ended

A decoder is fed with octets and asked for events; the octets of a body are no events: while ``run`` is above 0 the
next ``run`` octets are body, and the driver takes those that were fed already (:meth:`_Decoder.take_body`) or moves
them itself and says so (:meth:`_Decoder.body_moved`). A reader of a state either has all it needs or leaves the
buffer alone, so that how the octets were split cannot make a difference.

Source: protocol, section 1. An ``IntEnum`` and a tuple from state to reader cost 1.1 µs a request, automat 9 to 22.
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar

from filetransfer.errors import (
    LocalProtocolError,
    NotFound,
    RemoteProtocolError,
    RequestRefused,
    TooLarge,
    Unsupported,
)
from filetransfer.wire.messages import (
    BodyEnd,
    Change,
    Content,
    Done,
    EndOfMessages,
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


class State(IntEnum):
    """What the decoder waits for."""

    AWAITING_HEADER = 0
    AWAITING_NAME = 1
    AWAITING_SIZE = 2
    RECEIVING_BODY = 3
    DISCARDING_BODY = 4


AWAITING_HEADER = State.AWAITING_HEADER
AWAITING_NAME = State.AWAITING_NAME
AWAITING_SIZE = State.AWAITING_SIZE
RECEIVING_BODY = State.RECEIVING_BODY
DISCARDING_BODY = State.DISCARDING_BODY

MAX_NAME_OCTETS = 31
MAX_NEW_NAME_OCTETS = 255
MAX_SIZE = 2**32 - 1

HELP_TEXT = "bye change get help put summary"
SUMMARY_NAME = b"summary.txt"

# Codes of requests.
_PUT, _GET, _CHANGE, _SUMMARY, _HELP = range(5)
# Codes of responses.
_DONE, _CONTENT, _STATISTICS, _NOT_FOUND, _UNKNOWN, _REFUSED, _HELP_TEXT = range(7)

# What a web browser or a TLS client that is led to this port begins with. Every method decodes as CHANGE: a web page
# could rename files. Source: protocol, section 1, rule 11.
_FOREIGN_OPENINGS = (
    b"\x16\x03",
    *(
        method + b" "
        for method in b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PRI".split()
    ),
)
_LONGEST_OPENING = max(map(len, _FOREIGN_OPENINGS))

# The text of a SUMMARY is three short lines; other servers may round, pad or end their lines as they like.
_MAX_TEXT_OCTETS = 4096
_BARE_OPENING = b"Max: "
_STATISTICS_TEXT = re.compile(rb"\s*Max:\s*(\S+)\s+Min:\s*(\S+)\s+Avg:\s*(\S+)\s*")

Event = Request | Response | BodyEnd | EndOfMessages


class _Again:
    """What a reader returns when it changed the state and has no event to give."""


_AGAIN = _Again()
_Reading = Event | _Again | None


class _Decoder:
    """What both ends share: the unparsed octets, the run of a body, the loop over the states.

    Attributes:
        state: what it waits for.
        run: octets of the current body that were neither taken nor moved yet, >= 0.
    """

    __slots__ = ("_code", "_is_at_eof", "_length", "_octets", "_path", "_position", "run", "state")

    _readers: ClassVar[tuple[Callable[..., _Reading], ...]]

    def __init__(self) -> None:
        self.state = AWAITING_HEADER
        self.run = 0
        self._octets = b""
        self._position = 0
        self._is_at_eof = False
        self._code = 0
        self._length = 0
        self._path = ""

    def receive(self, octets: bytes) -> None:
        """Take octets from the peer, in any segmentation."""
        # What is left unparsed is at most a head, so that joining is cheap, unless the driver stopped asking: then it
        # must stop feeding too.
        self._octets = self._octets[self._position :] + octets if self.available else octets
        self._position = 0

    def receive_eof(self) -> None:
        """Take note that the peer will send nothing more."""
        self._is_at_eof = True

    @property
    def available(self) -> int:
        """Octets that were fed and not yet parsed, taken or discarded."""
        return len(self._octets) - self._position

    @property
    def is_between_messages(self) -> bool:
        """Whether not one octet of a next message has come."""
        return self.state is AWAITING_HEADER and not self.available

    def next_event(self) -> Event | None:
        """Pull the next event out.

        Returns:
            None when more octets are needed, or when octets of a body must be taken first.

        Raises:
            RemoteProtocolError: the peer broke the rules, or its octets ended inside a message.
        """
        while True:
            event = self._readers[self.state](self)
            if isinstance(event, _Again):
                continue
            if (
                event is None
                and self._is_at_eof
                and not (self.state is RECEIVING_BODY and self.available)
            ):
                raise RemoteProtocolError("the connection ended inside a message")
            return event

    def take_body(self, limit: int) -> bytes:
        """Take octets of the body that were fed already: at most ``limit``, and none of the next message."""
        count = min(limit, self.run, self.available)
        end = self._position + count
        octets = self._octets[self._position : end]
        self._position = end
        self.run -= count
        return octets

    def body_moved(self, count: int) -> None:
        """Take note that ``count`` octets of the body went past the decoder, straight from the socket.

        Raises:
            LocalProtocolError: more than the body has, or octets that were fed had to go first.
        """
        if count > self.run or (count and self.available):
            raise LocalProtocolError(
                f"{count} octets moved, of a run of {self.run} with {self.available} fed"
            )
        self.run -= count

    def discard_body(self) -> None:
        """Throw away the rest of the body; its :class:`BodyEnd` comes all the same."""
        if self.state is RECEIVING_BODY:
            self.state = DISCARDING_BODY

    def _take(self, count: int) -> bytes | None:
        end = self._position + count
        if len(self._octets) < end:
            return None
        octets = self._octets[self._position : end]
        self._position = end
        return octets

    def _begin_body(self, size: int) -> None:
        self.run = size
        self.state = RECEIVING_BODY

    def _read_body(self) -> _Reading:
        if self.run:
            return None
        self.state = AWAITING_HEADER
        return BodyEnd()

    def _discard(self) -> _Reading:
        self._position += (count := min(self.run, self.available))
        self.run -= count
        return self._read_body()


class ServerCodec(_Decoder):
    """The server's end: requests in, responses out.

    Args:
        has_bare_summary: answer SUMMARY with its text alone, as the article's own server does (rule 10).
    """

    __slots__ = ("_has_bare_summary", "_opening")

    def __init__(self, *, has_bare_summary: bool = False) -> None:
        super().__init__()
        self._has_bare_summary = has_bare_summary
        self._opening: bytes | None = b""

    def receive(self, octets: bytes) -> None:
        """Take octets from the peer, in any segmentation."""
        if self._opening is not None and len(self._opening) < _LONGEST_OPENING:
            self._opening += octets[:_LONGEST_OPENING]
        super().receive(octets)

    def next_event(self) -> Event | None:
        """Pull the next event out; as :meth:`_Decoder.next_event`."""
        if self._opening is not None:
            self._check_opening(self._opening)
        return super().next_event()

    def _check_opening(self, opening: bytes) -> None:
        if opening.startswith(_FOREIGN_OPENINGS):
            raise RemoteProtocolError("the peer speaks HTTP or TLS")
        if len(opening) >= _LONGEST_OPENING:
            self._opening = None

    def _read_header(self) -> _Reading:
        if not self.available:
            return EndOfMessages() if self._is_at_eof else None
        octet = self._octets[self._position]
        self._position += 1
        self._code, self._length = octet >> 5, octet & 0x1F
        if self._code > _HELP:
            return Unknown(self._code)
        if self._code == _HELP or (self._code == _SUMMARY and not self._length):
            return Help()
        self.state = AWAITING_NAME
        return _AGAIN

    def _read_name(self) -> _Reading:
        if self._code == _CHANGE:
            return self._read_two_names()
        octets = self._take(self._length)
        if octets is None:
            return None
        path = _decode_name(octets)
        self.state = AWAITING_HEADER
        if self._code == _GET:
            return Get(path)
        if self._code == _SUMMARY:
            return Summary(path)
        self._path = path
        if not path:
            # A known client sends a lone 00 when its local file is missing: no size will come (rule 5).
            self._begin_body(0)
            return Put(path, 0)
        self.state = AWAITING_SIZE
        return _AGAIN

    def _read_two_names(self) -> _Reading:
        # The second name's length stands behind the first name; both are read at once, so that no state is needed
        # for what lies between: at most 31 + 1 + 255 octets wait for that.
        between = self._position + self._length
        if len(self._octets) <= between:
            return None
        octets = self._take(self._length + 1 + self._octets[between])
        if octets is None:
            return None
        self.state = AWAITING_HEADER
        return Change(
            _decode_name(octets[: self._length]), _decode_name(octets[self._length + 1 :])
        )

    def _read_size(self) -> _Reading:
        octets = self._take(4)
        if octets is None:
            return None
        size = int.from_bytes(octets, "big")
        self._begin_body(size)
        return Put(self._path, size)

    _readers = (_read_header, _read_name, _read_size, _Decoder._read_body, _Decoder._discard)

    def encode(self, response: Response, request: Request) -> bytes:
        """Give the octets of a response, without its body.

        Args:
            response: what to say.
            request: what it answers; version 1 says the same refusal differently to different requests.

        Raises:
            TooLarge: the file has 2**32 octets or more; the request must be refused (rule 6).
        """
        match response:
            case Done():
                return bytes([_DONE << 5])
            case Content(path, size):
                if size > MAX_SIZE:
                    raise TooLarge("version 1 cannot send files of 4 GiB and more: use version 2")
                return _encode_named(_CONTENT, path.encode("utf-8", "surrogateescape"), size)
            case Statistics(maximum, minimum, mean):
                text = f"Max: {maximum!r}\nMin: {minimum!r}\nAvg: {mean!r}\n".encode()
                return (
                    text
                    if self._has_bare_summary
                    else _encode_named(_STATISTICS, SUMMARY_NAME, len(text)) + text
                )
            case HelpText(text):
                octets = text.encode()[:MAX_NAME_OCTETS]
                return bytes([_HELP_TEXT << 5 | len(octets)]) + octets
            case Refused(error):
                return bytes([_refusal_code(error, request) << 5])


class ClientCodec(_Decoder):
    """The client's end: requests out, responses in, matched to the requests in order."""

    __slots__ = ("_expected", "_is_bare")

    def __init__(self) -> None:
        super().__init__()
        self._expected: deque[Request] = deque()
        self._is_bare = False

    def encode(self, request: Request) -> bytes:
        """Give the octets of a request, without its body, and expect the response to it.

        Raises:
            LocalProtocolError: version 1 cannot say it: a name that is too long, a file that is too large.
        """
        octets = self._encode(request)
        self._expected.append(request)
        return octets

    def _encode(self, request: Request) -> bytes:
        match request:
            case Put(path, size):
                if not 0 <= size <= MAX_SIZE:
                    raise LocalProtocolError(
                        f"version 1 carries files below 4 GiB, this one has {size} octets"
                    )
                return _encode_named(_PUT, _encode_name(path, MAX_NAME_OCTETS), size)
            case Get(path):
                return _encode_named(_GET, _encode_name(path, MAX_NAME_OCTETS))
            case Change(path, to):
                new = _encode_name(to, MAX_NEW_NAME_OCTETS)
                return (
                    _encode_named(_CHANGE, _encode_name(path, MAX_NAME_OCTETS))
                    + bytes([len(new)])
                    + new
                )
            case Summary(path):
                return _encode_named(_SUMMARY, _encode_name(path, MAX_NAME_OCTETS))
            case Help():
                return bytes([_HELP << 5])
            case Unknown(code):
                raise LocalProtocolError(f"there is no request {code}")

    @property
    def may_end_with_silence(self) -> bool:
        """Whether a second without another octet ends the response (rule 10): its third bare line has begun."""
        return (
            self._is_bare
            and self._bare_text().count(b"\n") == 2
            and not self._bare_text().endswith(b"\n")
        )

    def receive_silence(self) -> None:
        """Take note that a second has passed without another octet."""
        if self.may_end_with_silence:
            self._octets += b"\n"

    def _read_header(self) -> _Reading:
        if not self.available:
            return EndOfMessages() if self._is_at_eof else None
        if not self._expected:
            raise RemoteProtocolError("the server answered what was not asked")
        request = self._expected[0]
        if isinstance(request, Summary) and self._bare_text().startswith(
            _BARE_OPENING[: self.available]
        ):
            if self.available < len(_BARE_OPENING) and not self._is_at_eof:
                return None
            self._is_bare = True
            self.state = RECEIVING_BODY
            return _AGAIN
        octet = self._octets[self._position]
        self._position += 1
        self._code, self._length = octet >> 5, octet & 0x1F
        return self._begin_response(request)

    def _begin_response(self, request: Request) -> _Reading:
        match self._code, request:
            case ((3 | 4 | 5), _):
                return self._answer(Refused(_refusal_from_code(self._code)))
            case 0, (Put() | Change()):
                return self._answer(Done())
            case (1, Get()) | (2, Summary()) | (6, Help()):
                self.state = AWAITING_NAME
                return _AGAIN
        raise RemoteProtocolError(
            f"the server answered {type(request).__name__} with code {self._code}"
        )

    def _read_name(self) -> _Reading:
        octets = self._take(self._length)
        if octets is None:
            return None
        if self._code == _HELP_TEXT:
            self.state = AWAITING_HEADER
            return self._answer(HelpText(octets.decode("utf-8", "replace")))
        self._path = octets.decode("utf-8", "surrogateescape")
        self.state = AWAITING_SIZE
        return _AGAIN

    def _read_size(self) -> _Reading:
        octets = self._take(4)
        if octets is None:
            return None
        size = int.from_bytes(octets, "big")
        self._begin_body(size)
        if self._code == _STATISTICS:
            if size > _MAX_TEXT_OCTETS:
                raise RemoteProtocolError(f"the server's summary has {size} octets")
            return _AGAIN
        return self._answer(Content(self._path, size))

    def _read_body(self) -> _Reading:
        if self._is_bare:
            return self._read_bare_text()
        if self._expected and self._code == _STATISTICS and isinstance(self._expected[0], Summary):
            return self._read_framed_text()
        return super()._read_body()

    def _read_framed_text(self) -> _Reading:
        octets = self._take(self.run)
        if octets is None:
            return None
        self.run = 0
        self.state = AWAITING_HEADER
        return self._answer(_parse_statistics(octets))

    def _read_bare_text(self) -> _Reading:
        if self._is_at_eof:
            self.receive_silence()
        end = -1
        for _ in range(3):
            end = self._octets.find(b"\n", max(end + 1, self._position))
            if end < 0:
                break
        if end < 0:
            if self.available > _MAX_TEXT_OCTETS:
                raise RemoteProtocolError("the server's summary does not end")
            return None
        octets = self._octets[self._position : end + 1]
        self._position = end + 1
        self._is_bare = False
        self.state = AWAITING_HEADER
        return self._answer(_parse_statistics(octets))

    def _bare_text(self) -> bytes:
        return self._octets[self._position : self._position + _MAX_TEXT_OCTETS]

    def _answer(self, response: Response) -> Response:
        self._expected.popleft()
        return response

    _readers = (_read_header, _read_name, _read_size, _read_body, _Decoder._discard)


def _decode_name(octets: bytes) -> str:
    if b"\r" in octets or b"\n" in octets:
        raise RemoteProtocolError("a name holds a line break: the peer may be a web browser")
    return octets.decode("utf-8", "surrogateescape")


def _encode_name(path: str, limit: int) -> bytes:
    octets = path.encode("utf-8", "surrogateescape")
    if not 0 < len(octets) <= limit:
        raise LocalProtocolError(
            f"version 1 carries names of 1 to {limit} octets, {path!r} has {len(octets)}"
        )
    return octets


def _encode_named(code: int, name: bytes, size: int | None = None) -> bytes:
    head = bytes([code << 5 | len(name)]) + name
    return head if size is None else head + size.to_bytes(4, "big")


def _refusal_code(error: RequestRefused, request: Request) -> int:
    # Rules 6, 7 and 8: a GET or SUMMARY that cannot be done is "not found", so is a CHANGE because of its old name.
    if isinstance(error, Unsupported):
        return _UNKNOWN
    if isinstance(request, Put) or (isinstance(request, Change) and error.about != "path"):
        return _REFUSED
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
    return Statistics(*numbers)
