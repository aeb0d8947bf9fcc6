"""LIST, STAT, DELETE and MAKE_DIRECTORY, over real sockets and above a real directory."""

import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from serving import Serving
from speaking import Answer, Speaker, spoken, xxh3

from filetransfer.errors import Internal
from filetransfer.server import directories
from filetransfer.wire.listing import EntryDecoder
from filetransfer.wire.messages import Delete, Get, List, MakeDirectory, Put, Stat


def read_entries(answer: Answer) -> list[Any]:
    """Give what a LIST has answered."""
    decoder = EntryDecoder()
    entries = decoder.feed(answer.body)
    decoder.close()
    return entries


async def list_paths(speaker: Speaker, *asked: Any, **more: Any) -> list[str]:
    """Give all the paths that a LIST, page by page, gives."""
    paths: list[str] = []
    after = None
    while True:
        answer = await speaker.ask(List(*asked, after=after, **more))
        paths += [entry.path for entry in read_entries(answer)]
        assert answer.end is not None
        after = answer.end.more
        if after is None:
            return paths


@spoken
async def test_list(serving: Serving, speaker: Speaker) -> None:
    for name in ("a/x", "a/y/z", "a.b", "b", "ab/c"):
        await speaker.put(name, name.encode(), parents=True)
    (serving.root / "link").symlink_to("b")
    (serving.root / "control\n").write_bytes(b"")
    os.mkfifo(serving.root / "fifo")
    answer = await speaker.ask(List())
    entries = read_entries(answer)
    assert [(entry.path, entry.kind) for entry in entries] == [
        ("a", "directory"),
        ("a.b", "file"),
        ("ab", "directory"),
        ("b", "file"),
        ("fifo", "other"),
    ]
    # The link, the name that no request can say, and the store's own directory.
    assert answer.end is not None
    assert (answer.end.hidden, answer.end.more) == (3, None)
    status = (await speaker.ask(Stat("b"))).response
    of_b = entries[3]
    assert (of_b.size, of_b.modified, of_b.mode, of_b.etag) == (
        *(status.size, status.modified, status.mode, status.etag),
    )
    assert await list_paths(speaker, "a") == ["a/x", "a/y"]
    whole = ["a", "a/x", "a/y", "a/y/z", "a.b", "ab", "ab/c", "b", "fifo"]
    assert await list_paths(speaker, None, recursive=True) == whole
    for limit in (1, 2, 3, 100):
        assert await list_paths(speaker, None, recursive=True, limit=limit) == whole
    assert (await speaker.ask(List("b"))).error == "not-directory"
    assert (await speaker.ask(List("none"))).error == "not-found"
    assert (await speaker.ask(List("../a"))).error == "name-invalid"


@spoken
async def test_nothing_to_list(serving: Serving, speaker: Speaker) -> None:
    await speaker.ask(MakeDirectory("empty"))
    answer = await speaker.ask(List("empty"))
    assert (answer.body, answer.runs) == (b"", [])


@pytest.mark.parametrize("count", [400, 5000])
def test_a_listing_of_many(tmp_path: Path, count: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        for index in range(count):
            (serving.root / f"{index:05}").touch()
        speaker.say(List())
        speaker.say(Stat("00000"))
        answer = await speaker.next_answer()
        assert [entry.path for entry in read_entries(answer)] == [
            f"{index:05}" for index in range(count)
        ]
        assert max(answer.runs) <= 2 * directories.CHUNK_OCTETS
        assert (await speaker.next_answer()).response.kind == "file"

    test(tmp_path)


@spoken
async def _break_off(serving: Serving, speaker: Speaker) -> None:
    for index in range(3000):
        (serving.root / f"{index:05}").touch()
    read = directories._read_chunk
    failures = [None, Internal("the disk failed")]

    def fail(listing: Any) -> Any:
        failure = failures.pop(0)
        if failure is not None:
            raise failure
        return read(listing)

    with mock.patch.object(directories, "_read_chunk", fail):
        answer = await speaker.ask(List())
    assert answer.end is not None
    assert answer.end.refusal is not None
    assert answer.end.refusal.word == "internal"
    assert (await speaker.ask(Stat("00000"))).response.kind == "file"


def test_a_disk_that_fails_in_the_middle_of_a_listing(tmp_path: Path) -> None:
    _break_off(tmp_path)


@spoken
async def test_a_listing_waits_for_what_is_being_written(
    serving: Serving, speaker: Speaker
) -> None:

    for path, parents in (("a/b", True), ("c", False)):
        speaker.say(Put(path, 3, parents=parents))
        speaker.say_body(b"abc")
    speaker.say(List(recursive=True))
    for _ in range(2):
        assert (await speaker.next_answer()).response.size == 3
    assert [entry.path for entry in read_entries(await speaker.next_answer())] == ["a", "a/b", "c"]


@spoken
async def test_stat(serving: Serving, speaker: Speaker) -> None:
    done = (await speaker.put("name", b"octets", mode=0o600)).response
    found = (await speaker.ask(Stat("name"))).response
    assert (found.kind, found.size, found.mode, found.etag) == ("file", 6, 0o600, done.etag)
    assert found.digest == xxh3(b"octets")
    assert found.modified == os.stat(serving.root / "name").st_mtime_ns
    await speaker.ask(MakeDirectory("d"))
    assert (await speaker.ask(Stat("d"))).response.kind == "directory"
    (serving.root / "link").symlink_to("name")
    assert (await speaker.ask(Stat("link"))).error == "not-found"
    assert (await speaker.ask(Stat("name/x"))).error == "not-found"
    assert (await speaker.ask(Stat(".ft-store"))).error == "name-invalid"


@spoken
async def test_delete(serving: Serving, speaker: Speaker) -> None:
    done = (await speaker.put("d/e/name", b"octets", parents=True)).response
    assert (await speaker.ask(Delete("d"))).error == "not-empty"
    assert (await speaker.ask(Delete("d/e/name", if_match="x"))).error == "precondition-failed"
    assert (await speaker.ask(Delete("d/e/name", if_match=done.etag))).response.etag is None
    assert (await speaker.ask(Get("d/e/name"))).error == "not-found"
    assert (await speaker.ask(Delete("d/e/name"))).error == "not-found"
    await speaker.put("d/e/name", b"octets")
    speaker.say(Delete("d", recursive=True))
    speaker.say(Stat("d/e/name"))
    assert (await speaker.next_answer()).response is not None
    assert (await speaker.next_answer()).error == "not-found"
    assert serving.list_visible() == []


@spoken
async def test_make_directory(serving: Serving, speaker: Speaker) -> None:
    assert (await speaker.ask(MakeDirectory("a/b"))).error == "not-found"
    await speaker.ask(MakeDirectory("a/b", parents=True))
    assert (serving.root / "a/b").is_dir()
    assert (await speaker.ask(MakeDirectory("a"))).error == "exists"
    assert (await speaker.ask(MakeDirectory("a", parents=True))).response is not None
    await speaker.put("name", b"")
    assert (await speaker.ask(MakeDirectory("name", parents=True))).error == "exists"
