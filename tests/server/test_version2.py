"""The daemon in version 2, over real sockets and above a real directory: requests and what becomes of them."""

import errno
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from doubles import DONE, HELP, HELP_REPLY, content, get, put
from reactors import run
from serving import Serving, list_descriptors, serve, until
from speaking import Speaker, call_in_version_2, spoken, xxh3

from filetransfer.digests import start_digest
from filetransfer.errors import Cancelled
from filetransfer.store import stable
from filetransfer.wire.messages import (
    Authenticate,
    BodyEnd,
    Change,
    Copy,
    Digest,
    Get,
    Greeting,
    Help,
    Put,
    Summary,
    Unknown,
)

SMALL, COPIED, BULK = 100, 100 * 1024, 20 * 1024 * 1024 + 3
SIZES = pytest.mark.parametrize("size", [0, SMALL, 64 * 1024, COPIED, BULK])
TOKEN = bytes(range(16))


def make(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def sha256(octets: bytes) -> dict[str, bytes]:
    running = start_digest("sha256")
    running.update(octets)
    return {"sha256": running.digest()}


@spoken
async def test_greeting(serving: Serving, speaker: Speaker) -> None:
    greeting = speaker.greeting
    assert isinstance(greeting, Greeting)
    assert greeting.version == 2
    assert greeting.software.startswith("filetransfer ")
    assert greeting.limits == {"path": 4096, "head": 65536, "chunk": 1 << 24, "pipeline": 256}
    assert greeting.features == ["digests", "resume", "durable"]
    assert greeting.mechanisms == []


@pytest.mark.parametrize(
    ("settings", "features"),
    [
        ({"durability": "none"}, ["digests", "resume"]),
        (
            {"durability": "full", "is_read_only": True},
            ["digests", "resume", "durable", "read-only"],
        ),
    ],
)
def test_features(tmp_path: Path, settings: dict[str, Any], features: list[str]) -> None:
    async def work() -> None:
        (tmp_path / "root").mkdir()
        async with serve(tmp_path / "root", **settings) as serving:
            speaker = await call_in_version_2(serving)
            assert speaker.greeting is not None
            assert speaker.greeting.features == features
            assert (await speaker.ask(Help())).response.features == features
            speaker.lose()

    run(work())


def test_a_disk_that_failed_twice_is_said(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root", durability="full") as serving:
            speaker = await call_in_version_2(serving)
            with mock.patch.object(stable.os, "fsync", side_effect=OSError(errno.EIO, "no")):
                for _ in range(2):
                    assert (await speaker.put("name", b"octets")).error == "internal"
            assert (await speaker.put("name", b"octets")).error == "not-permitted"
            assert "read-only" in (await speaker.ask(Help())).response.features
            speaker.lose()

    run(work())


def test_versions_side_by_side(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            speaker = await call_in_version_2(serving)
            await speaker.put("a", b"octets")
            assert await serving.ask(get("a") + put("b", b"more") + HELP) == (
                content("a", b"octets") + DONE + HELP_REPLY
            )
            assert (await speaker.ask(Get("b"))).body == b"more"
            speaker.lose()

    run(work())


@SIZES
def test_there_and_back(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size)
        done = (await speaker.put("name", octets)).response
        assert (done.size, done.digest) == (size, xxh3(octets))
        answer = await speaker.ask(Get("name"))
        got = answer.response
        assert answer.body == octets
        assert answer.end is not None
        assert answer.end.digest == xxh3(octets)
        assert (got.size, got.offset, got.etag, got.digest) == (size, 0, done.etag, xxh3(octets))
        status = os.stat(serving.root / "name")
        assert (got.modified, got.mode) == (status.st_mtime_ns, 0o640)
        # The source of the rule: protocol, section 2, "Framing".
        assert all(64 * 1024 <= run <= 1 << 24 for run in answer.runs[:-1])
        assert not serving.list_parts()

    test(tmp_path)


@pytest.mark.parametrize("algorithm", ["xxh3-128", "sha256"])
@pytest.mark.parametrize("size", [SMALL, BULK])
@pytest.mark.parametrize(("first", "count"), [(0, None), (7, None), (0, 50), (99, 1), (3, 0)])
def test_ranges(tmp_path: Path, algorithm: str, size: int, first: int, count: int | None) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size)
        (serving.root / "name").write_bytes(octets)
        asked = Get("name", first, count, algorithm=algorithm)
        answer = await speaker.ask(asked)
        wanted = octets[first:] if count is None else octets[first : first + count]
        assert answer.body == wanted
        assert (answer.response.size, answer.response.offset) == (size, first)
        digest = xxh3(wanted) if algorithm == "xxh3-128" else sha256(wanted)
        assert answer.end is not None
        assert answer.end.digest == digest

    test(tmp_path)


@spoken
async def test_range_behind_the_end(serving: Serving, speaker: Speaker) -> None:
    await speaker.put("name", b"octets")
    assert (await speaker.ask(Get("name", 6))).body == b""
    assert (await speaker.ask(Get("name", 7))).error == "offset-mismatch"


@SIZES
def test_one_flipped_bit_is_never_published(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size) or b"\0"
        wrong = bytearray(octets)
        wrong[len(octets) // 2] ^= 1
        answer = await speaker.put("name", bytes(wrong), digest=xxh3(octets))
        assert answer.error == "digest-mismatch"
        assert (await speaker.ask(Get("name"))).error == "not-found"
        await until(lambda: not serving.list_parts())

    test(tmp_path)


@pytest.mark.parametrize("size", [SMALL, COPIED])
@pytest.mark.parametrize(
    ("before", "behind", "error"),
    [
        ({}, {}, "invalid"),
        ({}, {"md5": b"?"}, "unsupported"),
        ({"md5": b"?"}, {}, "unsupported"),
        ({"xxh3-128": b"?"}, "right", "digest-mismatch"),
        ("right", {"xxh3-128": b"?"}, "digest-mismatch"),
        ("right", {"sha256": b"?"}, "digest-mismatch"),
        ("right", {}, None),
        ({}, "right", None),
        ("right", "right", None),
        ({}, "sha256", None),
        ("right", "sha256", None),
        ({"md5": b"?"}, "right", None),
    ],
)
def test_digests(tmp_path: Path, size: int, before: Any, behind: Any, error: str | None) -> None:
    octets = make(size)
    named = {"right": xxh3(octets), "sha256": sha256(octets)}
    before, behind = (
        named.get(given, given) if isinstance(given, str) else given for given in (before, behind)
    )

    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        speaker.say(Put("name", size, before))
        speaker.say_body(octets, digest=behind)
        answer = await speaker.next_answer()
        assert (answer.error if error else None) == error
        assert serving.list_visible() == ([] if error else ["name"])

    test(tmp_path)


@pytest.mark.parametrize("size", [SMALL, COPIED])
@pytest.mark.parametrize("wrong", [-1, 1])
def test_body_of_another_size(tmp_path: Path, size: int, wrong: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        answer = await speaker.put("name", make(size), size=size + wrong)
        assert answer.error == "size-mismatch"
        assert isinstance((await speaker.ask(Help())).response.text, str)
        assert serving.list_visible() == []
        await until(lambda: not serving.list_parts())

    test(tmp_path)


@pytest.mark.parametrize("size", [0, SMALL, COPIED, BULK])
def test_body_of_unknown_size(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size)
        speaker.say(Put("name"))
        speaker.say_body(octets, chunk=70_000)
        done = (await speaker.next_answer()).response
        assert done.size == size
        assert (serving.root / "name").read_bytes() == octets

    test(tmp_path)


@pytest.mark.parametrize("size", [SMALL, COPIED])
def test_sender_gives_up(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size)
        speaker.say(Put("name", size))
        connection = speaker.connection
        half = octets[: size // 2]
        speaker.transport.write(connection.encode_run(len(half)) + half)
        speaker.transport.write(connection.encode_body_end(BodyEnd(refusal=Cancelled("no"))))
        assert (await speaker.next_answer()).error == "cancelled"
        assert serving.list_visible() == []
        await until(lambda: not serving.list_parts())

    test(tmp_path)


@pytest.mark.parametrize("size", [SMALL, COPIED, BULK])
def test_refused_before_the_body_has_ended(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size)
        speaker.say(Put("no/such/directory/name" if size > 64 * 1024 else "../name", size))
        half = octets[: size // 2]
        speaker.transport.write(speaker.connection.encode_run(len(half)) + half)
        answer = await speaker.next_answer()
        assert answer.error == ("not-found" if size > 64 * 1024 else "name-invalid")
        speaker.say_body(octets[size // 2 :])
        assert (await speaker.put("name", b"next")).response.size == 4

    test(tmp_path)


@spoken
async def test_what_makes_no_sense_is_refused(serving: Serving, speaker: Speaker) -> None:
    speaker.say(Put("name", 10, offset=5))
    speaker.say_body(b"01234")
    assert (await speaker.next_answer()).error == "invalid"
    speaker.say(Put("name", None, upload=TOKEN))
    speaker.say_body(b"01234")
    assert (await speaker.next_answer()).error == "invalid"
    speaker.say(Put("name", 4, upload=TOKEN, offset=5))
    speaker.say_body(b"")
    assert (await speaker.next_answer()).error == "invalid"
    assert (await speaker.ask(Authenticate("PLAIN", b""))).error == "unsupported"
    await speaker.put("name", b"octets")
    assert (await speaker.ask(Get("name", algorithm="md5"))).error == "unsupported"
    assert (await speaker.ask(Digest("name", "md5"))).error == "unsupported"
    speaker.transport.write(b"\x2a\x00\x00\x01\x80")
    speaker.connection._expected.append(Unknown(42))
    assert (await speaker.next_answer()).error == "unsupported"


@spoken
async def test_preconditions(serving: Serving, speaker: Speaker) -> None:
    first = (await speaker.put("name", b"first", if_none_match=True)).response
    assert (await speaker.put("name", b"2", if_none_match=True)).error == "precondition-failed"
    second = (await speaker.put("name", b"second", if_match=first.etag)).response
    assert second.etag != first.etag
    for size in (SMALL, COPIED):
        answer = await speaker.put("name", make(size), if_match=first.etag)
        assert answer.error == "precondition-failed"
    assert (await speaker.ask(Get("name", if_match=first.etag))).error == "precondition-failed"
    assert (await speaker.ask(Get("name", if_match=second.etag))).body == b"second"
    assert (
        await speaker.ask(Change("name", "to", if_match=first.etag))
    ).error == "precondition-failed"
    moved = (await speaker.ask(Change("name", "to", if_match=second.etag))).response
    assert (await speaker.ask(Get("to", if_match=moved.etag))).body == b"second"


@spoken
async def test_change(serving: Serving, speaker: Speaker) -> None:
    await speaker.put("a", b"first")
    await speaker.put("b", b"second")
    assert (await speaker.ask(Change("a", "b"))).error == "exists"
    assert (await speaker.ask(Change("a", "b", replace=True))).response.etag
    assert (serving.root / "b").read_bytes() == b"first"
    assert (await speaker.ask(Change("a", "c"))).error == "not-found"


@pytest.mark.parametrize("size", [SMALL, COPIED])
def test_what_comes_with_a_file(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        when = 1_234_567_890_123_456_789
        octets = make(size)
        answer = await speaker.put("a/b/name", octets, modified=when, mode=0o4755, parents=True)
        status = os.stat(serving.root / "a/b/name")
        assert (status.st_mtime_ns, status.st_mode & 0o7777) == (when, 0o755)
        got = (await speaker.ask(Get("a/b/name"))).response
        assert (got.modified, got.mode) == (when, 0o755)
        assert got.etag == answer.response.etag
        assert (await speaker.put("c/name", octets)).error == "not-found"

    test(tmp_path)


@spoken
async def test_summary(serving: Serving, speaker: Speaker) -> None:
    await speaker.put("numbers", b"1\n2\n6\n")
    statistics = (await speaker.ask(Summary("numbers"))).response
    assert (statistics.max, statistics.min, statistics.mean) == (6.0, 1.0, 3.0)
    await speaker.put("words", b"1\ntwo\n")
    answer = await speaker.ask(Summary("words"))
    assert answer.error == "not-numeric"
    assert "line 2" in str(answer.response.error)


@spoken
async def test_help(serving: Serving, speaker: Speaker) -> None:
    answer = (await speaker.ask(Help())).response
    assert "PUT" in answer.requests
    assert answer.limits["chunk"] == 1 << 24
    assert answer.software.startswith("filetransfer ")


@pytest.mark.parametrize("size", [0, SMALL, COPIED, BULK])
def test_copy_and_digest(tmp_path: Path, size: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        octets = make(size)
        put_answer = (await speaker.put("a", octets)).response
        digested = (await speaker.ask(Digest("a"))).response
        assert (digested.digest, digested.size, digested.etag) == (
            xxh3(octets),
            size,
            put_answer.etag,
        )
        assert (await speaker.ask(Digest("a", "sha256"))).response.digest == sha256(octets)
        copied = (await speaker.ask(Copy("a", "b", if_match=put_answer.etag))).response
        assert copied.size == size
        assert (serving.root / "b").read_bytes() == octets
        assert (await speaker.ask(Get("b", if_match=copied.etag))).body == octets
        assert (await speaker.ask(Copy("a", "b"))).error == "exists"
        assert (await speaker.ask(Copy("a", "b", replace=True))).response.size == size
        assert (await speaker.ask(Copy("a", "c", if_match="other"))).error == "precondition-failed"
        assert (await speaker.ask(Copy("none", "c"))).error == "not-found"

    test(tmp_path)


@spoken
async def test_pipelined_and_answered_in_order(serving: Serving, speaker: Speaker) -> None:
    count = 300
    for index in range(count):
        octets = b"%d" % index
        speaker.say(Put(f"f{index % 7}", len(octets)))
        speaker.say_body(octets)
        speaker.say(Get(f"f{index % 7}"))
    for index in range(count):
        assert (await speaker.next_answer()).response.digest == xxh3(b"%d" % index)
        assert (await speaker.next_answer()).body == b"%d" % index


@pytest.mark.parametrize("size", [SMALL, COPIED, BULK])
def test_cut_in_a_body(tmp_path: Path, size: int) -> None:
    """An upload that nobody can come back for leaves nothing."""

    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        before = list_descriptors()
        other = await call_in_version_2(serving)
        other.say(Put("name", size))
        run = min(size, 1 << 24)
        other.transport.write(other.connection.encode_run(run) + make(run - 1))
        await until(lambda: size < COPIED or bool(serving.list_parts()))
        other.lose()
        await until(lambda: not serving.list_parts() and list_descriptors() == before)
        assert (await speaker.ask(Get("name"))).error == "not-found"

    test(tmp_path)
