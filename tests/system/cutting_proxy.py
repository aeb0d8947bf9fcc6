"""Stands between a client and a server, and cuts connections or flips a bit on their way."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Sequence

from running import DEADLINE_SECONDS


class CuttingProxy:
    """Passes octets on.

    Args:
        port: of the server, on 127.0.0.1.
        cuts: after so many octets, in both directions together, the first connection is cut, the second, and so on;
            what comes after them is left alone.
        flip: the bit of this octet from the client, counted over all connections, is flipped; -1 for none.

    Attributes:
        port: where it listens.
        passed: octets that have gone by, in both directions.
        server: the port of the server; another may take its place. Who calls while there is none is cut.
    """

    def __init__(self, port: int, cuts: Sequence[int] = (), flip: int = -1) -> None:
        self.passed = 0
        self.server = port
        self._cuts = list(cuts)
        self._flip = flip
        self._from_client = 0
        self._lock = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def wait_for(self, count: int) -> None:
        """Wait until so many octets have gone by."""
        with self._lock:
            has_passed = self._lock.wait_for(lambda: self.passed >= count, DEADLINE_SECONDS)
        assert has_passed, f"{self.passed} octets of {count} have gone by"

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.server))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                # What waits here has gone by, and is lost with the connection: a network holds less than the 4 MiB
                # that the kernel would give.
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65_536)
            budget = [self._cuts.pop(0) if self._cuts else 1 << 62]
            for source, target in ((client, server), (server, client)):
                threading.Thread(
                    target=self._pass_on,
                    args=(source, target, budget, source is client),
                    daemon=True,
                ).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, budget: list[int], is_client: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while octets := bytearray(source.recv(65_536)):
                with self._lock:
                    del octets[budget[0] :]
                    budget[0] -= len(octets)
                    is_cut = budget[0] <= 0
                    self.passed += len(octets)
                    self._lock.notify_all()
                    if is_client:
                        place = self._flip - self._from_client
                        self._from_client += len(octets)
                        if 0 <= place < len(octets):
                            octets[place] ^= 1
                target.sendall(octets)
                if is_cut:
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
