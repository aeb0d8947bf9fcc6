"""The exchange that sends a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from filetransfer.client.exchanges import Exchange, Preserve, Progress, Transferred
from filetransfer.client.sending import frame_small
from filetransfer.client.sources import Body, Source, StreamBody
from filetransfer.wire.connection import ClientEnd
from filetransfer.wire.messages import Done, Put, Response


class PutExchange(Exchange[Transferred]):
    """Sends a file.

    Args:
        source: the file.
        request: all that is known before the file is opened; what is known then is added to it.
        preserves: whether the file's time of modification and its mode are sent as well.
        is_durable: asked, when it is stored, whether it is on stable storage then.
        progress: told of what moves.
    """

    __slots__ = ("_is_durable", "_mode", "_modified", "_preserves", "_request", "_source")

    def __init__(
        self,
        source: Source,
        request: Put,
        preserves: Preserve,
        is_durable: Callable[[], bool],
        progress: Progress | None = None,
    ) -> None:
        super().__init__(progress)
        self._is_durable = is_durable
        self._source = source
        self._request = request
        self._preserves = preserves
        self._modified = request.modified
        self._mode = request.mode

    @property
    def is_repeatable(self) -> bool:
        """A stream cannot be read twice; and of an upload that can be resumed it is asked first how far it came."""
        return self._source.is_repeatable and self._request.upload is None

    def open(self, connection: ClientEnd) -> tuple[bytes, Body | StreamBody | None]:
        """See :meth:`Exchange.open`."""
        body = self._source.open()
        try:
            if isinstance(body, Body):
                self._describe(body)
            head = connection.encode(self._request)
        except BaseException:
            body.close()
            raise
        if body.octets is None:
            return head, body
        octets = head + frame_small(connection, body.octets, body.prefix)
        self.body_moved(body.size)
        return octets, None

    def _describe(self, body: Body) -> None:
        """Say in the request what is known of the file now that it is open."""
        request = self._request
        request.offset = body.offset - body.origin
        request.size = request.offset + body.size
        if self._preserves:
            request.modified = body.modified if self._modified is None else self._modified
        if self._preserves is True:
            request.mode = body.mode if self._mode is None else self._mode
        self.begin_body(body.size, request.offset)

    def _find_result(self, response: Response) -> Transferred:
        done = cast(Done, response)
        if done.size is None:
            return Transferred(self._base + self.size, is_durable=self._is_durable())
        return Transferred(
            done.size,
            done.etag,
            done.digest,
            is_verified=True,
            is_durable=self._is_durable(),
            offset=self._base,
        )
