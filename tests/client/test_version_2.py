"""What is asked in version 2, and what becomes of the answers."""

from __future__ import annotations

import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from client_rig import TIMEOUT_SECONDS, TRIES, UNKNOWN, Asked, Rig
from scripted_server import Came, ScriptedServer, digest_of
from test_lost_connections import wait

from filetransfer.client import Transferred
from filetransfer.errors import (
    Cancelled,
    DigestMismatch,
    Exists,
    LocalProtocolError,
    NameInvalid,
    NoSpace,
    NotFound,
    OutcomeUnknown,
    RemoteProtocolError,
    SourceChanged,
    TransferInterrupted,
    TransferTimeout,
)
from filetransfer.wire.listing import encode_entry
from filetransfer.wire.messages import (
    BodyEnd,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Digested,
    Done,
    Entry,
    Get,
    Help,
    HelpText,
    List,
    Listing,
    MakeDirectory,
    Put,
    Stat,
    Statistics,
    Status,
    Summary,
    Working,
)

LARGE = 3_000_000


@pytest.fixture
def rig(rig_2: Rig) -> Rig:
    return rig_2


@pytest.fixture
def server(rig: Rig) -> ScriptedServer:
    """Give a server to which the session is connected."""
    rig.ask(rig.session.open())
    return ScriptedServer(rig.link)


def make(directory: Path, name: str, octets: bytes) -> str:
    path = directory / name
    path.write_bytes(octets)
    return str(path)


async def collect(entries: AsyncIterator[Entry]) -> list[Entry]:
    return [entry async for entry in entries]


def ask_one(rig: Rig, server: ScriptedServer, asking: Any) -> tuple[Any, Came]:
    """Ask for something; gives that, and the request that came of it."""
    asked = rig.ask(asking)
    (came,) = server.read()
    return asked, came


@pytest.mark.parametrize("size", [0, 1, 65_536])
def test_a_small_put_leaves_in_one_write(
    rig: Rig, server: ScriptedServer, tmp_path: Path, size: int
) -> None:
    octets = os.urandom(size)
    asked = rig.ask(rig.session.put(make(tmp_path, "a", octets)))
    assert len(rig.link.writes) == 1
    (came,) = server.read()
    assert came == Came(Put("a", size), octets, BodyEnd(digest_of(octets)), [size] if size else [])
    server.done(octets)
    assert asked.result == Transferred(size, "e1", digest_of(octets), True, True)


@pytest.mark.parametrize("size", [65_537, LARGE])
def test_a_large_put(rig: Rig, server: ScriptedServer, tmp_path: Path, size: int) -> None:
    octets = os.urandom(size)
    moved: list[tuple[int, int]] = []
    asked = rig.ask(
        rig.session.put(
            make(tmp_path, "a", octets),
            "b",
            resume=False,
            progress=lambda *told: moved.append(told),
        ),
        rig.session.help(),
    )
    rig.turn()
    # The last octets and what stands behind them leave together.
    assert len(rig.link.writes[-2]) > 65_000
    first, second = server.read()
    assert first.request == Put("b", size)
    assert (first.body, first.end) == (octets, BodyEnd(digest_of(octets)))
    assert min(first.runs[:-1] or [65_536]) >= 65_536
    assert second.request == Help()
    server.done(octets)
    assert asked[0].result.is_verified
    assert moved[0] == (0, size)
    assert moved[-1] == (size, size)


def test_what_a_put_can_be_told(rig: Rig, server: ScriptedServer, tmp_path: Path) -> None:
    path = make(tmp_path, "a", b"x")
    os.chmod(path, 0o640)
    os.utime(path, ns=(1, 12345))
    session = rig.session
    rig.ask(
        session.put(path, preserve=True),
        session.put(path, preserve=True, modified=7, mode=0o600),
        session.put(path, "d/a", parents=True, if_match="e", modified=-1),
        session.put(path, if_none_match=True, mode=0),
    )
    assert [came.request for came in server.read()] == [
        Put("a", 1, modified=12345, mode=0o640),
        Put("a", 1, modified=7, mode=0o600),
        Put("d/a", 1, parents=True, if_match="e", modified=-1),
        Put("a", 1, if_none_match=True, mode=0),
    ]


