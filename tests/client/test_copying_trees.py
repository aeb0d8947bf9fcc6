"""Trees copied on a server, which is asked for each file."""

from __future__ import annotations

from typing import Any

import pytest
from reactors import run
from version2_servers import Version2Server, list_entries

from filetransfer.client import connect
from filetransfer.client.copying import copy_tree
from filetransfer.client.selection import Selection
from filetransfer.client.trees import Outcome, Totals, Watcher
from filetransfer.errors import Exists, LocalProtocolError, NameInvalid, NoSpace, NotPermitted
from filetransfer.wire.messages import Copy, Done, Entry, List, MakeDirectory

LISTED = (
    Entry("a/b", "directory"),
    Entry("a/b/one", "file", 1),
    Entry("a/b/pipe", "other"),
    Entry("a/b/two", "file", 2),
    Entry("a/three", "file", 3),
)


class Recorder(Watcher):
    """Remembers the outcomes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    def end(self, outcome: Outcome) -> None:
        self.outcomes[outcome.path] = outcome


def copy(server: Version2Server, path: str = "a", to: str = "x/y", **options: Any) -> Totals:
    async def act() -> Totals:
        async with connect("127.0.0.1", server.port, tries=1) as session:
            return await copy_tree(session, path, to, **options)

    totals: Totals = run(act())
    return totals


def serve(**answers: Any) -> Version2Server:
    return Version2Server(
        {
            List: lambda *_: list_entries(*LISTED),
            MakeDirectory: answers.get("make", lambda *_: Done()),
            Copy: answers.get("copy", lambda *_: Done(7, "e")),
        }
    )


def list_asked(server: Version2Server) -> list[Any]:
    return [each for each in server.asked if not isinstance(each, List)]


def test_all_that_is_in_it() -> None:
    recorder = Recorder()
    with serve() as server:
        totals = copy(server, watcher=recorder)
        assert list_asked(server) == [
            MakeDirectory("x/y", True),
            MakeDirectory("x/y/b", True),
            Copy("a/b/one", "x/y/b/one", True),
            Copy("a/b/two", "x/y/b/two", True),
            Copy("a/three", "x/y/three", True),
        ]
    assert totals == Totals(sent=3, octets=21, made=1, skipped=1)
    assert recorder.outcomes["b/pipe"].reason == "no regular file"
    copied = recorder.outcomes["b/one"].transferred
    assert copied is not None
    assert copied.is_durable


def test_what_is_meant_and_nothing_replaced() -> None:
    with serve() as server:
        copy(server, selection=Selection(include=["two"]), no_clobber=True)
        assert list_asked(server) == [
            MakeDirectory("x/y", True),
            MakeDirectory("x/y/b", True),
            Copy("a/b/two", "x/y/b/two", False),
        ]


def test_one_that_fails_does_not_stop_the_others() -> None:
    def refuse(request: Copy, _: bytes) -> Any:
        return Exists("exists already") if request.path == "a/b/one" else Done(1, "e")

    recorder = Recorder()
    with serve(copy=refuse) as server:
        totals = copy(server, watcher=recorder)
    assert (totals.sent, totals.failed) == (2, 1)
    assert isinstance(recorder.outcomes["b/one"].error, Exists)


def test_nothing_is_put_into_a_directory_that_cannot_be_made() -> None:
    def refuse(request: MakeDirectory, _: bytes) -> Any:
        return NotPermitted("no") if request.path == "x/y/b" else Done()

    with serve(make=refuse) as server:
        totals = copy(server)
        assert [each.path for each in list_asked(server) if isinstance(each, Copy)] == ["a/three"]
    assert (totals.sent, totals.failed) == (1, 1)


def test_what_stops_all_is_raised() -> None:
    with serve(make=lambda *_: NoSpace("full")) as server, pytest.raises(NoSpace):
        copy(server)


@pytest.mark.parametrize(
    ("path", "to"), [("a", "a"), ("a", "a/b"), ("a/b", "a"), ("", "a"), ("a", "")]
)
def test_a_directory_is_not_copied_into_itself(path: str, to: str) -> None:
    with serve() as server:
        with pytest.raises(LocalProtocolError, match="into itself"):
            copy(server, path, to)
        assert server.asked == []


def test_paths_that_may_not_be() -> None:
    with serve() as server, pytest.raises(NameInvalid):
        copy(server, "a", "../x")
