"""The examples of version 2 in docs/protocol.rst, each a connection: heard by one end, and said again by the other."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import xxhash
from packing import read_octets

from filetransfer.errors import RemoteProtocolError, Unsupported
from filetransfer.wire.connection import ClientEnd, ServerEnd, begin_client, begin_server
from filetransfer.wire.messages import (
    BodyEnd,
    BodyRun,
    Content,
    Greeting,
    Help,
    Malformed,
    Put,
    Refused,
    Unavailable,
    Unknown,
    VersionChosen,
    Working,
)
from filetransfer.wire.v2 import ClientCodec

PAGE = Path(__file__).parents[2] / "docs" / "protocol.rst"
NOT_SAYABLE = (Unknown, Malformed)

Example = list[tuple[str, str]]


def read_examples() -> list[Example]:
    """Find the runs of lines ``    > octets`` and ``    < octets`` behind the chapter's heading."""
    examples: list[Example] = [[]]
    _, version_2 = PAGE.read_text().split("\nVersion 2\n")
    for line in version_2.splitlines():
        if found := re.fullmatch(r" {4}([<>]) (.+)", line):
            examples[-1].append((found[1], found[2]))
        elif examples[-1]:
            examples.append([])
    return [example for example in examples if example]


EXAMPLES = read_examples()


def list_opening() -> Example:
    """The question, its answer and the greeting, which all but the first examples leave out."""
    first = EXAMPLES[0]
    directions = "".join(direction for direction, _ in first)
    return first[: directions.index(">", 1)]


def read_side(example: Example, side: str) -> bytes:
    return b"".join(read_octets(text) for direction, text in example if direction == side)


@dataclass
class Heard:
    """A message, the octets that it came in, and its body; ``end`` is None where it has none."""

    message: Any
    octets: bytes
    runs: list[bytes] = field(default_factory=list)
    end: BodyEnd | None = None


def hear(end: Any, octets: bytes) -> list[Heard]:
    """Feed all there is, and give the messages; raises what the end raises."""
    end.receive(octets)
    heard: list[Heard] = []
    position = 0
    while (event := end.next_event()) is not None:
        if isinstance(event, BodyRun):
            heard[-1].runs.append(end.take_body(end.run))
        elif isinstance(event, BodyEnd):
            heard[-1].end = event
        else:
            heard.append(Heard(event, b""))
        if isinstance(event, VersionChosen):
            end = event.connection
        reached = len(octets) - end.available
        heard[-1].octets += octets[position:reached]
        position = reached
    assert end.is_between_messages
    return heard


def write_body(end: ClientEnd | ServerEnd, heard: Heard) -> bytes:
    if heard.end is None:
        return b""
    runs = b"".join(end.encode_run(len(run)) + run for run in heard.runs)
    return runs + end.encode_body_end(heard.end)


def test_examples_of_version_2_are_found() -> None:
    """A change of the page's form must not leave its examples untried."""
    assert len(EXAMPLES) >= 18
    assert list_opening()[:2] == [(">", "E0"), ("<", "E0")]


def test_every_request_has_an_example() -> None:
    octets = b"".join(
        read_side(example, ">") for example in EXAMPLES[3:] if ("<", "closed") not in example
    )
    server, _ = begin_server(Greeting(2))
    kinds = {type(heard.message).__name__ for heard in hear(server, b"\xe0" + octets)}
    assert kinds == {
        *["VersionChosen", "Malformed", "Unknown", "Put", "Get", "Change", "Summary", "Help"],
        *["List", "Stat", "Delete", "MakeDirectory", "Authenticate", "Digest", "Copy"],
    }


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_example_of_version_2(example: Example) -> None:
    if example[0] != (">", "E0"):
        example = [*list_opening(), *example]
    if ("<", "closed") in example:
        server, _ = begin_server(Greeting(2))
        with pytest.raises(RemoteProtocolError):
            hear(server, read_side(example, ">"))
        return
    said, answered = read_side(example, ">"), read_side(example, "<")
    if answered.startswith(b"\x80"):
        check_version_1(said, answered)
        return

    # What the server says first is a greeting that our server can say.
    opening = ClientCodec()
    opening.receive(answered[1:])
    greeting = opening.next_event()
    assert isinstance(greeting, Greeting | Unavailable)
    server, _ = begin_server(greeting)
    client, first = begin_client((1, 2))
    assert said.startswith(first)
    if isinstance(greeting, Unavailable):
        server.receive(said)
        chosen = server.next_event()
        assert isinstance(chosen, VersionChosen)
        assert chosen.octets == answered
        return

    chosen, *requests = hear(server, said)
    assert answered.startswith(chosen.message.octets)
    server = chosen.message.connection
    client.receive(b"\xe0")
    begun = client.next_event()
    assert isinstance(begun, VersionChosen)
    client = begun.connection
    skipped = False
    for request in requests:
        if isinstance(request.message, NOT_SAYABLE):
            client.encode(Help())  # to which a refusal is an answer as well
            skipped = True
        else:
            # The body of what made no sense was thrown away when this one was looked for.
            written = client.encode(request.message) + write_body(client, request)
            assert request.octets.endswith(written) if skipped else request.octets == written
    _, *responses = hear(client, answered[1:])
    responses = [response for response in responses if not isinstance(response.message, Working)]
    assert len(responses) == len(requests)
    for request, response in zip(requests, responses, strict=True):
        if isinstance(request.message, NOT_SAYABLE):
            assert isinstance(response.message, Refused)
        written = server.encode(response.message, request.message) + write_body(server, response)
        assert written == response.octets
        for heard in (request, response):
            check_digest(heard)


def check_digest(heard: Heard) -> None:
    """Check that the digests on the page are what they are said to be."""
    is_whole = isinstance(heard.message, Put) and not heard.message.offset
    if (is_whole or isinstance(heard.message, Content)) and heard.end and not heard.end.refusal:
        digest = xxhash.xxh3_128_digest(b"".join(heard.runs))
        assert heard.end.digest == {"xxh3-128": digest}


def check_version_1(said: bytes, answered: bytes) -> None:
    """Check that the client goes on in version 1 with a server that has no other."""
    server, _ = begin_server(None)
    unknown, asked = hear(server, said)
    assert unknown.message == Unknown(7)
    octets = server.encode(Refused(Unsupported("")), unknown.message)
    client, first = begin_client((1, 2))
    client.receive(octets)
    chosen = client.next_event()
    assert isinstance(chosen, VersionChosen)
    client = chosen.connection
    assert first + client.encode(asked.message) == said
    (text,) = hear(client, answered[1:])
    assert octets + server.encode(text.message, asked.message) == answered
