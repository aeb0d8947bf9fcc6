"""What both ends of a connection drive: octets in, messages out, and the octets of bodies let past.

The driver feeds what it read (:meth:`receive`), then pulls events until there are none (:meth:`next_event`). Pull, not
callbacks: a driver whose disk is busy stops asking, and that is all there is to back-pressure.

While :attr:`run` is above 0, the next ``run`` octets from the peer are body. Those that were fed already are taken
with :meth:`take_body`; the rest may be fed and taken, or moved straight from the socket and reported with
:meth:`body_moved`. Then :meth:`next_event` goes on, with :class:`~filetransfer.wire.messages.BodyEnd` first.

This is the one place that knows which version a connection speaks. Field widths live in the versions' modules.
"""

from __future__ import annotations

from filetransfer.wire import v1
from filetransfer.wire.messages import Event

__all__ = ["ClientConnection", "Event", "ServerConnection"]


class ServerConnection(v1.ServerCodec):
    """The server's end."""

    __slots__ = ()


class ClientConnection(v1.ClientCodec):
    """The client's end."""

    __slots__ = ()
