"""Uploads and downloads that go on where they were cut, whatever cut them.

Source: protocol, section 2, "Resume of an upload" and "Resume of a download".
"""

import os
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from framing import (
    DELETE,
    DONE,
    GET,
    HELP,
    PUT,
    STAT,
    Head,
    ask,
    put,
    read_map,
    say_body,
    say_chunk,
    say_map,
    xxh3,
)
from proxy import Proxy, Weather, make_splitter
from running import Daemon
from talking import Ended, Talk, converse

WINDOW = 1 << 20
CHUNK = 65_536


@pytest.fixture
def proxy(daemon: Daemon) -> Iterator[Proxy]:
    with Proxy(daemon.port) as proxy:
        yield proxy


@dataclass
class Sender:
    """Someone with a file, who sends it until it is there.

    Attributes:
        sent: octets of the file that were sent, all attempts together.
        offsets: where each attempt began.
    """

    path: str
    body: bytes
    token: bytes = field(default_factory=lambda: os.urandom(16))
    sent: int = 0
    offsets: list[int] = field(default_factory=list)

    def begin(self, talk: Talk) -> int | None:
        """Ask how far it has come, and send the head of the rest; None when it is published."""
        status = talk.ask(ask(STAT, upload=self.token))
        offset = 0
        if status.error is None:
            if status.head.get("kind") == "published":
                assert status.head["path"] == self.path
                assert status.head["size"] == len(self.body)
                assert status.head["digest"] == xxh3(self.body)
                return None
            offset = status.head["offset"]
            assert status.head["digest"] == xxh3(self.body[:offset])
        else:
            assert status.error == "not-found"
        self.offsets.append(offset)
        talk.send(bytes([PUT | 0x80]) + say_map(self.make_head(offset)))
        return offset

    def make_head(self, offset: int) -> Head:
        return {"path": self.path, "size": len(self.body), "upload": self.token, "offset": offset}

    def send_chunk(self, talk: Talk, start: int) -> None:
        octets = self.body[start : start + CHUNK]
        talk.send(say_chunk(octets))
        self.sent += len(octets)

    def end(self, talk: Talk) -> None:
        answer = talk.ask(say_body([], {"digest": xxh3(self.body)}))
        assert answer.code == DONE, answer
        assert answer.head["size"] == len(self.body)

    def attempt(self, port: int) -> None:
        """Send all that is missing. Raises Ended."""
        with Talk(port) as talk:
            offset = self.begin(talk)
            if offset is not None:
                for start in range(offset, len(self.body), CHUNK):
                    self.send_chunk(talk, start)
                self.end(talk)


def test_cut_at_many_places(daemon: Daemon, proxy: Proxy) -> None:
    """In the head, at the ends of chunks and windows, in the trailer, and behind it."""
    body = os.urandom(3 * WINDOW + 5)
    asked = 1 + len(ask(STAT, upload=bytes(16)))
    whole = Sender("whole", body)
    whole.attempt(proxy.port)
    most = proxy.passed_up
    head = asked + 4 + len(say_map(whole.make_head(0))) - 3
    places = [
        *(asked + 1, head - 1, head, head + 1, head + 4, head + 5, head + 4 + CHUNK),
        *(head + 8 + CHUNK, head + WINDOW, head + WINDOW + 64, head + WINDOW + 65),
        *(head + 2 * WINDOW + 128, head + 2 * WINDOW + 12_345, most - 60, most - 40, most - 39),
        *(most - 1, most),
    ]
    for place in places:
        sender = Sender(f"cut at {place}", body)
        proxy.weather = Weather(cut_up=place)
        with suppress(Ended):
            sender.attempt(proxy.port)
        assert not (daemon.root / sender.path).exists() or place == most
        # How much is kept is another test's: a reset loses what the daemon has not read.
        sender.attempt(daemon.port)
        assert (daemon.root / sender.path).read_bytes() == body
    daemon.clear_root()


def test_cut_again_and_again(daemon: Daemon, proxy: Proxy) -> None:
    """Each attempt comes a bit further."""
    sender = Sender("f", os.urandom(6 * WINDOW))
    chance = random.Random(3)
    attempts = 0
    while not (daemon.root / "f").exists():
        attempts += 1
        proxy.weather = Weather(cut_up=WINDOW + chance.randrange(2 * WINDOW))
        with suppress(Ended):
            sender.attempt(proxy.port)
    assert (daemon.root / "f").read_bytes() == sender.body
    assert sender.offsets == sorted(sender.offsets)
    assert attempts > 2


def measure_greeting(daemon: Daemon) -> int:
    with Talk(daemon.port, is_greeted=False) as talk:
        talk.send(b"\xe0")
        return 1 + 4 + int.from_bytes(talk.read(5)[2:], "big")


