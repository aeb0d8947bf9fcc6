"""Digests that catch every flipped bit, and preconditions that let exactly one of two writers win.

Source: protocol, section 2, "digest", "etag" and "Preconditions".
"""

import os
import threading
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
    PUT,
    STAT,
    ask,
    put,
    say_body,
    xxh3,
)
from running import Daemon
from talking import Talk, converse

WINDOW = 1 << 20
LARGE = os.urandom(3 * WINDOW + 12_345)
CHUNK = 700_001


def flip(octets: bytes, position: int, bit: int = 0) -> bytes:
    flipped = bytearray(octets)
    flipped[position] ^= 1 << bit
    return bytes(flipped)


def send_other(body: bytes, sent: bytes, *, in_head: bool = False, **keys: object) -> bytes:
    """Give a PUT whose digest is that of ``body``, and whose octets are others."""
    chunks = [sent[start : start + CHUNK] for start in range(0, len(sent), CHUNK)]
    digest = {"digest": xxh3(body)}
    head = {"path": "new", "size": len(body), **keys, **(digest if in_head else {})}
    return ask(PUT, head, say_body(chunks, {} if in_head else digest))


@pytest.mark.parametrize("in_head", [False, True], ids=["trailer", "head"])
def test_every_bit_of_a_small_body(daemon: Daemon, in_head: bool) -> None:
    body = b"a small body of some 30 octets"
    octets = b"".join(
        send_other(body, flip(body, position, bit), in_head=in_head)
        for position in range(len(body))
        for bit in range(8)
    )
    answers = converse(daemon.port, octets)
    assert [answer.error for answer in answers] == ["digest-mismatch"] * 8 * len(body)
    assert daemon.list_visible() == []


