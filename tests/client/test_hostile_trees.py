"""Trees fetched from servers that say what no honest one would: nothing outside the directory is ever touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from plain_servers import PlainServer
from reactors import run
from version2_servers import Version2Server, list_entries

from filetransfer.client import connect
from filetransfer.client.sync import Syncing, sync
from filetransfer.client.trees import Outcome, Totals, Watcher, get_tree, put_tree
from filetransfer.errors import (
    LocalProtocolError,
    NoSpace,
    NotPermitted,
    RemoteProtocolError,
)
from filetransfer.wire.messages import (
    Content,
    Delete,
    Done,
    Entry,
    Get,
    List,
    MakeDirectory,
    Put,
)

OCTETS = b"written by the server"


def file(path: str) -> Entry:
    return Entry(path, "file", len(OCTETS), 1, 0o644, "e1")


def directory(path: str) -> Entry:
    return Entry(path, "directory")


def give_file(request: Any, _: bytes) -> Any:
    return Content("", len(OCTETS), 0, "e1", 1, 0o644), OCTETS


def make_server(*entries: Entry) -> Version2Server:
    """Give a server with a listing that is sent whatever is asked for."""
    return Version2Server({List: lambda *_: list_entries(*entries), Get: give_file})


class Recorder(Watcher):
    """Remembers the outcomes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    def end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.path] = outcome


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A directory in one that must stay as it is."""
    here = tmp_path / "outside" / "here"
    here.mkdir(parents=True)
    return here


def list_names(top: Path) -> list[str]:
    return sorted(str(path.relative_to(top)) for path in top.rglob("*"))


def fetch(server: Version2Server, here: Path, path: str = "t", watcher: Any = None) -> Totals:
    async def work() -> Totals:
        async with connect("127.0.0.1", server.port, tries=1) as session:
            return await get_tree(session, path, here, watcher=watcher)

    totals: Totals = run(work())
    return totals


def sync_down(server: Version2Server, here: Path) -> Totals:
    async def work() -> Totals:
        async with connect("127.0.0.1", server.port, tries=1) as session:
            return await sync(session, here, "t", "from-server", Syncing(delete=True))

    totals: Totals = run(work())
    return totals


@pytest.mark.parametrize(
    "path",
    [
        "../evil",
        "t/../../evil",
        "t/..",
        "t/.",
        "t/",
        "/etc/evil",
        "t//evil",
        "",
        "evil",
        "tt/evil",
        "t",
        "t/.ft-store/evil",
        "t/.FT-evil",
        "t/line\nfeed",
        "t/\x1b[2J",
        "t/\u202eevil",
        "t/" + "x" * 256,
        "t/" + "y/" * 2048 + "y",
    ],
)
@pytest.mark.parametrize("act", [fetch, sync_down])
def test_paths_that_may_not_be(here: Path, path: str, act: Callable[..., Totals]) -> None:
    with make_server(file("t/a"), file(path)) as server, pytest.raises(RemoteProtocolError):
        act(server, here)
    assert set(list_names(here.parent.parent)) <= {"outside", "outside/here", "outside/here/a"}


@pytest.mark.parametrize(
    "entries",
    [
        [file("t/a"), file("t/a")],
        [directory("t/a"), directory("t/a")],
        [file("t/a"), directory("t/a")],
        [file("t/b"), file("t/a")],
        [file("t/a"), file("t/a/b")],
        [file("t/a/b")],
        [directory("t/a"), file("t/b/c")],
        [directory("t/a"), file("t/a/x/y")],
        [directory("t/a"), file("t/b"), file("t/a/c")],
    ],
)
@pytest.mark.parametrize("act", [fetch, sync_down])
def test_lists_that_may_not_be(
    here: Path, entries: list[Entry], act: Callable[..., Totals]
) -> None:
    with make_server(*entries) as server, pytest.raises(RemoteProtocolError, match="lists"):
        act(server, here)
    assert list_names(here.parent.parent / "outside")[0] == "here"


def test_what_a_file_is_called_in_its_answer_does_not_matter(here: Path) -> None:
    def give(request: Any, _: bytes) -> Any:
        return Content("../../evil", len(OCTETS), 0, "e1", 1, 0o7777), OCTETS

    with make_server(file("t/a")) as server:
        server.answers[Get] = give
        assert fetch(server, here).sent == 1
    assert list_names(here.parent) == ["here", "here/a"]
    assert not (here / "a").stat().st_mode & 0o7000


@pytest.mark.parametrize("size", [len(OCTETS), 3_000_000])
def test_a_link_planted_while_a_file_is_on_its_way(here: Path, size: int) -> None:
    outside = here.parent / "mine"
    outside.mkdir()

    def plant(request: Any, _: bytes) -> Any:
        os.rename(here / "d", here / "was d")
        os.symlink(outside, here / "d")
        return Content("", size, 0, "e1", 1, 0o644), b"x" * size

    recorder = Recorder()
    with make_server(directory("t/d"), Entry("t/d/a", "file", size, 1)) as server:
        server.answers[Get] = plant
        totals = fetch(server, here, watcher=recorder)
    assert list_names(outside) == []
    assert (totals.sent, totals.failed) == (0, 1)
    assert isinstance(recorder.outcomes["d/a"].error, OSError)


def test_a_link_in_the_way_is_removed_and_not_followed(here: Path) -> None:
    outside = here.parent / "mine"
    outside.mkdir()
    (outside / "a").write_bytes(b"mine")
    os.symlink(outside, here / "d")
    os.symlink(outside / "a", here / "e")
    os.symlink(outside, here / "extra")
    with make_server(directory("t/d"), file("t/d/a"), file("t/e")) as server:
        totals = sync_down(server, here)
    assert (totals.sent, totals.made, totals.removed, totals.failed) == (2, 1, 3, 0)
    assert (outside / "a").read_bytes() == b"mine"
    assert list_names(here) == ["d", "d/a", "e"]
    assert (here / "d" / "a").read_bytes() == (here / "e").read_bytes() == OCTETS


def test_an_honest_list(here: Path) -> None:
    entries = [
        directory("t/a"),
        file("t/a/b"),
        directory("t/a/c"),
        file("t/a!"),
        Entry("t/dev", "other"),
    ]
    recorder = Recorder()
    with make_server(*entries) as server:
        totals = fetch(server, here / "new", watcher=recorder)
    assert totals == Totals(sent=2, octets=2 * len(OCTETS), made=2, skipped=1)
    assert recorder.outcomes["dev"].reason == "no regular file"
    assert list_names(here / "new") == ["a", "a!", "a/b", "a/c"]


def test_some_are_refused_and_the_rest_goes_on(here: Path) -> None:
    def give(request: Any, _: bytes) -> Any:
        return NotPermitted("no") if request.path == "t/b" else give_file(request, b"")

    recorder = Recorder()
    with make_server(file("t/a"), file("t/b"), file("t/c")) as server:
        server.answers[Get] = give
        totals = fetch(server, here, watcher=recorder)
    assert (totals.sent, totals.failed) == (2, 1)
    assert isinstance(recorder.outcomes["b"].error, NotPermitted)


def put(server: Version2Server, here: Path, watcher: Watcher | None = None) -> Totals:
    async def work() -> Totals:
        async with connect("127.0.0.1", server.port, tries=1) as session:
            return await put_tree(session, here, "t", watcher=watcher)

    totals: Totals = run(work())
    return totals


class Babbler(Version2Server):
    """Makes no sense any more after a while."""

    def _answer(self, end: Any, request: Any, body: bytes) -> bytes:
        octets = super()._answer(end, request, body)
        return octets if len(self.asked) < 20 else b"\x7f" * 8


def test_what_none_of_the_files_would_survive_ends_it(here: Path) -> None:
    for number in range(2000):
        (here / f"{number:04}").touch()
    recorder = Recorder()
    answers = {MakeDirectory: lambda *_: Done(), Put: lambda *_: Done(0, "e1")}
    with Babbler(answers) as server, pytest.raises(RemoteProtocolError):
        put(server, here, recorder)
    assert len(recorder.outcomes) == 18


class Choker(Recorder):
    """Fails when it is told of anything."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: set[str] = set()

    def begin(self, path: str, size: int) -> None:
        self.begun.add(path)

    def give_up(self, path: str) -> None:
        self.begun.discard(path)

    def end(self, outcome: Outcome) -> None:
        super().end(outcome)
        self.begun.discard(outcome.path)
        raise ZeroDivisionError


