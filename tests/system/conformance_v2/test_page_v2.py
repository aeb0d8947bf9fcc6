"""The examples of version 2 in docs/protocol.rst, each on a connection of its own, against a real daemon.

What differs from run to run is compared by its kind: texts for people, etags, times.
"""

from typing import Any

import msgspec
import pytest
from framing import Answer, read_map
from running import Daemon
from talking import Talk
from test_protocol_page import Example, parse_octets, read_examples

EXAMPLES = read_examples(is_version_2=True)

OTHER_SERVERS = {
    0: "its greeting and its refusal are another server's",
    1: "a server of version 1 answers",
    2: "a server that is busy answers",
}
"""Places of examples that show what this daemon does not say, and why."""

VOLATILE = {"etag", "message", "software", "text", "features", "requests", "limits", "modified"}


def parse_answers(octets: bytes) -> list[Answer]:
    answers = []
    start = 0

    def take(count: int) -> bytes:
        nonlocal start
        start += count
        assert start <= len(octets), "the page's octets end inside a message"
        return octets[start - count : start]

    def take_map() -> dict[str, Any]:
        return read_map(take(int.from_bytes(take(3), "big")))

    while start < len(octets):
        first = take(1)[0]
        head, body, trailer = take_map(), None, None
        if first & 0x80:
            body = b""
            while size := int.from_bytes(take(4), "big"):
                body += take(size)
            trailer = take_map()
        answers.append(Answer(first & 0x7F, head, body, trailer))
    return answers


def blur(answer: Answer) -> Answer:
    """Put its kind in the place of what differs from run to run."""
    body = answer.body
    if answer.trailer is not None and "digest" not in answer.trailer and body:
        # A listing of one entry.
        body = msgspec.msgpack.encode(blur_map(read_map(body)))
    return answer._replace(head=blur_map(answer.head), body=body)


def blur_map(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: type(value).__name__ if name in VOLATILE else value
        for name, value in sorted(values.items())
    }


def join(example: Example, side: str) -> bytes:
    return b"".join(parse_octets(text) for direction, text in example if direction == side)


def test_other_servers_are_few() -> None:
    assert len(EXAMPLES) - len(OTHER_SERVERS) >= 16
    for place in OTHER_SERVERS:
        assert EXAMPLES[place][0] == (">", "E0")
    assert all((">", "E0") not in example for example in EXAMPLES[3:])


def test_daemon_answers_as_the_page_says(daemon: Daemon) -> None:
    """In the page's order: one example finds what those before it have stored."""
    for place, example in enumerate(EXAMPLES):
        if place in OTHER_SERVERS:
            continue
        with Talk(daemon.port) as talk:
            talk.send(join(example, ">"))
            if ("<", "closed") in example:
                assert talk.is_failed(), example
                continue
            talk.half_close()
            answers = [blur(answer) for answer in talk.answers_until_the_end()]
            assert answers == [blur(each) for each in parse_answers(join(example, "<"))], example


@pytest.mark.parametrize("place", [0])
def test_greeting_has_the_keys_of_the_page(daemon: Daemon, place: int) -> None:
    answered = join(EXAMPLES[place], "<")
    assert answered[:1] == b"\xe0"
    with Talk(daemon.port) as talk:
        greeting, _ = parse_answers(answered[1:])
        assert blur(talk.greeting) == blur(greeting)