@pytest.mark.parametrize("size", [5, 2 * WINDOW + 7])
def test_answer_that_was_lost(daemon: Daemon, proxy: Proxy, size: int) -> None:
    """It is published, and the client does not know; the retry is told, and sends nothing."""
    sender = Sender("f", os.urandom(size))
    octets = put(sender.path, sender.body, chunk=CHUNK, upload=sender.token)
    proxy.weather = Weather(drops_down=measure_greeting(daemon))
    with Talk(proxy.port) as talk, pytest.raises(Ended):
        talk.ask(octets)
    assert proxy.has_dropped.wait(10)
    etag = converse(daemon.port, ask(STAT, path="f"))[0].head["etag"]
    sender.attempt(daemon.port)
    assert (sender.sent, sender.offsets) == (0, [])

    # Or it asks by a PUT, with what may not be any more when it is done already.
    head = {**sender_head(sender), "digest": xxh3(sender.body), "if_none_match": True}
    with Talk(daemon.port) as talk:
        answer = talk.ask(bytes([PUT | 0x80]) + say_map(head))
        assert (answer.code, answer.head["etag"]) == (DONE, etag)
        talk.send(say_body([], {"error": "cancelled"}))
        assert talk.ask(ask(HELP)).code == DONE
    assert (daemon.root / "f").read_bytes() == sender.body


def sender_head(sender: Sender) -> dict[str, object]:
    head = sender.make_head(0)
    assert isinstance(head, dict)
    return head


def test_newest_connection_takes_over(daemon: Daemon) -> None:
    """Its own predecessor may be dead without knowing: it is ended before the newer one is answered."""
    sender = Sender("f", os.urandom(4 * WINDOW))
    with Talk(daemon.port) as old, Talk(daemon.port) as new:
        assert sender.begin(old) == 0
        for start in range(0, 3 * WINDOW, CHUNK):
            sender.send_chunk(old, start)
        offset = sender.begin(new)
        assert offset is not None
        assert old.answers_until_the_end() == []
        for start in range(offset, len(sender.body), CHUNK):
            sender.send_chunk(new, start)
        sender.end(new)
    assert (daemon.root / "f").read_bytes() == sender.body


def test_taken_by_a_put(daemon: Daemon) -> None:
    sender = Sender("f", os.urandom(4 * WINDOW))
    with Talk(daemon.port) as old, Talk(daemon.port) as new:
        sender.begin(old)
        for start in range(0, 3 * WINDOW, CHUNK):
            sender.send_chunk(old, start)
        octets = put("f", sender.body, chunk=CHUNK, upload=sender.token, offset=0)
        assert new.ask(octets).code == DONE
        assert old.answers_until_the_end() == []
    assert (daemon.root / "f").read_bytes() == sender.body


def leave_a_part(daemon: Daemon, sender: Sender) -> int:
    """Have an upload end early; give its offset."""
    with Talk(daemon.port) as talk:
        sender.begin(talk)
        for start in range(0, 3 * WINDOW, CHUNK):
            sender.send_chunk(talk, start)
        assert talk.ask(say_body([], {"error": "cancelled"})).error == "cancelled"
        status = talk.ask(ask(STAT, upload=sender.token))
    assert set(status.head) == {"offset", "digest"}
    offset = status.head["offset"]
    assert isinstance(offset, int)
    assert 2 * WINDOW <= offset < len(sender.body)
    return offset


def test_whose_it_is(daemon: Daemon) -> None:
    """It belongs to the path and the size of its first PUT, and goes on where it is, or afresh."""
    sender = Sender("f", os.urandom(4 * WINDOW))
    offset = leave_a_part(daemon, sender)
    digest = {"digest": xxh3(sender.body)}
    for changes, error in [
        ({"path": "other"}, "not-permitted"),
        ({"size": len(sender.body) + 1}, "not-permitted"),
        ({"offset": offset + 1}, "offset-mismatch"),
        ({"offset": offset - 1}, "offset-mismatch"),
        ({"offset": 1}, "offset-mismatch"),
    ]:
        head = {**sender_head(sender), "offset": offset, **changes}
        (answer,) = converse(daemon.port, ask(PUT, head, say_body([], digest)))
        assert answer.error == error, changes
    assert converse(daemon.port, ask(STAT, upload=os.urandom(16)))[0].error == "not-found"
    rest = [sender.body[offset:]]
    answers = converse(
        daemon.port, ask(PUT, sender.make_head(offset), say_body(rest, digest)) + ask(GET, path="f")
    )
    assert answers[0].code == DONE
    assert answers[1].body == sender.body