def test_a_stream_is_sent_as_it_is_read(rig: Rig, server: ScriptedServer) -> None:
    octets = os.urandom(400_000)
    asked = rig.ask(rig.session.put(io.BytesIO(octets), "a"))
    rig.turn()
    (came,) = server.read()
    assert came.request == Put("a", None)
    assert (came.body, came.end) == (octets, BodyEnd(digest_of(octets)))
    assert min(came.runs[:-1]) >= 65_536
    server.done(octets)
    assert asked.result.size == 400_000
    empty = rig.ask(rig.session.put(io.BytesIO(b""), "a"))
    rig.turn()
    assert server.read() == [Came(Put("a", None), b"", BodyEnd(digest_of(b"")))]
    server.done()
    assert empty.result.size == 0


def test_a_stream_that_cannot_be_read_ends_one_exchange_only(
    rig: Rig, server: ScriptedServer
) -> None:
    class Broken(io.RawIOBase):
        def read(self, count: int = -1) -> bytes:
            raise OSError(5, "Input/output error")

    asked = rig.ask(rig.session.put(Broken(), "a"), rig.session.help())  # type: ignore[arg-type]
    rig.turn()
    came, _ = server.read()
    assert came.end is not None
    assert isinstance(came.end.refusal, Cancelled)
    assert isinstance(asked[0].error, OSError)
    server.answer(Cancelled("as you like"))
    server.answer(HelpText("help", [], [], {}, "s"))
    assert asked[1].result == "help"
    assert len(rig.endpoint.links) == 1


def test_a_stream_is_not_sent_twice(rig: Rig, server: ScriptedServer) -> None:
    asked = rig.ask(rig.session.put(io.BytesIO(b"x"), "a"))
    rig.link.lose()
    rig.turn()
    assert asked.is_over
    assert "connection was lost" in str(asked.error)


def test_a_stream_that_says_nothing_is_waited_for(rig: Rig, server: ScriptedServer) -> None:
    reader, writer = os.pipe()
    asked = rig.ask(rig.session.help())
    server.read()
    server.answer(HelpText("help", [], [], {}, "s"))
    asked = Asked(rig.session.put(reader, "a"))
    rig.clock.advance(0)
    rig.clock.advance(TIMEOUT_SECONDS * 3)
    assert not asked.is_over
    os.write(writer, b"x")
    os.close(writer)
    rig.turn()
    assert server.read()[0].body == b"x"
    server.done(b"x")
    assert asked.result.size == 1
    os.close(reader)