def test_a_watcher_that_fails_ends_it(here: Path) -> None:
    for number in range(2000):
        (here / f"{number:04}").touch()
    choker = Choker()
    answers = {MakeDirectory: lambda *_: Done(), Put: lambda *_: Done(0, "e1")}
    with Version2Server(answers) as server, pytest.raises(ZeroDivisionError):
        put(server, here, choker)
    assert choker.outcomes
    # Of each file that was begun, it was told what became of it, or that it was given up.
    assert not choker.begun


def test_each_refusal_is_of_one_file(here: Path) -> None:
    for name in "abc":
        (here / name).write_bytes(name.encode())
    (here / "d").mkdir()
    (here / "d" / "e").touch()

    def answer(request: Any, octets: bytes) -> Any:
        return NoSpace("full") if octets == b"b" else Done(len(octets), "e1")

    def make(request: Any, _: bytes) -> Any:
        return NotPermitted("no") if request.path == "t/d" else Done()

    recorder = Recorder()
    with Version2Server({MakeDirectory: make, Put: answer}) as server:
        totals = put(server, here, recorder)
    assert (totals.sent, totals.failed) == (3, 2)
    assert isinstance(recorder.outcomes["b"].error, NoSpace)
    assert isinstance(recorder.outcomes["d"].error, NotPermitted)


def test_a_server_without_directories(here: Path) -> None:
    async def work(port: int) -> None:
        async with connect("127.0.0.1", port, versions=(1,)) as session:
            await put_tree(session, here, "t")

    with PlainServer() as server, pytest.raises(LocalProtocolError):
        run(work(server.port))
    assert server.files == {}


def test_removals_name_the_etags_that_were_listed(here: Path) -> None:
    (here / "a").write_bytes(OCTETS)
    os.utime(here / "a", ns=(1, 1))
    removed: list[Any] = []

    def remove(request: Any, _: bytes) -> Any:
        removed.append((request.path, request.if_match, request.recursive))
        return Done()

    async def work(port: int) -> Totals:
        async with connect("127.0.0.1", port) as session:
            return await sync(session, here, "t", "to-server", Syncing(delete=True))

    with make_server(file("t/a"), directory("t/b"), file("t/b/c")) as server:
        server.answers[Delete] = remove
        totals = run(work(server.port))
    assert removed == [("t/b/c", "e1", False), ("t/b", None, False)]
    assert (totals.unchanged, totals.removed, totals.sent) == (1, 2, 0)
