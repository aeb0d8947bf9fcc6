"""A proxy between a client and the daemon that cuts, delays, splits, drops answers and flips bits."""

import contextlib
import random
import select
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from running import DEADLINE_SECONDS

MOST_OCTETS = 65_536


@dataclass
class Weather:
    """What becomes of the octets of one connection.

    Attributes:
        cut_up: reset both sides when so many octets of the client's were passed on; None: never.
        cut_down: the same for the server's.
        drops_down: read the server's octets from this one on, and let the client have none of them.
        flip_up: a bit of the client's octet at this place is flipped.
        flip_down: a bit of the server's.
        split: the most octets passed on at a time, for each time.
    """

    cut_up: int | None = None
    cut_down: int | None = None
    drops_down: int | None = None
    flip_up: int | None = None
    flip_down: int | None = None
    split: Callable[[], int] = field(default=lambda: MOST_OCTETS)


def make_splitter(seed: int) -> Callable[[], int]:
    chance = random.Random(seed)
    return lambda: chance.choice((1, 2, 3, 7, 100, 1_000, 4_096, MOST_OCTETS))


class Proxy:
    """Listens on loopback and passes on to a port there, each connection in its own weather.

    Attributes:
        port: where it listens.
        passed_up: octets of clients' that were passed on, over all connections.
        dropped: octets of the server's that no client was given.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.weather = Weather()
        self.passed_up = 0
        self.dropped = bytearray()
        self.has_dropped = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def __enter__(self) -> "Proxy":
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._acceptor.join(DEADLINE_SECONDS)
        for thread in self._threads:
            thread.join(DEADLINE_SECONDS)
            assert not thread.is_alive()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._pass_on, args=(client, self.weather))
            thread.start()
            self._threads.append(thread)

    def _pass_on(self, client: socket.socket, weather: Weather) -> None:
        server = socket.create_connection(("127.0.0.1", self.target))
        with client, server:
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            is_cut = True
            with contextlib.suppress(ConnectionError):
                is_cut = self._pump(client, server, weather)
            if is_cut:
                for each in (client, server):
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _pump(self, client: socket.socket, server: socket.socket, weather: Weather) -> bool:
        """Pass octets on until the server ends, or the weather cuts; give whether it did."""
        up = down = 0
        sides = [client, server]
        while True:
            readable, _, _ = select.select(sides, [], [], DEADLINE_SECONDS)
            if client in readable:
                octets = self._take(client, weather, up, weather.cut_up)
                server.sendall(_flip(octets, up, weather.flip_up))
                up += len(octets)
                self.passed_up += len(octets)
                if up == weather.cut_up:
                    return True
                if not octets:
                    server.shutdown(socket.SHUT_WR)
                    sides = [server]
            if server in readable:
                octets = self._take(server, weather, down, weather.cut_down)
                kept = octets
                if weather.drops_down is not None:
                    kept = octets[: max(weather.drops_down - down, 0)]
                    self.dropped += octets[len(kept) :]
                client.sendall(_flip(kept, down, weather.flip_down))
                down += len(octets)
                if kept != octets:
                    self.has_dropped.set()
                    return True
                if down == weather.cut_down:
                    return True
                if not octets:
                    return False

    @staticmethod
    def _take(side: socket.socket, weather: Weather, passed: int, cut: int | None) -> bytes:
        most = weather.split()
        return side.recv(most if cut is None else min(most, cut - passed))


def _flip(octets: bytes, start: int, place: int | None) -> bytes:
    if place is None or not start <= place < start + len(octets):
        return octets
    flipped = bytearray(octets)
    flipped[place - start] ^= 0x10
    return bytes(flipped)
