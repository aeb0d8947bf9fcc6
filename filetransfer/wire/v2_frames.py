"""Version 2 as frames: octets to heads, chunks and trailers, and back; what heads and trailers say is for ``v2.py``.

    message  = header head [ body ]
    header   = octet: body flag 0x80, code 0x7f | u24: size of the head
    head     = a MessagePack map of at most 65,536 octets
    body     = *( u32 n (1 <= n <= 2**24) | n octets ) u32 0 trailer
    trailer  = u24 size | a MessagePack map of at most 65,536 octets

The states are those of version 1; only that a body comes in chunks, each a run with its own size, which the driver
learns of by :class:`~filetransfer.wire.messages.BodyRun`::

    AWAITING_HEADER  -> AWAITING_NAME     a header has come, a head follows
    AWAITING_NAME    -> AWAITING_HEADER   the message was its head
    AWAITING_NAME    -> AWAITING_SIZE     a body follows
    AWAITING_SIZE    -> RECEIVING_BODY    a chunk follows
    AWAITING_SIZE    -> DISCARDING_BODY   a chunk follows, and nobody wants it
    AWAITING_SIZE    -> AWAITING_HEADER   the trailer has come
    RECEIVING_BODY   -> AWAITING_SIZE     the chunk has ended
    RECEIVING_BODY   -> DISCARDING_BODY   the driver does not want the rest
    DISCARDING_BODY  -> AWAITING_SIZE     the chunk has ended

Source: protocol, section 2.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from filetransfer.errors import LocalProtocolError, RemoteProtocolError
from filetransfer.wire.decoder import (
    AWAITING_HEADER,
    AWAITING_NAME,
    AWAITING_SIZE,
    DISCARDING_BODY,
    RECEIVING_BODY,
    Decoder,
)
from filetransfer.wire.maps import MAX_MAP_OCTETS, decode_map, encode_map
from filetransfer.wire.messages import BodyEnd, BodyRun, Content, Event, Listing, Put

MAX_CHUNK_OCTETS = 2**24
MAX_SMALL_CHUNKS = 1024
SMALL_CHUNK_OCTETS = 1024
WITH_BODY = (Put, Content, Listing)
"""The messages that a body follows."""

_BODY_FLAG = 0x80
_HEADER_OCTETS = 4
_SIZE_OCTETS = 4
_TRAILER_SIZE_OCTETS = 3
# One for all: nobody changes it.
_RUN = BodyRun()


class Frames(Decoder, ABC):
    """What both ends share: headers, heads, chunks and trailers."""

    __slots__ = ("_body_octets", "_chunks", "_flag", "_is_heard", "_is_wanted", "_promised")

    max_run: ClassVar[int] = MAX_CHUNK_OCTETS
    has_trailers: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__()
        # Of the body at hand: whether its octets go to the driver, whether its end does, and how long it must be.
        self._flag = False
        self._is_wanted = False
        self._is_heard = False
        self._promised: int | None = None
        self._chunks = 0
        self._body_octets = 0

    @property
    def has_body(self) -> bool:
        """Whether the message that was given last has a body whose end was not given yet."""
        return self._is_heard and (self.state is AWAITING_SIZE or super().has_body)

    def discard_body(self) -> None:
        """Throw away the rest of the body; its :class:`BodyEnd` comes all the same."""
        self._is_wanted = False
        super().discard_body()

    def encode_run(self, count: int) -> bytes:
        """Give the octets that stand before a run of ``count`` octets of a body, 1 <= count <= max_run."""
        if not 1 <= count <= MAX_CHUNK_OCTETS:
            raise LocalProtocolError(f"a chunk has 1 to {MAX_CHUNK_OCTETS} octets, not {count}")
        return count.to_bytes(_SIZE_OCTETS, "big")

    def encode_body_end(self, end: BodyEnd) -> bytes:
        """Give the octets that stand behind the last run of a body: also of one that ends early, with a refusal."""
        octets = encode_map(end if end.refusal is None else {"error": end.refusal.word})
        # The empty chunk, and the size of the trailer.
        return len(octets).to_bytes(_SIZE_OCTETS + _TRAILER_SIZE_OCTETS, "big") + octets

    # These are met for every message: what Decoder.available and Decoder.take would do stands here in full.

    def _read_header(self) -> Event | None:
        start = self._position
        end = start + _HEADER_OCTETS
        octets = self._octets
        if len(octets) < end:
            return self.read_end() if len(octets) == start else None
        header = octets[start]
        self._position = end
        self._flag = header >= _BODY_FLAG
        self._code = header & ~_BODY_FLAG
        self._length = int.from_bytes(octets[start + 1 : end], "big")
        if self._length > MAX_MAP_OCTETS:
            raise RemoteProtocolError(f"a head of {self._length} octets")
        self.state = AWAITING_NAME
        return self._read_head()

    def _read_head(self) -> Event | None:
        start = self._position
        end = start + self._length
        if len(self._octets) < end:
            return None
        self._position = end
        event = self._take_head(self._octets[start:end])
        if not self._flag:
            self.state = AWAITING_HEADER
        else:
            self._is_heard = self._is_wanted = isinstance(event, WITH_BODY)
            self._chunks = self._body_octets = 0
            self.state = AWAITING_SIZE
        return event

    @abstractmethod
    def _take_head(self, head: bytes) -> Event:
        """Give the message of a head, and note how long a body it promises."""

    def _read_size(self) -> Event | None:
        if not self._is_wanted:
            return self._discard_chunks()
        if not self._begin_chunk():
            return self._read_trailer()
        if self._promised is not None and self._body_octets > self._promised:
            return self._take_excess()
        self.state = RECEIVING_BODY
        return _RUN

    @abstractmethod
    def _take_excess(self) -> Event:
        """Say what becomes of a body that is longer than promised."""

    def _begin_chunk(self) -> bool:
        """Take the size of a chunk; gives whether one has begun: else a trailer follows, or octets are missing."""
        start = self._position
        octets = self._octets[start : start + _SIZE_OCTETS]
        size = int.from_bytes(octets, "big") if len(octets) == _SIZE_OCTETS else 0
        if not size:
            return False
        if size > MAX_CHUNK_OCTETS:
            raise RemoteProtocolError(f"a chunk of an unknown kind or size: {size:#010x}")
        self._chunks += 1
        self._body_octets += size
        if (
            self._chunks > MAX_SMALL_CHUNKS
            and self._body_octets < self._chunks * SMALL_CHUNK_OCTETS
        ):
            raise RemoteProtocolError("a body in chunks that are too small")
        self._position = start + _SIZE_OCTETS
        self.run = size
        return True

    def _read_trailer(self) -> Event | None:
        # The empty chunk, the size and the trailer are read at once, so that no state is needed for what lies between.
        start = self._position + _SIZE_OCTETS
        end = start + _TRAILER_SIZE_OCTETS
        if len(self._octets) < end:
            return None
        size = int.from_bytes(self._octets[start:end], "big")
        if size > MAX_MAP_OCTETS:
            raise RemoteProtocolError(f"a trailer of {size} octets")
        if len(self._octets) < end + size:
            return None
        trailer = self._octets[end : end + size]
        self._position = end + size
        self.state = AWAITING_HEADER
        if self._is_heard:
            return self._take_trailer(trailer)
        decode_map(trailer)
        return self._read_header()

    @abstractmethod
    def _take_trailer(self, trailer: bytes) -> BodyEnd:
        """Give the end of the body."""

    def _is_short(self) -> bool:
        # What is longer has not come so far; what begins behind the end of its file is neither.
        return self._promised is not None and self._body_octets != self._promised

    def _read_chunk(self) -> Event | None:
        if self.run:
            return None
        self.state = AWAITING_SIZE
        return self._read_size()

    def _read_discarded(self) -> Event | None:
        self.discard_run()
        if self.run:
            return None
        self.state = AWAITING_SIZE
        return self._discard_chunks()

    def _discard_chunks(self) -> Event | None:
        # A loop: a thousand chunks may have come at once.
        while self._begin_chunk():
            self.state = DISCARDING_BODY
            self.discard_run()
            if self.run:
                return None
            self.state = AWAITING_SIZE
        return self._read_trailer()

    _readers = (_read_header, _read_head, _read_size, _read_chunk, _read_discarded)


def encode_frame(code: int, head: bytes, *, has_body: bool = False) -> bytes:
    """Give a message without its body: the header, and the head behind it."""
    if has_body:
        code |= _BODY_FLAG
    return (code << 24 | len(head)).to_bytes(_HEADER_OCTETS, "big") + head