def test_a_source_that_changed_ends_its_body(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    path = make(tmp_path, "a", b"a" * LARGE)

    def write(octets: bytes) -> None:
        rig.link.writes.append(octets)
        if sum(map(len, rig.link.writes)) > 1_500_000:
            os.utime(path, ns=(1, 2))

    rig.link.transport.write = write  # type: ignore[method-assign]
    asked = rig.ask(rig.session.put(path, resume=False), rig.session.help())
    rig.turn()
    assert isinstance(asked[0].error, SourceChanged)
    came, _ = server.read()
    assert came.end is not None
    assert isinstance(came.end.refusal, Cancelled)
    assert 0 < len(came.body) < LARGE
    server.answer(Cancelled("as you like"))
    server.answer(HelpText("help", [], [], {}, "s"))
    assert asked[1].result == "help"
    assert len(rig.endpoint.links) == 1


def hold_after(rig: Rig, octets: int) -> None:
    """Let there be no more room for what the client writes, once it has written so much."""

    def write(piece: bytes) -> None:
        rig.link.writes.append(piece)
        if sum(map(len, rig.link.writes)) > octets:
            rig.link.pause()

    rig.link.transport.write = write  # type: ignore[method-assign]


def test_an_early_refusal_ends_the_body_with_its_chunk(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    path = make(tmp_path, "a", b"a" * 10_000_000)
    hold_after(rig, 500_000)
    asked = rig.ask(rig.session.put(path, resume=False), rig.session.help())
    assert server.begun is not None
    server.answer(NoSpace("no space left"))
    assert isinstance(asked[0].error, NoSpace)
    del rig.link.transport.write  # type: ignore[method-assign]
    rig.link.resume()
    rig.turn()
    came, following = server.read()
    assert len(came.body) == 1024 * 1024
    assert came.end is not None
    assert isinstance(came.end.refusal, Cancelled)
    assert following.request == Help()
    server.answer(HelpText("help", [], [], {}, "s"))
    assert asked[1].result == "help"
    assert len(rig.endpoint.links) == 1


def test_giving_up_a_body_that_is_being_sent(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    path = make(tmp_path, "a", b"a" * 10_000_000)
    hold_after(rig, 500_000)
    asked = rig.ask(rig.session.put(path, resume=False), rig.session.help())
    asked[0].cancel()
    del rig.link.transport.write  # type: ignore[method-assign]
    rig.link.resume()
    rig.turn()
    came, _ = server.read()
    assert len(came.body) == 1024 * 1024
    server.answer(Cancelled("as you like"))
    server.answer(HelpText("help", [], [], {}, "s"))
    assert asked[1].result == "help"
    assert len(rig.endpoint.links) == 1


def test_done_before_the_whole_body_is_against_the_rules(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    hold_after(rig, 500_000)
    asked = rig.ask(rig.session.put(make(tmp_path, "a", b"a" * 10_000_000), resume=False))
    assert server.begun is not None
    server.done()
    assert isinstance(asked.error, RemoteProtocolError)


@pytest.mark.parametrize("size", [0, 5, 65_536, 65_537, LARGE])
def test_get(rig: Rig, server: ScriptedServer, tmp_path: Path, size: int) -> None:
    octets = os.urandom(size)
    asked, came = ask_one(rig, server, rig.session.get("a", tmp_path / "b"))
    assert came.request == Get("a")
    server.content(octets, digest=digest_of(octets))
    rig.turn()
    assert asked.result == Transferred(size, "e1", digest_of(octets), True, True)
    assert (tmp_path / "b").read_bytes() == octets


def test_get_keeps_time_and_mode(rig: Rig, server: ScriptedServer, tmp_path: Path) -> None:
    for size in (5, LARGE):
        ask_one(rig, server, rig.session.get("a", tmp_path / "b", preserve=True))
        server.content(b"x" * size, modified=5_000_000_001, mode=0o751)
        rig.turn()
        status = os.stat(tmp_path / "b")
        assert (status.st_mtime_ns, status.st_mode & 0o7777) == (5_000_000_001, 0o751)


def test_ranges(rig: Rig, server: ScriptedServer, tmp_path: Path) -> None:
    octets = os.urandom(1000)
    asked, came = ask_one(
        rig, server, rig.session.get_octets("a", offset=10, count=5, if_match="e")
    )
    assert came.request == Get("a", 10, 5, "e")
    server.content(octets)
    rig.turn()
    assert asked.result == octets[10:15]
    asked, _ = ask_one(rig, server, rig.session.get("a", tmp_path / "b", offset=990))
    server.content(octets, digest=digest_of(octets))
    rig.turn()
    assert (tmp_path / "b").read_bytes() == octets[990:]
    assert asked.result.size == 10


@pytest.mark.parametrize("size", [5, LARGE])
@pytest.mark.parametrize(
    "digest", [{"xxh3-128": bytes(16)}, {}, {"sha256": bytes(32)}], ids=["wrong", "none", "other"]
)
def test_what_is_not_what_was_sent_is_not_published(
    rig: Rig, server: ScriptedServer, tmp_path: Path, size: int, digest: dict[str, bytes]
) -> None:
    for local in (tmp_path / "b", io.BytesIO()):
        asked, _ = ask_one(rig, server, rig.session.get("a", local))  # type: ignore[arg-type]
        server.answer(Content("", size, 0, "e", 1, 0o644), bytes(size), BodyEnd(digest))
        rig.turn()
        assert isinstance(asked.error, DigestMismatch)
        assert os.listdir(tmp_path) == []


def test_the_digest_of_the_whole_file_counts_as_well(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    asked, _ = ask_one(rig, server, rig.session.get("a", tmp_path / "b"))
    server.content(b"abc", digest=digest_of(b"abd"))
    rig.turn()
    assert isinstance(asked.error, DigestMismatch)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_body_that_the_server_gives_up(
    rig: Rig, server: ScriptedServer, tmp_path: Path, size: int
) -> None:
    asked, _ = ask_one(rig, server, rig.session.get("a", tmp_path / "b"))
    server.answer(
        Content("", size, 0, "e", 1, 0o644), bytes(size // 2), BodyEnd(refusal=NotFound("gone"))
    )
    rig.turn()
    assert isinstance(asked.error, NotFound)
    assert os.listdir(tmp_path) == []
    again, _ = ask_one(rig, server, rig.session.get_octets("a"))
    server.content(b"abc")
    rig.turn()
    assert again.result == b"abc"
    assert len(rig.endpoint.links) == 1


def test_each_request(rig: Rig, server: ScriptedServer) -> None:
    session = rig.session
    statistics = Statistics(3.0, 1.0, 2.0, 3, 6.0, 0.5)
    status = Status("file", 5, 1, 0o644, "e1")
    digested = Digested(digest_of(b""), 0, "e")
    for asking, request, response, result in [
        (session.change("a", "b"), Change("a", "b"), Done(etag="e"), "e"),
        (
            session.change("a", "b", replace=True, if_match="e"),
            Change("a", "b", True, "e"),
            Done(etag="f"),
            "f",
        ),
        (
            session.copy("a", "b", replace=True, if_match="e"),
            Copy("a", "b", True, "e"),
            Done(5, "f"),
            Transferred(5, "f", is_durable=True),
        ),
        (
            session.summary("a", column=2, delimiter=";", skip=1),
            Summary("a", 2, ";", 1),
            statistics,
            statistics,
        ),
        (session.summary("a", column="x"), Summary("a", "x"), statistics, statistics),
        (session.stat("a/b"), Stat("a/b"), status, status),
        (
            session.delete("a", recursive=True, if_match="e"),
            Delete("a", True, "e"),
            Done(),
            None,
        ),
        (session.make_directory("a/b", parents=True), MakeDirectory("a/b", True), Done(), None),
        (
            session.digest("a", algorithm="sha256", if_match="e"),
            Digest("a", "sha256", "e"),
            digested,
            digested,
        ),
    ]:
        asked, came = ask_one(rig, server, asking)
        assert came.request == request
        server.answer(response)
        assert (asked.error, asked.result) == (None, result)


def test_a_refusal_says_which(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, rig.session.change("a", "b"))
    server.answer(Exists("b exists already"))
    assert type(asked.error) is Exists
    assert str(asked.error) == "b exists already"


def test_a_server_at_work_is_waited_for(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, rig.session.digest("a"))
    for _ in range(10):
        rig.clock.advance(TIMEOUT_SECONDS - 1)
        server.answer(Working())
    assert not asked.is_over
    rig.clock.advance(TIMEOUT_SECONDS)
    assert isinstance(asked.error, TransferTimeout)


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: session.change("a", "b"),
        lambda session: session.delete("a"),
        lambda session: session.copy("a", "b"),
        lambda session: session.make_directory("a"),
    ],
    ids=map(str, range(4)),
)
def test_what_must_not_be_done_twice_is_not_repeated(
    rig: Rig, server: ScriptedServer, ask: Any
) -> None:
    asked, _ = ask_one(rig, server, ask(rig.session))
    rig.link.lose()
    rig.turn()
    # It is looked first whether it was done; of that, nothing more is heard.
    for _ in range(TRIES):
        again = ScriptedServer(rig.link)
        assert {type(came.request) for came in again.read()} == {Stat}
        rig.link.lose()
        wait(rig)
    assert isinstance(asked.error, TransferInterrupted)


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: session.put(io.BytesIO(b"x"), "a", parents=True),
        lambda session: session.get_octets("a", offset=1),
        lambda session: session.change("a", "b", replace=True),
        lambda session: session.summary("a", column=1),
        lambda session: collect(session.list()),
        lambda session: session.stat("a"),
        lambda session: session.delete("a"),
        lambda session: session.make_directory("a"),
        lambda session: session.digest("a"),
        lambda session: session.copy("a", "b"),
    ],
    ids=map(str, range(10)),
)
def test_what_version_1_cannot_say(rig: Rig, ask: Any) -> None:
    rig.ask(rig.session.open())
    rig.answer(UNKNOWN)
    asked = rig.ask(ask(rig.session))
    rig.turn()
    assert isinstance(asked.error, LocalProtocolError)
    assert "version 1" in str(asked.error)


ENTRIES = [Entry("a", "directory"), Entry("a/b", "file", 1, 2, 0o644, "e"), Entry("c", "other")]


def test_list(rig: Rig, server: ScriptedServer) -> None:
    asked, came = ask_one(rig, server, collect(rig.session.list()))
    assert came.request == List(limit=5000)
    server.listing(ENTRIES)
    assert asked.result == ENTRIES
    asked, came = ask_one(rig, server, collect(rig.session.list("a", recursive=True)))
    assert came.request == List("a", True, limit=5000)
    server.listing([])
    assert asked.result == []


def test_a_list_of_several_pages(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, collect(rig.session.list(recursive=True)))
    server.listing(ENTRIES[:1], more="a")
    rig.turn()
    (came,) = server.read()
    assert came.request == List(None, True, "a", 5000)
    server.listing(ENTRIES[1:])
    assert asked.result == ENTRIES


def test_a_page_is_asked_for_when_half_of_the_one_before_is_used(
    rig: Rig, server: ScriptedServer
) -> None:
    listed = rig.session.list(recursive=True)

    async def take_next() -> Entry:
        return await anext(listed)

    async def stop() -> None:
        await listed.aclose()

    first, _ = ask_one(rig, server, take_next())
    server.listing(ENTRIES, more="c")
    assert first.result == ENTRIES[0]
    rig.turn()
    assert server.read() == []
    second, came = ask_one(rig, server, take_next())
    assert second.result == ENTRIES[1]
    assert came.request == List(None, True, "c", 5000)
    # Nobody wants it any more, and nobody waits for it.
    stopped = rig.ask(stop())
    assert stopped.is_over


def test_a_list_in_any_segmentation(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, collect(rig.session.list()))
    octets = server.encode(Listing(), b"".join(map(encode_entry, ENTRIES)), BodyEnd())
    rig.link.receive(octets, at_a_time=1)
    assert asked.result == ENTRIES


def test_a_list_that_is_lost_is_asked_for_again(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, collect(rig.session.list()))
    octets = server.encode(Listing(), b"".join(map(encode_entry, ENTRIES)), BodyEnd())
    rig.link.receive(octets[:-20])
    rig.link.lose()
    wait(rig)
    again = ScriptedServer(rig.link)
    assert len(again.read()) == 1
    again.listing(ENTRIES)
    assert asked.result == ENTRIES


@pytest.mark.parametrize(
    ("path", "directory"),
    [("../evil", None), ("/etc/passwd", None), ("a\nb", None), ("other/b", "a"), ("ab", "a")],
)
def test_a_path_that_may_not_be_is_not_listed(
    rig: Rig, server: ScriptedServer, path: str, directory: str | None
) -> None:
    asked, _ = ask_one(rig, server, collect(rig.session.list(directory)))
    server.listing([Entry(path, "file")])
    assert isinstance(asked.error, RemoteProtocolError)


def test_a_list_that_does_not_go_on(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, collect(rig.session.list()))
    server.listing([], more="a")
    assert isinstance(asked.error, RemoteProtocolError)


def test_a_list_that_is_none(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, collect(rig.session.list()))
    server.answer(Listing(), b"\x81", BodyEnd())
    assert isinstance(asked.error, RemoteProtocolError)


@pytest.mark.parametrize(
    "ask",
    [
        lambda session: session.stat("/a"),
        lambda session: session.delete("a/../b"),
        lambda session: session.copy("a", ""),
        lambda session: collect(session.list("..")),
    ],
    ids=map(str, range(4)),
)
def test_names_are_looked_at_first(rig: Rig, ask: Any) -> None:
    assert isinstance(rig.ask(ask(rig.session)).error, NameInvalid)
    assert rig.endpoint.attempts == 0


def test_a_change_may_follow_at_once(rig: Rig, server: ScriptedServer) -> None:
    rig.ask(rig.session.stat("a"), rig.session.change("a", "b"))
    assert len(server.read()) == 2


def test_a_large_file_is_sent_again_after_a_loss(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    octets = os.urandom(200_000)
    asked = rig.ask(rig.session.put(make(tmp_path, "a", octets)))
    assert len(server.read()) == 1
    for _ in range(TRIES - 1):
        rig.link.lose()
        wait(rig)
        again = ScriptedServer(rig.link)
        rig.turn()
        assert again.read()[0].body == octets
    again.done(octets)
    assert asked.result.size == 200_000


FILE = Status("file", 5, 1, 0o644, "e1")
NONE = NotFound("not found")


@pytest.mark.parametrize(
    ("ask", "there", "is_repeated"),
    [
        (lambda session: session.change("a", "b"), [FILE, NONE], True),
        (lambda session: session.change("a", "b"), [NONE, NONE], True),
        (lambda session: session.change("a", "b"), [FILE, FILE], True),
        (lambda session: session.change("a", "b", replace=True), [FILE, FILE], False),
        (lambda session: session.change("a", "b"), [NONE, FILE], False),
        (lambda session: session.copy("a", "b"), [NONE], True),
        (lambda session: session.copy("a", "b"), [FILE], False),
        (lambda session: session.delete("a"), [FILE], True),
        (lambda session: session.make_directory("a"), [NONE], True),
        (lambda session: session.make_directory("a"), [FILE], False),
    ],
    ids=map(str, range(10)),
)
def test_it_is_looked_first_whether_it_was_done(
    rig: Rig, server: ScriptedServer, ask: Any, there: list[Any], is_repeated: bool
) -> None:
    asked, first = ask_one(rig, server, ask(rig.session))
    rig.link.lose()
    rig.turn()
    again = ScriptedServer(rig.link)
    for status in there:
        (came,) = again.read()
        assert isinstance(came.request, Stat)
        again.answer(status)
        rig.turn()
    if not is_repeated:
        assert isinstance(asked.error, OutcomeUnknown)
        assert "may have been done" in str(asked.error)
        return
    (came,) = again.read()
    assert came == first
    again.answer(Done(5, "e2"))
    assert asked.is_over
    assert asked.error is None


def test_a_file_that_is_gone_was_removed(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, rig.session.delete("a"))
    rig.link.lose()
    rig.turn()
    again = ScriptedServer(rig.link)
    again.read()
    again.answer(NONE)
    assert asked.is_over
    assert asked.error is None


def test_a_refusal_of_what_was_repeated_tells_nothing(rig: Rig, server: ScriptedServer) -> None:
    asked, _ = ask_one(rig, server, rig.session.change("a", "b"))
    rig.link.lose()
    rig.turn()
    again = ScriptedServer(rig.link)
    for answer in (FILE, NONE, NONE):
        again.read()
        again.answer(answer)
        rig.turn()
    assert isinstance(asked.error, OutcomeUnknown)
