"""Servers that speak version 2, small and blocking: what they answer is what the test says.

with Version2Server({Stat: lambda request, body: Status("file", 3)}) as server: ...

An answer is a response, a refusal (raised or given), or a pair: a head, and the octets of its body.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

import xxhash
from plain_servers import Peer, PlainServer

from filetransfer.errors import RequestRefused, Unsupported
from filetransfer.wire.connection import begin_server
from filetransfer.wire.listing import encode_entry
from filetransfer.wire.messages import (
    BodyEnd,
    BodyRun,
    Content,
    EndOfMessages,
    Entry,
    Greeting,
    Help,
    HelpText,
    Listing,
    Put,
    Refused,
    Request,
    Unavailable,
    VersionChosen,
)

GREETING = Greeting(2, "scripted 1.0", ["digests", "durable"], {"path": 4096}, [])

Answer = Callable[[Any, bytes], Any]


def digest_of(octets: bytes) -> dict[str, bytes]:
    return {"xxh3-128": xxhash.xxh3_128_digest(octets)}


def list_entries(*entries: Entry) -> tuple[Listing, bytes]:
    """Give the answer to a LIST."""
    return Listing(), b"".join(map(encode_entry, entries))


class Version2Server(PlainServer):
    """A server on a free port of 127.0.0.1.

    Args:
        answers: from a kind of request to what answers it; others are unsupported.
        greeting: what it says first.

    Attributes:
        asked: the requests that came, in order.
    """

    def __init__(
        self,
        answers: Mapping[type, Answer] | None = None,
        greeting: Greeting | Unavailable = GREETING,
    ) -> None:
        self.answers: dict[type, Answer] = {
            Help: lambda *_: HelpText("help yourself", software="scripted 1.0")
        }
        self.answers |= answers or {}
        self.asked: list[Request] = []
        self._greeting = greeting
        super().__init__(self._speak_version_2)

    def _open_conversation(self, connection: socket.socket) -> None:
        """The client is answered by :meth:`_speak_version_2`."""

    def _speak_version_2(self, peer: Peer) -> None:
        end, octets = begin_server(self._greeting)
        peer.write(octets)
        request: Any = None
        body = bytearray()
        while octets := peer.read_some():
            end.receive(octets)
            while True:
                body += end.take_body(end.run)
                event = end.next_event()
                if event is None:
                    break
                if isinstance(event, EndOfMessages):
                    return
                if isinstance(event, VersionChosen):
                    end = event.connection
                    peer.write(event.octets)
                elif isinstance(event, BodyEnd):
                    peer.write(self._answer(end, request, bytes(body)))
                    body.clear()
                elif not isinstance(event, BodyRun):
                    request = event
                    if not isinstance(event, Put):
                        peer.write(self._answer(end, request, b""))

    def _answer(self, end: Any, request: Any, body: bytes) -> bytes:
        self.asked.append(request)
        try:
            answer = self.answers.get(type(request), _refuse)(request, body)
        except RequestRefused as refusal:
            answer = refusal
        if isinstance(answer, RequestRefused):
            answer = Refused(answer)
        response, content = answer if isinstance(answer, tuple) else (answer, b"")
        octets: bytes = end.encode(response, request)
        if not isinstance(response, Content | Listing):
            return octets
        run = end.encode_run(len(content)) + content if content else b""
        ended = BodyEnd(digest_of(content)) if isinstance(response, Content) else BodyEnd()
        return octets + run + end.encode_body_end(ended)


def _refuse(request: Any, body: bytes) -> RequestRefused:
    return Unsupported("this server cannot do it")
