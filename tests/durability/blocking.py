"""A blocking client that speaks version 2, for as long as the daemon lives."""

from __future__ import annotations

import socket
from typing import Any

from filetransfer.digests import start_digest
from filetransfer.wire.connection import begin_client
from filetransfer.wire.messages import BodyEnd, Greeting, Request, VersionChosen


class Speaker:
    """One connection, to be used with ``with``. What a lost connection brings is ConnectionError."""

    def __init__(self, address: Any) -> None:
        self._socket = socket.create_connection(address, timeout=60)
        self.connection: Any
        self.connection, octets = begin_client((2,))
        try:
            self.send(octets)
            assert isinstance(self.hear(), Greeting)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Speaker:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        self._socket.sendall(octets)

    def hear(self) -> Any:
        """Wait for what the daemon says next."""
        while True:
            event = self.connection.next_event()
            if isinstance(event, VersionChosen):
                self.connection = event.connection
            elif event is not None:
                return event
            else:
                octets = self._socket.recv(65536)
                if not octets:
                    raise ConnectionResetError
                self.connection.receive(octets)

    def ask(self, request: Request) -> Any:
        """Send a request without a body, and give its response."""
        self.send(self.connection.encode(request))
        return self.hear()

    def put(self, request: Any, octets: bytes, digest: dict[str, bytes]) -> Any:
        """Send a file, or the rest of one, and give the response."""
        body = self.connection.encode_run(len(octets)) + octets if octets else b""
        end = self.connection.encode_body_end(BodyEnd(digest))
        self.send(self.connection.encode(request) + body + end)
        return self.hear()


def xxh3(octets: bytes) -> dict[str, bytes]:
    """Give the digest that a file is sent with."""
    running = start_digest()
    running.update(octets)
    return {"xxh3-128": running.digest()}
