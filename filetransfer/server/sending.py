"""The bodies of responses that are not held in memory, on their way to the peer: a file, or part of one.

A body is written by one coroutine when the turn of its response has come. It has the transport to itself, with no
producer registered, from its head to what stands behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from filetransfer.bodies.copied import Gate, read_exactly
from filetransfer.bodies.digesting import DigestBehind
from filetransfer.bodies.framing import split_tail
from filetransfer.bodies.route import send_body
from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.store.interface import Download
from filetransfer.wire.connection import ServerEnd
from filetransfer.wire.messages import BodyEnd


class OutgoingBody(Protocol):
    """The body of a response that is sent when its turn has come."""

    async def send(
        self, transport: Any, connection: ServerEnd, moved: Callable[[int], None]
    ) -> None:
        """Send it, and what stands behind it.

        Raises:
            TransferInterrupted: the peer is gone, or cannot be sent what it was promised: the connection is failed.
            OSError: the same.
        """

    def close(self) -> None:
        """Give up what it is made of; nothing is being sent any more. A second call does nothing."""


class OutgoingFile:
    """Octets of an open file.

    Args:
        download: the file; it is closed with this.
        offset: of the first octet, >= 0.
        count: how many octets, offset + count <= size.
        algorithm: of the digest that stands behind them.
        digest: that digest, if it is known.
    """

    def __init__(
        self,
        download: Download,
        offset: int,
        count: int,
        algorithm: str = DEFAULT_ALGORITHM,
        digest: bytes = b"",
    ) -> None:
        self._download = download
        self._offset = offset
        self._count = count
        self._algorithm = algorithm
        self._digest = digest

    async def send(
        self, transport: Any, connection: ServerEnd, moved: Callable[[int], None]
    ) -> None:
        """See :meth:`OutgoingBody.send`."""
        digesting = None
        if connection.has_trailers and not self._digest:
            digesting = DigestBehind(
                transport.reactor, self._download.fileno(), self._offset, self._algorithm
            )

        def note_moved(count: int) -> None:
            moved(count)
            if digesting is not None:
                digesting.moved(count)

        tail = split_tail(self._count, connection.max_run)
        descriptor, rest = self._download.fileno(), self._count - tail
        try:
            await send_body(transport, descriptor, self._offset, rest, note_moved, connection)
            octets = await read_exactly(descriptor, tail, self._offset + rest)
            note_moved(tail)
            digest = self._digest if digesting is None else await digesting.finish()
        finally:
            if digesting is not None:
                await digesting.stop()
        header = connection.encode_run(tail) if tail else b""
        end = connection.encode_body_end(BodyEnd({self._algorithm: digest}))
        async with Gate(transport) as gate:
            transport.write(header + octets + end)
            # Else who asks for many small files would never be made to wait.
            await gate.wait_until_open()

    def close(self) -> None:
        """See :meth:`OutgoingBody.close`."""
        self._download.close()
