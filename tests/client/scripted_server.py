"""A version 2 server that the test plays, over a link of the rig: it reads requests, and says what it is told.

server = ScriptedServer(rig.link)           answers E0 with its greeting
server.read()                               the requests that came whole since the last look, with their bodies
server.answer(Done(...))                    answers the oldest request that has no answer
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import xxhash
from client_rig import Link

from filetransfer.errors import RequestRefused
from filetransfer.wire.connection import begin_server
from filetransfer.wire.listing import encode_entry
from filetransfer.wire.messages import (
    BodyEnd,
    Content,
    Done,
    EndOfMessages,
    Entry,
    Greeting,
    Listing,
    Put,
    Refused,
    Request,
    Unavailable,
    VersionChosen,
    Working,
)

GREETING = Greeting(2, "scripted 1.0", ["resume", "durable"], {"pipeline": 256}, [])


def digest_of(octets: bytes) -> dict[str, bytes]:
    return {"xxh3-128": xxhash.xxh3_128_digest(octets)}


@dataclass
class Came:
    """A request, and its body if it has one."""

    request: Request
    body: bytes = b""
    end: BodyEnd | None = None
    runs: list[int] = field(default_factory=list)


class ScriptedServer:
    """One connection, as a server sees it."""

    def __init__(self, link: Link, greeting: Greeting | Unavailable = GREETING) -> None:
        self.link = link
        self.unanswered: deque[Request] = deque()
        self._end, octets = begin_server(greeting)
        assert octets == b""
        self._came: list[Came] = []
        self._at_hand: Came | None = None
        self.read()

    def read(self) -> list[Came]:
        """Give what came whole since the last call."""
        self._end.receive(self.link.sent())
        while not isinstance(event := self._next(), EndOfMessages | None):
            if isinstance(event, VersionChosen):
                self._end = event.connection
                self.link.receive(event.octets)
            elif isinstance(event, BodyEnd):
                assert self._at_hand is not None
                self._at_hand.end = event
                self._came.append(self._at_hand)
            elif hasattr(event, "path") or type(event).__name__ in (
                "Help",
                "Stat",
                "Delete",
                "List",
            ):
                self._at_hand = Came(event)  # type: ignore[arg-type]
                self.unanswered.append(event)  # type: ignore[arg-type]
                if not isinstance(event, Put):
                    self._came.append(self._at_hand)
        came, self._came = self._came, []
        return came

    def _next(self) -> Any:
        while self._end.run and self._end.available:
            assert self._at_hand is not None
            self._at_hand.runs.append(self._end.run)
            self._at_hand.body += self._end.take_body(self._end.run)
        return self._end.next_event()

    @property
    def begun(self) -> Came | None:
        """The request whose body is coming."""
        self.read()
        return self._at_hand

    def encode(self, response: Any, body: bytes = b"", end: BodyEnd | None = None) -> bytes:
        """Give the octets of the answer to the oldest request that has none."""
        request = self.unanswered[0]
        if not isinstance(response, Working):
            self.unanswered.popleft()
        if isinstance(response, RequestRefused):
            response = Refused(response)
        octets = self._end.encode(response, request)
        if not isinstance(response, Content | Listing):
            return octets
        run = self._end.encode_run(len(body)) + body if body else b""
        return octets + run + self._end.encode_body_end(end or BodyEnd(digest_of(body)))

    def answer(self, response: Any, body: bytes = b"", end: BodyEnd | None = None) -> None:
        self.link.receive(self.encode(response, body, end))

    def content(self, octets: bytes, **known: Any) -> None:
        """Answer a GET with a file."""
        request = self.unanswered[0]
        offset = getattr(request, "offset", 0)
        body = octets[offset:]
        if getattr(request, "count", None) is not None:
            body = body[: request.count]  # type: ignore[union-attr]
        head = {"etag": "e1", "modified": 1, "mode": 0o644} | known
        self.answer(Content("", len(octets), offset, **head), body)  # type: ignore[arg-type]

    def listing(self, entries: list[Entry], more: str | None = None) -> None:
        self.answer(Listing(), b"".join(map(encode_entry, entries)), BodyEnd(more=more))

    def done(self, octets: bytes = b"") -> None:
        """Answer a PUT."""
        self.answer(Done(len(octets), "e1", digest_of(octets)))
