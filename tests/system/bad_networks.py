"""A proxy that forwards a connection up to some octet, and then does what bad networks do."""

from __future__ import annotations

import select
import socket
import struct
import threading
from enum import Enum

READ_OCTETS = 65536
TO_DAEMON, TO_CLIENT = 0, 1


class Act(Enum):
    """What happens at that octet."""

    CLOSE = "close"
    RESET = "reset"
    STALL = "stall"
    TRICKLE = "trickle"
    """From the first one on: every octet goes on its own."""


class Proxy:
    """Forwards one connection. Use it as a context manager, which waits for its end.

    Args:
        port: where it goes to, on 127.0.0.1.
        direction: whose octets are counted.
        count: how many go through.
        act: what happens then.

    Attributes:
        address: where to connect.
    """

    def __init__(self, port: int, direction: int, count: int, act: Act) -> None:
        self._port = port
        self._direction = direction
        self._left = count
        self._act = act
        self._is_over = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = self._listening.getsockname()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._listening.close()

    def _run(self) -> None:
        near, _ = self._listening.accept()
        with near, socket.create_connection(("127.0.0.1", self._port)) as far:
            try:
                self._forward(near, far)
            except ConnectionError:
                # One end was quicker, and reset it.
                return

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        ways = {near: (far, TO_DAEMON), far: (near, TO_CLIENT)}
        open_ends = {near, far}
        while open_ends:
            for end in select.select(list(open_ends), [], [])[0]:
                other, direction = ways[end]
                octets = end.recv(1 if self._act is Act.TRICKLE else READ_OCTETS)
                if not octets:
                    open_ends.remove(end)
                    other.shutdown(socket.SHUT_WR)
                elif self._act is Act.TRICKLE or direction != self._direction:
                    other.sendall(octets)
                else:
                    other.sendall(octets[: self._left])
                    self._left -= len(octets)
                    if self._left <= 0:
                        self._do(near, far)
                        return

    def _do(self, near: socket.socket, far: socket.socket) -> None:
        if self._act is Act.RESET:
            for end in (near, far):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif self._act is Act.STALL:
            # Until whoever waits at one of the ends has had enough.
            while not self._is_over.is_set():
                ready, _, _ = select.select([far], [], [], 0.1)
                if ready and not far.recv(READ_OCTETS):
                    return