def test_afresh(daemon: Daemon) -> None:
    """The source has changed: the same upload, from the beginning."""
    sender = Sender("f", os.urandom(4 * WINDOW))
    leave_a_part(daemon, sender)
    body = os.urandom(4 * WINDOW)
    octets = put("f", body, chunk=CHUNK, upload=sender.token, offset=0)
    assert [answer.code for answer in converse(daemon.port, octets)] == [DONE]
    assert (daemon.root / "f").read_bytes() == body


def test_rest_of_another_file(daemon: Daemon) -> None:
    """The digest is of the whole; what there was is removed."""
    sender = Sender("f", os.urandom(4 * WINDOW))
    offset = leave_a_part(daemon, sender)
    other = os.urandom(4 * WINDOW)
    octets = ask(PUT, sender.make_head(offset), say_body([other[offset:]], {"digest": xxh3(other)}))
    answers = converse(daemon.port, octets + ask(STAT, upload=sender.token) + ask(STAT, path="f"))
    assert [answer.error for answer in answers] == ["digest-mismatch", "not-found", "not-found"]


@pytest.mark.parametrize("length", [-1, 1])
def test_rest_of_another_length(daemon: Daemon, length: int) -> None:
    sender = Sender("f", os.urandom(4 * WINDOW))
    offset = leave_a_part(daemon, sender)
    rest = sender.body[offset:-1] if length < 0 else sender.body[offset:] + b"x"
    octets = ask(PUT, sender.make_head(offset), say_body([rest], {"digest": xxh3(sender.body)}))
    answers = converse(daemon.port, octets + ask(STAT, upload=sender.token))
    assert [answer.error for answer in answers] == ["size-mismatch", "not-found"]


def test_deleted(daemon: Daemon) -> None:
    sender = Sender("f", os.urandom(4 * WINDOW))
    leave_a_part(daemon, sender)
    octets = ask(DELETE, upload=sender.token) + ask(STAT, upload=sender.token)
    deleted, gone = converse(daemon.port, octets)
    assert (deleted.code, gone.error) == (DONE, "not-found")
    sender.attempt(daemon.port)
    assert sender.offsets[-1] == 0


def test_cancelled_part_stays(daemon: Daemon) -> None:
    """The client has its own reasons, and goes on later."""
    sender = Sender("f", os.urandom(4 * WINDOW))
    offset = leave_a_part(daemon, sender)
    sender.sent = 0
    sender.attempt(daemon.port)
    assert sender.sent == len(sender.body) - offset
    assert (daemon.root / "f").read_bytes() == sender.body


# Downloads.


def test_download_goes_on(daemon: Daemon, proxy: Proxy) -> None:
    body = os.urandom(3 * WINDOW)
    (daemon.root / "f").write_bytes(body)
    greeting = measure_greeting(daemon)
    for cut in (0, 3, 50, 200, 70_000, WINDOW, WINDOW + 300, 2 * WINDOW + 1, 3 * WINDOW + 40):
        proxy.weather = Weather(cut_down=greeting + cut)
        with Talk(proxy.port) as talk:
            talk.send(ask(GET, path="f"))
            octets = talk.read_to_the_end()
        etag, got = read_begun(octets)
        assert body.startswith(got)
        keys = {"if_match": etag} if etag else {}
        (answer,) = converse(daemon.port, ask(GET, path="f", offset=len(got), **keys))
        assert answer.body is not None
        assert got + answer.body == body
        assert answer.trailer is not None
        assert answer.trailer["digest"] == xxh3(answer.body)


def read_begun(octets: bytes) -> tuple[str | None, bytes]:
    """Give the etag and the octets of an answer that was cut; None and nothing where it has not come so far."""
    head = int.from_bytes(octets[1:4], "big")
    if len(octets) < 4 + head or not octets:
        return None, b""
    got, start = b"", 4 + head
    while size := int.from_bytes(octets[start : start + 4].ljust(4, b"\0"), "big"):
        got += octets[start + 4 : start + 4 + size]
        start += 4 + size
    return read_map(octets[4 : 4 + head])["etag"], got


# Bad weather.


def test_every_octet_flipped_on_the_way_up(daemon: Daemon, proxy: Proxy) -> None:
    """Whatever is made of it, no file has other octets than those that were sent."""
    body = b"the octets of a file"
    octets = put("f", body, chunk=7)
    for place in range(1, 1 + len(octets)):
        proxy.weather = Weather(flip_up=place)
        with suppress(Ended), Talk(proxy.port) as talk:
            talk.send(octets)
            talk.half_close()
            talk.read_to_the_end()
        for file in daemon.list_visible():
            assert file.read_bytes() == body, place
        daemon.clear_root()


