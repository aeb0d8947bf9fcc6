"""Many requests at once: answers in order, effects in order, and bounded memory.

Source: protocol, section 2, "Order".
"""

import random
from pathlib import Path

import pytest
from framing import (
    CHANGE,
    COPY,
    DELETE,
    DIGEST,
    DONE,
    GET,
    HELP,
    LIST,
    MAKE_DIRECTORY,
    STAT,
    ask,
    put,
)
from running import Daemon
from talking import Talk, converse

BULK = bytes(range(256)) * 1_200


def read_status(daemon: Daemon, name: str) -> int:
    """Give a figure of the daemon's memory, in octets."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def test_more_than_are_worked_on_at_a_time(town: Daemon) -> None:
    octets = ask(HELP) + ask(GET, path="a.txt") + ask(STAT, path="d") + ask(GET, path="missing")
    answers = converse(town.port, octets * 400)
    assert [answer.body for answer in answers] == [None, b"hello", None, None] * 400
    assert [answer.error for answer in answers] == [None, None, None, "not-found"] * 400


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_small_files_up_and_down(daemon: Daemon, count: int) -> None:
    bodies = [b"%d" % number * (number % 50) for number in range(count)]
    octets = b"".join(put(f"f{number}", body) for number, body in enumerate(bodies))
    assert {answer.code for answer in converse(daemon.port, octets)} == {DONE}
    octets = b"".join(ask(GET, path=f"f{number}") for number in range(count))
    assert [answer.body for answer in converse(daemon.port, octets)] == bodies
    daemon.clear_root()


def test_each_request_sees_what_those_before_did(daemon: Daemon) -> None:
    octets = [
        (put("a", b"1"), None),
        (ask(GET, path="a"), None),
        (put("a", BULK), None),
        (ask(CHANGE, path="a", to="b"), None),
        (ask(GET, path="a"), "not-found"),
        (ask(GET, path="b"), None),
        (ask(MAKE_DIRECTORY, path="d"), None),
        (ask(CHANGE, path="b", to="d/b"), None),
        (ask(LIST, path="d"), None),
        (ask(DELETE, path="d"), "not-empty"),
        (ask(COPY, path="d/b", to="c"), None),
        (ask(DIGEST, path="c"), None),
        (ask(DELETE, path="d", recursive=True), None),
        (ask(GET, path="d/b"), "not-found"),
        (put("d/b", b"2"), "not-found"),
        (put("d/b", b"2", parents=True), None),
        (ask(GET, path="d/b"), None),
        (put("x" * 300, BULK), "name-invalid"),
        (ask(DELETE, path="c"), None),
        (ask(STAT, path="c"), "not-found"),
    ]
    rounds = 5
    answers = converse(daemon.port, (b"".join(each for each, _ in octets) + clear_away()) * rounds)
    per_round = len(octets) + 2
    assert [answer.error for answer in answers] == [
        *([error for _, error in octets] + [None, None]) * rounds
    ]
    for start in range(0, len(answers), per_round):
        one = answers[start : start + per_round]
        assert (one[1].body, one[5].body, one[16].body) == (b"1", BULK, b"2")
        assert one[8].body is not None
        assert b"d/b" in one[8].body


def clear_away() -> bytes:
    return ask(DELETE, path="d", recursive=True) + ask(LIST)


def test_a_long_way_round(daemon: Daemon) -> None:
    hops = 500
    octets = put("n0", b"x") + b"".join(
        ask(CHANGE, path=f"n{hop}", to=f"n{hop + 1}") for hop in range(hops)
    )
    answers = converse(daemon.port, octets + ask(GET, path=f"n{hops}"))
    assert answers[-1].body == b"x"
    assert {answer.code for answer in answers} == {DONE}


def test_any_sequence_has_the_effect_of_one_after_another(daemon: Daemon) -> None:
    """A model that does one request at a time says what each must answer."""
    chance = random.Random(7)
    files: dict[str, bytes] = {}
    octets, expected = b"", []
    for number in range(500):
        path, other = chance.choice("abc"), chance.choice("abc")
        match chance.randrange(5):
            case 0:
                body = b"%d" % number * chance.choice((1, 30_000))
                octets += put(path, body)
                files[path] = body
                expected.append((None, None))
            case 1:
                octets += ask(GET, path=path)
                known = path in files
                expected.append((None if known else "not-found", files.get(path)))
            case 2:
                octets += ask(DELETE, path=path)
                expected.append((None if files.pop(path, None) is not None else "not-found", None))
            case 3 if other != path:
                octets += ask(CHANGE, path=path, to=other, replace=True)
                if path in files:
                    files[other] = files.pop(path)
                    expected.append((None, None))
                else:
                    expected.append(("not-found", None))
            case _:
                octets += ask(STAT, path=path)
                expected.append((None if path in files else "not-found", None))
    answers = converse(daemon.port, octets)
    assert [(answer.error, answer.body) for answer in answers] == expected
    assert {each.name: each.read_bytes() for each in daemon.list_visible()} == files


def ask_for_help(daemon: Daemon, count: int) -> None:
    """Pipeline requests and read while writing; the daemon's memory must stay about what it was."""
    octets = ask(HELP)
    with Talk(daemon.port) as talk:
        talk.send(octets)
        answer = talk.read(int.from_bytes(talk.peek(4)[1:], "big") + 4)
        before = read_status(daemon, "VmRSS")
        for _ in range(count // 10_000):
            talk.send(octets * 10_000)
            assert talk.read(len(answer) * 10_000) == answer * 10_000
    assert read_status(daemon, "VmRSS") - before < 8 << 20


def test_100000_requests_for_help(daemon: Daemon) -> None:
    ask_for_help(daemon, 100_000)


@pytest.mark.long
def test_a_million_requests_for_help(daemon: Daemon) -> None:
    ask_for_help(daemon, 1_000_000)


def test_a_client_that_does_not_read(daemon: Daemon) -> None:
    """The server stops reading: that is back-pressure. Nothing is lost, and its memory stays bounded."""
    (daemon.root / "bulk").write_bytes(BULK)
    with Talk(daemon.port, receive_buffer=4096) as talk:
        before = read_status(daemon, "VmRSS")
        sent = talk.send_until_full(ask(GET, path="bulk"), 100_000)
        assert read_status(daemon, "VmRSS") - before < 8 << 20
        assert len(converse(daemon.port, ask(HELP))) == 1, "others are served meanwhile"
        for _ in range(min(sent, 100)):
            assert talk.answer().body == BULK
        talk.reset()
