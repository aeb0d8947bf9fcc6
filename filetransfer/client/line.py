"""A connection, as its two halves see it: the one that writes requests, and the one that receives bodies."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

from filetransfer.client.exchanges import Exchange
from filetransfer.wire.connection import ClientEnd


class Line(Protocol):
    """What :class:`~filetransfer.client.protocol.ClientProtocol` is to its halves.

    Attributes:
        transport: Twisted's.
        connection: the codec of the version that is spoken.
        unanswered: exchanges whose requests were written, at least in part, oldest first.
        is_over: whether nothing can be written or received any more.
    """

    transport: Any
    connection: ClientEnd
    unanswered: deque[Exchange[Any]]
    is_over: bool

    def note_move(self) -> None:
        """Take note that something moves."""

    def watch(self) -> None:
        """See to it that something moves until all is answered."""

    def go_on(self) -> None:
        """Take what the decoder has."""

    def drop(self) -> None:
        """Give the connection up, at once, with nothing wrong at the other end."""