@pytest.mark.parametrize("place", [200, 100_000, WINDOW, 2 * WINDOW])
def test_octet_flipped_on_the_way_down(daemon: Daemon, proxy: Proxy, place: int) -> None:
    """The client sees it by the trailer's digest."""
    (daemon.root / "f").write_bytes(os.urandom(3 * WINDOW))
    proxy.weather = Weather(flip_down=measure_greeting(daemon) + place)
    with Talk(proxy.port) as talk:
        answer = talk.ask(ask(GET, path="f"))
    assert answer.body is not None
    assert answer.trailer is not None
    assert answer.trailer["digest"] != xxh3(answer.body)


@pytest.mark.parametrize("seed", range(4))
def test_split_and_slow(daemon: Daemon, proxy: Proxy, seed: int) -> None:
    proxy.weather = Weather(split=make_splitter(seed))
    body = os.urandom(300_000)
    octets = put("f", body, chunk=CHUNK) + ask(GET, path="f") + ask(STAT, path="f") + ask(HELP)
    with Talk(proxy.port) as talk:
        talk.send(octets * 3)
        answers = talk.answers(12)
    assert {answer.code for answer in answers} == {DONE}
    assert [answer.body for answer in answers[1::4]] == [body] * 3


# A daemon that is killed.


def send_through_kills(
    directory: Path, senders: Sequence[Sender], kills: int, chance: random.Random
) -> None:
    """Send all of them side by side, a chunk each in turn, and kill the daemon so often while it receives them."""
    for left in reversed(range(kills + 1)):
        with Daemon(directory) as daemon, ExitStack() as stack:
            ticking = stack.enter_context(Talk(daemon.port))
            open_ones = []
            for sender in senders:
                talk = stack.enter_context(Talk(daemon.port))
                offset = sender.begin(talk)
                if offset is not None:
                    open_ones.append((sender, talk, iter(range(offset, len(sender.body), CHUNK))))
            # Not before the last kill does any of them end.
            rounds = (
                chance.randrange(1, len(senders[0].body) // CHUNK // (kills + 1)) if left else None
            )
            send_in_turn(open_ones, ticking, rounds)
            if left:
                daemon.kill()
            assert "Traceback" not in daemon.log, daemon.log


def send_in_turn(
    senders: list[tuple[Sender, Talk, Iterator[int]]], ticking: Talk, rounds: int | None
) -> None:
    """Send so many chunks of each, or all; no faster than the daemon takes them."""
    while senders and rounds != 0:
        for each in list(senders):
            sender, talk, starts = each
            start = next(starts, None)
            if start is None:
                sender.end(talk)
                senders.remove(each)
            else:
                sender.send_chunk(talk, start)
        # This is the limit of the rate: what was sent before an answer has been seen by the daemon.
        assert ticking.ask(ask(HELP)).code == DONE
        rounds = None if rounds is None else rounds - 1


@pytest.mark.parametrize(
    ("uploads", "rigs"), [(50, 2), pytest.param(1_000, 40, marks=pytest.mark.long)]
)
def test_uploads_through_kills(tmp_path: Path, uploads: int, rigs: int) -> None:
    """Each has its daemon killed under it once, at any time: whole in the end, for less than 1.2 times its size."""
    chance = random.Random(uploads)
    sent = size = 0
    for rig in range(rigs):
        directory = tmp_path / str(rig)
        directory.mkdir()
        seed = os.urandom(1 << 20)
        senders = [
            Sender(f"f{number}", os.urandom(16) + seed * 6) for number in range(uploads // rigs)
        ]
        send_through_kills(directory, senders, 1, chance)
        for sender in senders:
            file = directory / "root" / sender.path
            assert file.read_bytes() == sender.body
            assert len(sender.offsets) == 2
            file.unlink()
        sent += sum(sender.sent for sender in senders)
        size += sum(len(sender.body) for sender in senders)
    assert sent < 1.2 * size


def test_killed_again_and_again(tmp_path: Path) -> None:
    sender = Sender("f", os.urandom(12 * WINDOW))
    send_through_kills(tmp_path, [sender], 3, random.Random(5))
    assert (tmp_path / "root" / "f").read_bytes() == sender.body
    assert sender.offsets == sorted(sender.offsets)
    assert len(sender.offsets) == 4


def test_published_is_remembered_by_the_next_daemon(tmp_path: Path) -> None:
    sender = Sender("f", os.urandom(2 * WINDOW))
    with Daemon(tmp_path) as daemon:
        sender.attempt(daemon.port)
        daemon.kill()
    sender.sent = 0
    with Daemon(tmp_path) as daemon:
        sender.attempt(daemon.port)
    assert sender.sent == 0
    assert sender.offsets == [0]