@pytest.mark.parametrize(
    "position",
    [
        *(0, 1, len(LARGE) - 2, len(LARGE) - 1),
        *(CHUNK * number + step for number in (1, 2, 4) for step in (-1, 0)),
        *(WINDOW * number + step for number in (1, 2, 3) for step in (-1, 0)),
        *(65_535, 65_536, len(LARGE) // 2),
    ],
)
@pytest.mark.parametrize("has_upload", [False, True], ids=["plain", "resumable"])
def test_a_bit_of_a_large_body(daemon: Daemon, position: int, has_upload: bool) -> None:
    (daemon.root / "new").write_bytes(b"old")
    token = {"upload": os.urandom(16)} if has_upload else {}
    octets = send_other(LARGE, flip(LARGE, position, position % 8), **token)
    answers = converse(daemon.port, octets + ask(GET, path="new"))
    assert answers[0].error == "digest-mismatch"
    assert answers[1].body == b"old"
    if has_upload:
        (gone,) = converse(daemon.port, ask(STAT, **token))
        assert gone.error == "not-found", "the part is removed"


def test_every_bit_of_the_digest(daemon: Daemon) -> None:
    octets = b"".join(
        ask(
            PUT,
            {"path": "new"},
            say_body([b"body"], {"digest": {"xxh3-128": flip(xxh3(b"body")["xxh3-128"], at, bit)}}),
        )
        for at in range(16)
        for bit in range(8)
    )
    answers = converse(daemon.port, octets)
    assert [answer.error for answer in answers] == ["digest-mismatch"] * 128
    assert daemon.list_visible() == []


def test_octets_that_changed_places(daemon: Daemon) -> None:
    octets = [send_other(LARGE, LARGE[WINDOW : 2 * WINDOW] + LARGE[:WINDOW] + LARGE[2 * WINDOW :])]
    octets.append(send_other(LARGE, LARGE[::-1]))
    answers = converse(daemon.port, b"".join(octets))
    assert [answer.error for answer in answers] == ["digest-mismatch"] * 2
    assert daemon.list_visible() == []


# Preconditions.

WAYS = {
    "put": lambda etag, number: put("shared", b"by %d" % number, if_match=etag),
    "put, large": lambda etag, number: put("shared", LARGE[number:], if_match=etag),
    "change": lambda etag, number: ask(CHANGE, path="shared", to=f"mine{number}", if_match=etag),
    "delete": lambda etag, _: ask(DELETE, path="shared", if_match=etag),
    "put where nothing is": lambda _, number: put("fresh", b"%d" % number, if_none_match=True),
    "change to where nothing is": lambda _, number: ask(CHANGE, path=f"own{number}", to="fresh"),
    "copy to where nothing is": lambda _, number: ask(COPY, path=f"own{number}", to="fresh"),
}


@pytest.mark.parametrize("way", WAYS)
def test_one_of_two_writers_wins(daemon: Daemon, way: str) -> None:
    """Both have read the same etag, and send at the same time."""
    with Talk(daemon.port) as one, Talk(daemon.port) as other:
        for attempt in range(8 if "large" in way else 50):
            for number in range(2):
                (daemon.root / f"own{number}").write_bytes(b"%d" % attempt)
                (daemon.root / f"mine{number}").unlink(missing_ok=True)
            (daemon.root / "fresh").unlink(missing_ok=True)
            etag = one.ask(put("shared", b"%d" % attempt)).head["etag"]
            assert other.ask(ask(STAT, path="shared")).head["etag"] == etag
            errors = ask_at_once([one, other], [WAYS[way](etag, number) for number in range(2)])
            (lost,) = errors - {None}
            assert lost in ("precondition-failed", "exists", "not-found"), attempt
            assert None in errors, attempt


def ask_at_once(talks: list[Talk], requests: list[bytes]) -> set[str | None]:
    """Send from a thread each; give how they ended."""
    ready = threading.Barrier(len(talks))
    errors: set[str | None] = set()

    def work(talk: Talk, octets: bytes) -> None:
        ready.wait()
        errors.add(talk.ask(octets).error)

    threads = [
        threading.Thread(target=work, args=each) for each in zip(talks, requests, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_preconditions_in_one_pipeline(daemon: Daemon) -> None:
    with Talk(daemon.port) as talk:
        etag = talk.ask(put("f", b"1")).head["etag"]
        talk.send(put("f", b"2", if_match=etag) * 20 + put("f", LARGE, if_match=etag))
        talk.send(put("g", b"x", if_none_match=True) * 20)
        errors = [answer.error for answer in talk.answers(41)]
    assert errors == [None] + ["precondition-failed"] * 20 + [None] + ["precondition-failed"] * 19
    assert (daemon.root / "f").read_bytes() == b"2"


def test_etag_of_another_file(daemon: Daemon) -> None:
    with Talk(daemon.port) as talk:
        other = talk.ask(put("other", b"1")).head["etag"]
        talk.ask(put("f", b"1"))
        for octets in (
            put("f", b"2", if_match=other),
            put("missing", b"2", if_match=other),
            ask(DELETE, path="f", if_match=other),
            ask(GET, path="f", if_match=other),
            ask(DIGEST, path="f", if_match=other),
        ):
            assert talk.ask(octets).error == "precondition-failed"
        assert talk.ask(ask(HELP)).code == DONE


def test_etag_differs_whenever_the_content_may(daemon: Daemon) -> None:
    """Size and modification time are what a client says: they alone are not enough."""
    path = daemon.root / "f"
    seen = []
    with Talk(daemon.port) as talk:

        def note() -> None:
            seen.append(talk.ask(ask(STAT, path="f")).head["etag"])

        talk.ask(put("f", b"1234", modified=1))
        note()
        talk.ask(put("f", b"1235", modified=1))
        note()
        rewrite(path, b"1236")
        note()
        os.utime(path, ns=(5, 5))
        note()
        path.chmod(0o600)
        note()
        path.rename(daemon.root / "g")
        (daemon.root / "g").rename(path)
        note()
        talk.ask(ask(CHANGE, path="f", to="g"))
        talk.ask(ask(CHANGE, path="g", to="f"))
        note()
        talk.ask(ask(DELETE, path="f"))
        talk.ask(put("f", b"1236", modified=1))
        note()
        etag = talk.ask(ask(STAT, path="f")).head["etag"]
        assert etag == seen[-1], "and stays when it may not"
    assert len(set(seen)) == len(seen)


def rewrite(path: Path, octets: bytes) -> None:
    """Change the octets in place, and put the modification time back."""
    before = path.stat()
    with path.open("r+b") as file:
        file.write(octets)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_etag_differs_when_a_put_brings_the_same(daemon: Daemon) -> None:
    octets = put("f", b"same", modified=1) * 100
    etags = [answer.head["etag"] for answer in converse(daemon.port, octets)]
    assert len(set(etags)) == 100
