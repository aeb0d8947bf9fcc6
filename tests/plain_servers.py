"""Other people's servers: small, blocking, in threads, each with manners of its own.

with PlainServer() as server:               serves server.files, as anybody would
with PlainServer(converse) as server:       each connection is handed to converse(peer)
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable

from filetransfer.errors import Exists, NotFound, RequestRefused, Unsupported
from filetransfer.wire.connection import ServerConnection
from filetransfer.wire.messages import (
    BodyEnd,
    Change,
    Content,
    Done,
    EndOfMessages,
    Get,
    Help,
    HelpText,
    Put,
    Refused,
    Unknown,
)

HELP_TEXT = "bye change get help put summary"
READ_OCTETS = 256 * 1024


class Peer:
    """One connection, as a server sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection

    def read(self, count: int) -> bytes:
        """Read exactly so many octets; fewer at the end of the connection."""
        octets = b""
        while len(octets) < count:
            more = self.socket.recv(count - len(octets))
            if not more:
                break
            octets += more
        return octets

    def read_some(self) -> bytes:
        return self.socket.recv(READ_OCTETS)

    def write(self, octets: bytes) -> None:
        self.socket.sendall(octets)

    def read_until_end(self) -> None:
        """Wait until the client is gone."""
        while self.read_some():
            pass

    def reset(self) -> None:
        """End the connection rudely."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


class PlainServer:
    """A server on a free port of 127.0.0.1.

    Args:
        converse: speaks with one client; the connection is closed when it returns.

    Attributes:
        files: what it serves, if it is not told to do something else.
        connections: how many there have been.
    """

    def __init__(self, converse: Callable[[Peer], None] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.connections = 0
        self._converse = converse or self.serve
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._is_ending = False
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> PlainServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_ending = True
        with socket.create_connection(("127.0.0.1", self.port)):
            self._accepting.join()
        self._listener.close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._is_ending:
                connection.close()
                return
            self.connections += 1
            with self._lock:
                self._open.add(connection)
            thread = threading.Thread(target=self._speak, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _speak(self, connection: socket.socket) -> None:
        try:
            self._open_conversation(connection)
            self._converse(Peer(connection))
        except OSError:
            # The client was gone first.
            pass
        finally:
            with self._lock:
                self._open.discard(connection)
                connection.close()

    def _open_conversation(self, connection: socket.socket) -> None:
        """Say to a client that asks for version 2 what a server says that knows no such request."""
        if connection.recv(1, socket.MSG_PEEK) == b"\xe0":
            connection.recv(1)
            connection.sendall(b"\x80")

    def serve(self, peer: Peer, *, responses: int = 0, at_a_time: int = 0) -> None:
        """Serve the files.

        Args:
            peer: to whom.
            responses: end after so many; 0 for as many as are asked for.
            at_a_time: octets in each write; 0 for all.
        """
        decoder = ServerConnection()
        answered = 0
        request: object = None
        body = bytearray()
        while octets := peer.read_some():
            decoder.receive(octets)
            replies = bytearray()
            while True:
                body += decoder.take_body(decoder.run)
                event = decoder.next_event()
                if event is None or isinstance(event, EndOfMessages):
                    break
                if isinstance(event, Put):
                    request = event
                    body.clear()
                    continue
                if isinstance(event, BodyEnd):
                    event = request
                replies += self._answer(decoder, event, bytes(body))
                answered += 1
                if answered == responses:
                    break
            for start in range(0, len(replies), at_a_time or len(replies) or 1):
                peer.write(replies[start : start + (at_a_time or len(replies))])
            if responses and answered == responses:
                return

    def _answer(self, decoder: ServerConnection, request: object, body: bytes) -> bytes:
        try:
            response, content = self._do(request, body)
        except RequestRefused as refusal:
            response, content = Refused(refusal), b""
        return decoder.encode(response, request) + content  # type: ignore[arg-type]

    def _do(self, request: object, body: bytes) -> tuple[Done | Content | HelpText, bytes]:
        match request:
            case Put():
                self.files[request.path] = body
                return Done(), b""
            case Get():
                if request.path not in self.files:
                    raise NotFound("not found", about="path")
                octets = self.files[request.path]
                return Content(request.path, len(octets)), octets
            case Change():
                if request.path not in self.files:
                    raise NotFound("not found", about="path")
                if request.to in self.files:
                    raise Exists("exists", about="to")
                self.files[request.to] = self.files.pop(request.path)
                return Done(), b""
            case Help():
                return HelpText(HELP_TEXT), b""
            case Unknown():
                raise Unsupported("no such request")
        raise NotFound("not found", about="path")
