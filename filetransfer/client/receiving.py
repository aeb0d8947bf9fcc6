"""Receiving: what a connection does with the bodies of responses, on their way to whoever asked for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from filetransfer.wire.connection import ClientEnd

MAX_DISCARDED_OCTETS = 1024 * 1024
"""The rest of a body that nobody wants any more is read up to this size; beyond, a new connection is cheaper."""


class FedBody:
    """A body whose octets are looked at as they come: a list.

    Args:
        source: the decoder.
        feed: given octets. Raises RemoteProtocolError.
        finish: told that the body has ended, and what was said behind it. Raises RemoteProtocolError.
    """

    def __init__(
        self, source: ClientEnd, feed: Callable[[bytes], None], finish: Callable[[Any], None]
    ) -> None:
        self._source = source
        self._feed = feed
        self._finish = finish

    def run_began(self) -> None:
        """Take note that the body goes on with another run."""

    def octets_came(self) -> None:
        """Take what was fed to the decoder."""
        if self._source.available:
            self._feed(self._source.take_body(self._source.run))

    def end(self, end: Any) -> None:
        """Take note that the body has ended, whole; and of what was said behind it."""
        self._finish(end)

    def fail(self, error: BaseException) -> None:
        """Take note that the body will not be whole."""


class BulkSource:
    """The decoder, but for one thing: what becomes of a body that cannot be written is decided by the protocol."""

    def __init__(self, connection: ClientEnd, give_up: Callable[[], None]) -> None:
        self._connection = connection
        self.discard_body = give_up
        self.take_body = connection.take_body
        self.body_moved = connection.body_moved

    @property
    def run(self) -> int:
        return self._connection.run

    @property
    def available(self) -> int:
        return self._connection.available
