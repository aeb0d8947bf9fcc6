"""How a connection comes to speak version 2 in the clear. Source: protocol, section 3."""

import itertools

import pytest
from framing import CHANGE, DONE, GET, HELP, PUT, STAT, ask, put, read_map, say_body, xxh3
from running import Daemon
from talking import Talk, converse

VERSION_1_HELP = b"\xdfbye change get help put summary"


def test_greeting(daemon: Daemon) -> None:
    """The octet, then a message of code 0, without a body."""
    with Talk(daemon.port, is_greeted=False) as talk:
        talk.send(b"\xe0")
        assert talk.read(2) == b"\xe0\x00"
        head = read_map(talk.read(int.from_bytes(talk.read(3), "big")))
        assert set(head) == {"version", "software", "features", "limits", "mechanisms"}
        assert head["version"] == 2
        assert isinstance(head["software"], str)
        assert head["limits"] == {"path": 4096, "head": 65536, "chunk": 1 << 24, "pipeline": 256}
        for name in ("features", "mechanisms"):
            assert all(isinstance(each, str) for each in head[name])
        assert talk.has_nothing_to_read()
        assert talk.ask(ask(HELP)).code == DONE


def test_requests_behind_the_octet_in_one_segment(town: Daemon) -> None:
    """A client must not, but octets that came with E0 are what follows it."""
    with Talk(town.port, is_greeted=False) as talk:
        talk.send(b"\xe0" + ask(HELP) + ask(GET, path="a.txt"))
        assert talk.read(1) == b"\xe0"
        assert [answer.body for answer in talk.answers(3)] == [None, None, b"hello"]


def test_first_request_octet_by_octet(town: Daemon) -> None:
    octets = ask(GET, path="a.txt")
    with Talk(town.port) as talk:
        for octet in octets:
            talk.send(bytes([octet]))
        assert talk.answer().body == b"hello"


@pytest.mark.parametrize("first", [b"\x80", b"\xa0", b"\xc5", b"\xe1", b"\xff"], ids=bytes.hex)
def test_version_1_octets_first(daemon: Daemon, first: bytes) -> None:
    """Then E0 is an unknown request, and the connection stays in version 1."""
    with Talk(daemon.port, is_greeted=False) as talk:
        talk.send(first + b"\xe0" + b"\x80" + b"\xe0")
        answer = VERSION_1_HELP if first == b"\x80" else b"\x80"
        expected = answer + b"\x80" + VERSION_1_HELP + b"\x80"
        assert talk.read(len(expected)) == expected
        talk.half_close()
        assert talk.read_to_the_end() == b""


def test_octet_alone_and_half_close(daemon: Daemon) -> None:
    with Talk(daemon.port) as talk:
        talk.half_close()
        assert talk.answers_until_the_end() == []


def test_nothing_and_half_close(daemon: Daemon) -> None:
    with Talk(daemon.port, is_greeted=False) as talk:
        talk.half_close()
        assert talk.read_to_the_end() == b""


# Every request, cut inside: what was asked before is answered, the rest is a truncation.
CUT = {
    "help": ask(HELP),
    "get": ask(GET, path="a.txt"),
    "stat": ask(STAT, path="a.txt"),
    "change": ask(CHANGE, path="a.txt", to="new"),
    "put": put("new", b"body", chunk=3),
    "put, no octets": put("new", b""),
    "put, no size": ask(PUT, {"path": "new"}, say_body([b"body"], {"digest": xxh3(b"body")})),
}


@pytest.mark.parametrize("octets", CUT.values(), ids=CUT)
def test_half_close_inside_a_request(town: Daemon, octets: bytes) -> None:
    before = town.list_visible()
    with Talk(town.port) as whole:
        kind = whole.ask(ask(HELP))
    for cut in range(1, len(octets)):
        answers = converse(town.port, ask(HELP) + octets[:cut])
        assert answers == [kind], cut
        assert town.list_visible() == before, cut
    for cut in (0, len(octets)):
        assert len(converse(town.port, ask(HELP) + octets[:cut])) == 1 + (cut > 0)


def test_half_close_between_requests(town: Daemon) -> None:
    """All that was read is answered, then the server closes."""
    octets = [ask(HELP), ask(GET, path="a.txt"), put("new", b"body"), ask(STAT, path="new")]
    for count, _ in enumerate(itertools.accumulate(octets), 1):
        answers = converse(town.port, b"".join(octets[:count]))
        assert [answer.code for answer in answers] == [DONE] * count


def test_connections_of_both_versions_side_by_side(town: Daemon) -> None:
    with Talk(town.port, is_greeted=False) as old, Talk(town.port) as new:
        old.send(b"\x05a.txt\0\0\0\x03old")
        assert old.read(1) == b"\x00"
        assert new.ask(ask(GET, path="a.txt")).body == b"old"
        assert new.ask(put("a.txt", b"new")).code == DONE
        old.send(b"\x25a.txt")
        assert old.read(13) == b"\x25a.txt\0\0\0\x03new"
