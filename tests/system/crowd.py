"""Peers by the thousand, in a process of their own: python crowd.py KIND PORT COUNT SECONDS

    slowloris      begins a request, and sends an octet of its name every few seconds
    silent         connects, and says nothing: on a port of TLS no handshake begins
    slow-reader    asks for a large file, and takes an octet of it now and then
    idle           asks for one octet, takes it, and stays
    get            asks for one octet again and again, on one connection, and measures how long each takes
    put            uploads a mebibyte again and again

Whoever is cut comes again until the time is over. Connections come from addresses of 127.0.0.0/8, 200 of each, as the
limits of an address have it. At the end one line of JSON says what was met; "left" are those that the daemon has not
cut within 100 s more.
"""

import json
import os
import socket
import sys
import time
from typing import Any

PEERS_AN_ADDRESS = 200
CONNECTS_A_TICK = 60
TICK_SECONDS = 0.25
PATIENCE_SECONDS = 100
GET = b"\x21a"
GET_BULK = b"\x24bulk"
ANSWER = b"\x21a\x00\x00\x00\x01x"


class Crowd:
    """Peers that want the worst."""

    def __init__(self, kind: str, port: int, count: int) -> None:
        self.kind = kind
        self.port = port
        self.count = count
        self.peers: dict[socket.socket, float] = {}
        self.made = self.cut = 0
        self.oldest = 0.0

    def fill(self) -> None:
        """Let some more come."""
        for _ in range(min(CONNECTS_A_TICK, self.count - len(self.peers))):
            peer = socket.socket()
            if self.kind == "slow-reader":
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            number = os.getpid() % 200 * 100 + (self.made % self.count) // PEERS_AN_ADDRESS
            peer.bind((f"127.{1 + number // 250}.{number % 250}.1", 0))
            peer.settimeout(5)
            try:
                peer.connect(("127.0.0.1", self.port))
                self.begin(peer)
            except OSError:
                peer.close()
                continue
            peer.setblocking(False)
            self.made += 1
            self.peers[peer] = time.monotonic()

    def begin(self, peer: socket.socket) -> None:
        if self.kind == "slowloris":
            peer.sendall(b"\x1f")
        elif self.kind == "slow-reader":
            peer.sendall(GET_BULK)
        elif self.kind == "idle":
            peer.sendall(GET)
            if peer.recv(len(ANSWER), socket.MSG_WAITALL) != ANSWER:
                raise ConnectionError("it was not served")

    def act(self, turn: int) -> None:
        """Do a little of what each does, and see who was cut."""
        for number, (peer, since) in enumerate(list(self.peers.items())):
            if (number + turn) % 16:
                continue
            try:
                if self.kind == "slowloris":
                    peer.send(b"a")
                # What had come before it was cut could still be taken.
                if peer.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) or peer.recv(1) == b"":
                    self.lose(peer, since)
            except BlockingIOError:
                continue
            except ConnectionError:
                self.lose(peer, since)

    def lose(self, peer: socket.socket, since: float) -> None:
        self.cut += 1
        self.oldest = max(self.oldest, time.monotonic() - since)
        del self.peers[peer]
        peer.close()

    def run(self, seconds: float) -> dict[str, Any]:
        began = time.monotonic()
        most = turn = 0
        while time.monotonic() - began < seconds:
            self.fill()
            self.act(turn := turn + 1)
            most = max(most, len(self.peers))
            time.sleep(TICK_SECONDS)
        ended = time.monotonic()
        while self.peers and self.kind != "idle" and time.monotonic() - ended < PATIENCE_SECONDS:
            self.act(turn := turn + 1)
            time.sleep(TICK_SECONDS / 4)
        return {
            "kind": self.kind,
            "made": self.made,
            "most": most,
            "cut": self.cut,
            "left": len(self.peers),
            "oldest_seconds": round(self.oldest, 1),
            "gone_after_seconds": round(time.monotonic() - ended, 1),
        }


def get(port: int, seconds: float) -> dict[str, Any]:
    """Measure what an honest peer waits."""
    times = []
    until = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (began := time.monotonic()) < until:
            peer.sendall(GET)
            assert peer.recv(len(ANSWER), socket.MSG_WAITALL) == ANSWER
            times.append(time.monotonic() - began)
            time.sleep(0.005)
    times.sort()
    return {
        "kind": "get",
        "count": len(times),
        **{
            f"p{share}_ms": round(times[int(len(times) * share / 100)] * 1000, 2)
            for share in (50, 99)
        },
        "max_ms": round(times[-1] * 1000, 2),
    }


def put(port: int, seconds: float) -> dict[str, Any]:
    """Upload a mebibyte again and again."""
    body = os.urandom(1 << 20)
    count = 0
    until = time.monotonic() + seconds
    with socket.create_connection(("127.0.0.1", port)) as peer:
        while time.monotonic() < until:
            peer.sendall(b"\x06upload" + len(body).to_bytes(4, "big") + body)
            assert peer.recv(1) == b"\0"
            count += 1
            time.sleep(0.1)
    return {"kind": "put", "count": count}


def main() -> None:
    kind, port, count, seconds = sys.argv[1], *map(int, sys.argv[2:5])
    if kind == "get":
        told = get(port, seconds)
    elif kind == "put":
        told = put(port, seconds)
    else:
        crowd = Crowd(kind, port, count)
        told = crowd.run(seconds)
    print(json.dumps(told))  # noqa: T201


main()
