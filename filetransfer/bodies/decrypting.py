"""Receiving over TLS past the decoder: a mover's thread takes octets from the socket, decrypts and writes them.

    socket --recv--> buffer --OpenSSL--> buffer --pwrite--> file

The calls that cost, OpenSSL's included, let other threads run, and the buffers are the thread's: they stay warm, and a
thousand bodies that wait for their peers have none. Measured, PUT to tmpfs, of nginx's rate in the same run: 0.46 when
the reactor decrypted and each block went to a thread to be written; so, 0.78, 0.98 and 1.03 in three sets of runs, and
four bodies at a time 0.99 and 1.09.
"""

from __future__ import annotations

import threading
from time import monotonic
from typing import Any, Protocol

from filetransfer.bodies.movers import Movers
from filetransfer.bodies.past import Next, Sink
from filetransfer.bodies.watch import TURN_SECONDS, Watch

SEALED_OCTETS = 256 * 1024
"""Octets of TLS that are read at a time. Four bodies at a time made 0.94 of nginx's rate with 128 KiB, 0.99 with these
and 1.03 with 512 KiB, for which whoever writes to the connection meanwhile waits twice as long."""

MAX_DECRYPTERS = 2
"""Turns at a time. OpenSSL is asked for each record of 16 KiB, and whoever comes back from it wants the interpreter: of
nginx's rate in the same run, four bodies made 0.99 with two threads, 0.96 with one, 0.91 with three, 0.79 with eight.
A disk that hangs under two bodies stops all that come over TLS, but no other request."""

decrypters = Movers(MAX_DECRYPTERS)
"""Those of this process."""

_RECORD_OCTETS = 17 * 1024
"""What of a record may have come before: OpenSSL holds it until the rest is there."""


class Layer(Protocol):
    """TLS on a connection; see ``tls/layer.py``."""

    def decrypt(self, octets: memoryview, into: memoryview) -> tuple[int, bool]: ...
    def send_pending(self) -> None: ...


class Decrypting:
    """Octets on their way from a socket through OpenSSL into a file; see :class:`~filetransfer.bodies.past.Moving`.

    Args:
        watch: of the socket.
        sink: the file.
        count: how many octets, decrypted, > 0.
        layer: TLS on the connection.
    """

    def __init__(self, watch: Watch, sink: Sink, count: int, layer: Layer) -> None:
        self.left = count
        self.movers = decrypters
        self._watch = watch
        self._sink = sink
        self._layer = layer

    @property
    def expected(self) -> int:
        """See :attr:`Moving.expected`: they are more when they are encrypted, but for what has come before."""
        return max(0, self.left - _RECORD_OCTETS)

    def turn_ended(self) -> None:
        """See :meth:`Moving.turn_ended`."""
        self._layer.send_pending()

    def take_turn(self) -> Next:
        """See :meth:`Moving.take_turn`."""
        deadline = monotonic() + TURN_SECONDS
        sealed, octets = _take_buffers()
        while self.left and not self._watch.is_over and monotonic() < deadline:
            try:
                count = self._watch.receive_into(sealed)
            except BlockingIOError:
                return Next.WAIT
            except OSError:
                # Which the transport will find as well.
                return Next.LEAVE
            if not count:
                return Next.LEAVE
            count, goes_on = self._layer.decrypt(sealed[:count], octets[: self.left])
            self.left -= count
            self._sink.write(octets[:count])
            if not goes_on:
                return Next.LEAVE
        return Next.TURN


_of_thread = threading.local()


def _take_buffers() -> tuple[memoryview, memoryview]:
    buffers: Any = getattr(_of_thread, "buffers", None)
    if buffers is None:
        # What was read has no more octets when it is decrypted; with it comes what came of its first record before.
        sizes = SEALED_OCTETS, SEALED_OCTETS + _RECORD_OCTETS
        buffers = _of_thread.buffers = tuple(memoryview(bytearray(size)) for size in sizes)
    sealed, octets = buffers
    return sealed, octets
