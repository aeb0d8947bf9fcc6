"""What the decoders of both versions and both ends share: the unparsed octets, the run of a body, the loop of states.

A decoder is fed with octets and asked for events. Octets of a body are no events: while ``run`` is above 0 the next
``run`` octets are body, and the driver takes those that were fed already (:meth:`Decoder.take_body`), or moves them
itself and says so (:meth:`Decoder.body_moved`).

There is one reader for each state. It has all that its state waits for, or it leaves the octets alone and returns
None: so how they were split cannot make a difference. When it has, it returns the event, or calls the next state's
reader.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import ClassVar

from filetransfer.errors import LocalProtocolError, RemoteProtocolError
from filetransfer.wire.messages import BodyEnd, EndOfMessages, Event


class State(IntEnum):
    """What a decoder waits for. Which state follows which stands in the versions' modules."""

    AWAITING_HEADER = 0
    AWAITING_NAME = 1
    AWAITING_SIZE = 2
    RECEIVING_BODY = 3
    DISCARDING_BODY = 4
    FRAMED_TEXT = 5
    BARE_TEXT = 6


AWAITING_HEADER = State.AWAITING_HEADER
AWAITING_NAME = State.AWAITING_NAME
AWAITING_SIZE = State.AWAITING_SIZE
RECEIVING_BODY = State.RECEIVING_BODY
DISCARDING_BODY = State.DISCARDING_BODY
FRAMED_TEXT = State.FRAMED_TEXT
BARE_TEXT = State.BARE_TEXT

# Of a body behind which nothing is said. One for all: nobody changes it.
_END = BodyEnd()


class Decoder:
    """What both ends share: the unparsed octets, the run of a body, the loop over the states.

    Attributes:
        state: what it waits for.
        run: octets of the current body that were neither taken nor moved yet, >= 0.
    """

    __slots__ = ("_code", "_is_at_eof", "_length", "_octets", "_path", "_position", "run", "state")

    _readers: ClassVar[tuple[Callable[..., Event | None], ...]]

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

    @property
    def has_body(self) -> bool:
        """Whether the message that was given last has a body whose end was not given yet."""
        return self.state is RECEIVING_BODY or self.state is DISCARDING_BODY

    def next_event(self) -> Event | None:
        """Pull the next event out.

        Returns:
            None when more octets are needed, or when octets of a body must be taken first.

        Raises:
            RemoteProtocolError: the peer broke the rules, or its octets ended inside a message.
        """
        event = self._readers[self.state](self)
        # A body that is all there can still be taken, by a driver that is slow; one that is not will never be whole.
        if event is None and self._is_at_eof and (not self.run or self.run > self.available):
            raise RemoteProtocolError("the connection ended inside a message")
        return event

    def take_body(self, limit: int) -> bytes:
        """Take octets of the body that were fed already: at most ``limit``, and none of the next message."""
        # All of a small body, mostly.
        start = self._position
        count = min(limit, self.run)
        octets = self._octets[start : start + count]
        count = len(octets)
        self._position = start + count
        self.run -= count
        return octets

    def body_moved(self, count: int) -> None:
        """Take note that ``count`` octets of the body went past the decoder, straight from the socket.

        Raises:
            LocalProtocolError: more than the body has, or octets that were fed had to go first.
        """
        if not 0 <= count <= self.run or (count and self.available):
            raise LocalProtocolError(
                f"{count} octets moved, of a run of {self.run} with {self.available} fed"
            )
        self.run -= count

    def discard_body(self) -> None:
        """Throw away the rest of the body; its :class:`BodyEnd` comes all the same."""
        if self.state is RECEIVING_BODY:
            self.state = DISCARDING_BODY

    # What the readers of both versions have in common.

    def take(self, count: int) -> bytes | None:
        """Take octets that are parsed at once; None when they have not all come."""
        end = self._position + count
        if len(self._octets) < end:
            return None
        octets = self._octets[self._position : end]
        self._position = end
        return octets

    def read_end(self) -> Event | None:
        """Say whether there will be a next message, of which nothing has come."""
        return EndOfMessages() if self._is_at_eof else None

    def read_body(self) -> Event | None:
        """Wait until the driver has moved the run."""
        if self.run:
            return None
        self.state = AWAITING_HEADER
        return _END

    def read_discarded(self) -> Event | None:
        """Throw the run away as it comes."""
        self.discard_run()
        return self.read_body()

    def discard_run(self) -> None:
        """Throw away what there is of the run."""
        self._position += (count := min(self.run, self.available))
        self.run -= count
