"""Transfers that are cut off go on where they were: over the next connection, and in the next run of the program."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from client_rig import TRIES, UNKNOWN, Rig, content
from reactors import HeldThreads
from scripted_server import ScriptedServer, digest_of
from test_lost_connections import LONG_SECONDS, wait
from test_version_2 import hold_after

from filetransfer.client.journal import MAX_AGE_SECONDS, DownloadEntry, Journal, UploadEntry
from filetransfer.client.known import find_state_directory
from filetransfer.errors import (
    Busy,
    DigestMismatch,
    NotFound,
    OffsetMismatch,
    PreconditionFailed,
    SourceChanged,
    TransferInterrupted,
)
from filetransfer.wire.messages import (
    BodyEnd,
    Content,
    Digest,
    Digested,
    Get,
    Put,
    Stat,
    Status,
)

SIZE = 5_000_000
OCTETS = os.urandom(SIZE)


@pytest.fixture
def rig(rig_2: Rig) -> Rig:
    return rig_2


@pytest.fixture
def server(rig: Rig) -> ScriptedServer:
    rig.ask(rig.session.open())
    return ScriptedServer(rig.link)


@pytest.fixture
def source(tmp_path: Path) -> str:
    path = tmp_path / "source"
    path.write_bytes(OCTETS)
    return str(path)


def list_journal() -> list[str]:
    """Give the entries, and not what stands for those who are at work on them."""
    return [path.name for path in (find_state_directory() / "transfers").glob("*.json")]


def connect_again(rig: Rig) -> ScriptedServer:
    """Let the connection be lost, and the next one be made."""
    rig.link.lose()
    rig.turn()
    wait(rig)
    return ScriptedServer(rig.link)


def begin_again(threads: HeldThreads) -> tuple[Rig, ScriptedServer]:
    """Run the program once more."""
    rig = Rig(threads, (1, 2))
    rig.ask(rig.session.open())
    return rig, ScriptedServer(rig.link)


def lose_until_over(rig: Rig, asked: Any) -> None:
    """Lose one connection after the other."""
    for _ in range(20):
        rig.link.lose()
        rig.turn()
        if asked.is_over:
            return
        wait(rig)
        if not rig.link.is_lost:
            ScriptedServer(rig.link)


def begin_put(rig: Rig, server: ScriptedServer, source: str, held: int = 2_500_000) -> Any:
    """Ask for a PUT, of which only a part leaves; gives what was asked, and the token."""
    hold_after(rig, held)
    asked = rig.ask(rig.session.put(source, "a"))
    rig.turn()
    begun = server.begun
    assert begun is not None
    assert isinstance(begun.request, Put)
    assert begun.request.upload is not None
    assert (begun.request.size, begun.request.offset) == (SIZE, 0)
    assert 0 < len(begun.body) < SIZE
    return asked, begun.request.upload


@pytest.mark.parametrize("offset", [0, 1, 1_048_576, SIZE - 1, SIZE])
def test_an_upload_goes_on_where_it_was(
    rig: Rig, server: ScriptedServer, source: str, offset: int
) -> None:
    moved: list[tuple[int, int]] = []
    asked, token = begin_put(rig, server, source)
    again = connect_again(rig)
    (came,) = again.read()
    assert came.request == Stat(upload=token)
    again.answer(Status(offset=offset, digest=digest_of(OCTETS[:offset])))
    rig.turn()
    rig.turn()
    (came,) = again.read()
    assert came.request == Put("a", SIZE, upload=token, offset=offset)
    assert came.body == OCTETS[offset:]
    assert came.end == BodyEnd(digest_of(OCTETS))
    assert len(list_journal()) == 1
    again.done(OCTETS)
    rig.turn()
    assert (asked.result.size, asked.result.offset) == (SIZE, offset)
    assert asked.result.is_verified
    assert list_journal() == []
    assert moved == []


def test_an_upload_that_was_published_is_not_sent_again(
    rig: Rig, server: ScriptedServer, source: str
) -> None:
    asked, _ = begin_put(rig, server, source)
    again = connect_again(rig)
    again.read()
    again.answer(Status("published", SIZE, path="a", etag="e9", digest=digest_of(OCTETS)))
    rig.turn()
    assert asked.result.etag == "e9"
    assert again.read() == []
    assert list_journal() == []


@pytest.mark.parametrize(
    "status",
    [
        Status(offset=1000, digest=digest_of(b"other")),
        Status(offset=SIZE + 1, digest=digest_of(OCTETS)),
        Status(offset=1000),
        NotFound("no such upload"),
    ],
    ids=["other octets", "too many", "no digest", "nothing"],
)
def test_what_is_not_the_beginning_is_not_gone_on_with(
    rig: Rig, server: ScriptedServer, source: str, status: Any
) -> None:
    asked, token = begin_put(rig, server, source)
    again = connect_again(rig)
    again.read()
    again.answer(status)
    rig.turn()
    rig.turn()
    (came,) = again.read()
    assert came.request == Put("a", SIZE, upload=token)
    assert came.body == OCTETS
    again.done(OCTETS)
    rig.turn()
    assert asked.result.offset == 0


def test_another_file_that_was_published_by_this_token(
    rig: Rig, server: ScriptedServer, source: str
) -> None:
    asked, token = begin_put(rig, server, source)
    again = connect_again(rig)
    again.read()
    again.answer(Status("published", 5, path="a", etag="e", digest=digest_of(b"other")))
    rig.turn()
    rig.turn()
    (came,) = again.read()
    assert isinstance(came.request, Put)
    assert came.request.upload not in (None, token)
    again.done(OCTETS)
    rig.turn()
    assert asked.result.size == SIZE


def test_another_run_goes_on(
    rig: Rig, server: ScriptedServer, source: str, threads: HeldThreads
) -> None:
    asked, token = begin_put(rig, server, source)
    asked.cancel()
    rig.end()
    assert len(list_journal()) == 1
    later, again = begin_again(threads)
    asked = later.ask(later.session.put(source, "a"))
    (came,) = again.read()
    assert came.request == Stat(upload=token)
    again.answer(Status(offset=1_048_576, digest=digest_of(OCTETS[:1_048_576])))
    later.turn()
    later.turn()
    (came,) = again.read()
    assert came.body == OCTETS[1_048_576:]
    again.done(OCTETS)
    later.turn()
    assert asked.result.offset == 1_048_576
    later.end()


def begin_upload(rig: Rig, server: ScriptedServer, place: Path) -> Any:
    (place / "a").write_bytes(OCTETS)
    return begin_put(rig, server, str(place / "a"))[0]


def begin_download(rig: Rig, server: ScriptedServer, place: Path) -> Any:
    return begin_get(rig, server, place / "a")


@pytest.mark.parametrize("is_first_faster", [True, False])
def test_two_programs_fetch_one_file_to_one_place(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads, is_first_faster: bool
) -> None:
    """With one part they would take what one of them has published away from it."""
    other, its_server = begin_again(threads)
    both = []
    for each, answering in ((rig, server), (other, its_server)):
        asked = each.ask(each.session.get("a", tmp_path / "b"))
        (came,) = answering.read()
        # Both from the beginning: each has a part of its own.
        assert came.request == Get("a")
        content = Content("", SIZE, 0, "e1", 1, 0o644)
        octets = answering.encode(content, OCTETS, BodyEnd(digest_of(OCTETS)))
        each.link.receive(octets[:3_000_000])
        each.turn()
        both.append((each, asked, octets[3_000_000:]))
    for each, asked, rest in both if is_first_faster else both[::-1]:
        each.link.receive(rest)
        each.turn()
        assert asked.result.size == SIZE
        assert (tmp_path / "b").read_bytes() == OCTETS
    assert os.listdir(tmp_path) == ["b"]
    other.end()
    assert os.listdir(find_state_directory() / "transfers") == []


def test_two_programs_send_one_file_to_one_place(
    rig: Rig, server: ScriptedServer, source: str, threads: HeldThreads
) -> None:
    """With one token they would take the upload away from each other again and again."""
    _, token = begin_put(rig, server, source)
    other, its_server = begin_again(threads)
    its_asked, its_token = begin_put(other, its_server, source)
    assert its_token != token
    other.link.resume()
    other.turn()
    its_server.read()
    its_server.done(OCTETS)
    other.turn()
    assert its_asked.result.size == SIZE
    other.end()
    # That of the first is still on record.
    assert len(list_journal()) == 1


def test_a_claim_is_let_go_at_the_last_moment(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    first = journal.claim(UploadEntry, "a")
    assert first is not None
    assert journal.claim(UploadEntry, "a") is None
    lock = fcntl.flock
    calls = []

    def release_before(descriptor: int, how: int) -> None:
        if not calls:
            first.release()
        calls.append(descriptor)
        lock(descriptor, how)

    with mock.patch.object(fcntl, "flock", release_before):
        second = journal.claim(UploadEntry, "a")
    assert len(calls) == 2
    assert second is not None
    assert journal.claim(UploadEntry, "a") is None
    second.release()
    assert os.listdir(tmp_path / "transfers") == []


def test_claims_that_cannot_be_had(tmp_path: Path) -> None:
    with (
        mock.patch.object(fcntl, "flock", side_effect=OSError(errno.ENOLCK, "no locks")),
        pytest.raises(OSError, match="no locks"),
    ):
        Journal(tmp_path).claim(UploadEntry, "a")


BEGINNINGS = [begin_upload, begin_download]


def ask_again(rig: Rig, begin: Any, place: Path) -> Any:
    session = rig.session
    return rig.ask(
        session.put(place / "a", "a") if begin is begin_upload else session.get("a", place / "a")
    )


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_another_run_that_finds_nobody_behind_a_proxy(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads, begin: Any
) -> None:
    begin(rig, server, tmp_path).cancel()
    rig.end()
    later = Rig(threads, (1, 2))
    ask_again(later, begin, tmp_path)
    # The server is being started: whoever takes its connections can only close them.
    assert later.link.sent() == b"\xe0"
    later.link.lose()
    wait(later)
    server = ScriptedServer(later.link)
    later.turn()
    (came,) = server.read()
    if begin is begin_upload:
        assert isinstance(came.request, Stat)
    else:
        assert isinstance(came.request, Get)
        assert came.request.offset
    later.end()


@pytest.mark.parametrize("begin", BEGINNINGS)
def test_another_run_that_finds_an_old_server(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads, begin: Any
) -> None:
    begin(rig, server, tmp_path).cancel()
    rig.end()
    later = Rig(threads, (1, 2))
    asked = ask_again(later, begin, tmp_path)
    for _ in range(TRIES):
        assert later.link.sent() == b"\xe0"
        later.link.lose()
        wait(later)
    # That is what it says it is.
    if begin is begin_upload:
        assert later.link.sent() == b"\x01a" + SIZE.to_bytes(4, "big") + OCTETS
        later.answer(b"\x00")
    else:
        assert later.link.sent() == b"\x21a"
        later.answer(content("a", OCTETS))
    later.turn()
    assert asked.result.size == SIZE
    assert "going on in version 1" in later.session.note
    later.end()


def test_a_source_that_changed_between_two_runs_is_sent_afresh(
    rig: Rig, server: ScriptedServer, source: str, threads: HeldThreads
) -> None:
    asked, token = begin_put(rig, server, source)
    asked.cancel()
    rig.end()
    os.utime(source, ns=(1, 2))
    later, again = begin_again(threads)
    later.ask(later.session.put(source, "a"))
    later.turn()
    (came,) = again.read()
    assert isinstance(came.request, Put)
    assert came.request.upload != token
    assert came.request.offset == 0
    later.end()


def test_a_source_that_changed_between_two_connections(
    rig: Rig, server: ScriptedServer, source: str
) -> None:
    asked, _ = begin_put(rig, server, source)
    again = connect_again(rig)
    again.read()
    os.utime(source, ns=(1, 2))
    again.answer(Status(offset=0, digest=digest_of(b"")))
    rig.turn()
    assert isinstance(asked.error, SourceChanged)
    assert list_journal() == []


def test_an_upload_that_goes_on_elsewhere_is_asked_for(
    rig: Rig, server: ScriptedServer, source: str
) -> None:
    asked, _ = begin_put(rig, server, source)
    again = connect_again(rig)
    again.read()
    again.answer(Status(offset=1000, digest=digest_of(OCTETS[:1000])))
    rig.turn()
    rig.turn()
    again.read()
    again.answer(OffsetMismatch("elsewhere"))
    rig.turn()
    wait(rig)
    (came,) = again.read()
    assert isinstance(came.request, Stat)
    asked.cancel()


def test_an_upload_that_does_not_move_is_given_up(
    rig: Rig, server: ScriptedServer, source: str
) -> None:
    asked, _ = begin_put(rig, server, source)
    lose_until_over(rig, asked)
    assert isinstance(asked.error, TransferInterrupted)
    # The next run may have more luck.
    assert len(list_journal()) == 1


def test_a_digest_that_differs_ends_it(rig: Rig, server: ScriptedServer, source: str) -> None:
    asked = rig.ask(rig.session.put(source, "a"))
    rig.turn()
    server.read()
    server.answer(DigestMismatch("not what was sent"))
    rig.turn()
    assert isinstance(asked.error, DigestMismatch)
    assert list_journal() == []


def test_it_can_be_switched_off(
    rig: Rig, server: ScriptedServer, source: str, tmp_path: Path
) -> None:
    rig.ask(rig.session.put(source, "a", resume=False))
    rig.turn()
    (came,) = server.read()
    assert came.request == Put("a", SIZE)
    server.done(OCTETS)
    asked = rig.ask(rig.session.get("a", tmp_path / "b", resume=False))
    server.read()
    octets = server.encode(Content("", SIZE, 0, "e", 1, 0o644), OCTETS, BodyEnd(digest_of(OCTETS)))
    rig.link.receive(octets[:3_000_000])
    rig.turn()
    asked.cancel()
    rig.turn()
    assert sorted(os.listdir(tmp_path)) == ["source"]
    assert list_journal() == []


def begin_get(rig: Rig, server: ScriptedServer, target: Path, count: int = 3_000_000) -> Any:
    """Ask for a GET, of which only so many octets come."""
    asked = rig.ask(rig.session.get("a", target))
    (came,) = server.read()
    assert came.request == Get("a")
    octets = server.encode(Content("", SIZE, 0, "e1", 1, 0o644), OCTETS, BodyEnd(digest_of(OCTETS)))
    rig.link.receive(octets[:count])
    rig.turn()
    return asked


def check_fetched(asked: Any, directory: Path) -> None:
    """The file is there, whole, and nothing else is left of its download."""
    assert asked.result.size == SIZE
    assert (directory / "b").read_bytes() == OCTETS
    assert os.listdir(directory) == ["b"]
    assert list_journal() == []


@pytest.mark.parametrize("has_digest", [True, False])
def test_a_download_goes_on_where_it_was(
    rig: Rig, server: ScriptedServer, tmp_path: Path, has_digest: bool
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    again = connect_again(rig)
    (came,) = again.read()
    assert isinstance(came.request, Get)
    assert came.request.if_match == "e1"
    assert came.request.offset > 2_000_000
    again.content(OCTETS, **({"digest": digest_of(OCTETS)} if has_digest else {}))
    rig.turn()
    if not has_digest:
        (asking,) = again.read()
        assert asking.request == Digest("a", "xxh3-128", "e1")
        again.answer(Digested(digest_of(OCTETS), SIZE, "e1"))
        rig.turn()
    assert asked.result.offset == came.request.offset
    check_fetched(asked, tmp_path)


def test_a_download_that_is_cut_off_while_its_part_is_noted_down(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    """Repeated at once, there would be two parts, of which the journal knows one."""
    asked = rig.ask(rig.session.get("a", tmp_path / "b"))
    server.read()
    octets = server.encode(Content("", SIZE, 0, "e1", 1, 0o644), OCTETS, BodyEnd(digest_of(OCTETS)))
    rig.link.receive(octets[:100_000])
    # No turn: the thread that writes the journal has not come that far.
    rig.link.lose()
    rig.clock.advance(LONG_SECONDS)
    rig.turn()
    wait(rig)
    again = ScriptedServer(rig.link)
    (came,) = again.read()
    assert len(os.listdir(tmp_path)) == 1
    again.content(OCTETS, digest=digest_of(OCTETS))
    rig.turn()
    assert came.request == Get("a", if_match="e1")
    check_fetched(asked, tmp_path)


def test_a_server_that_is_busy_with_the_digests_of_other_downloads(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    again = connect_again(rig)
    again.read()
    again.content(OCTETS)
    rig.turn()
    for _ in range(2 * TRIES):
        (asking,) = again.read()
        assert asking.request == Digest("a", "xxh3-128", "e1")
        again.answer(Busy("later", retry_after=1))
        rig.turn()
        assert not asked.is_over
        rig.clock.advance(1)
        wait(rig)
    again.read()
    again.answer(Digested(digest_of(OCTETS), SIZE, "e1"))
    rig.turn()
    check_fetched(asked, tmp_path)


def test_what_a_server_was_too_busy_to_compare_is_kept(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    again = connect_again(rig)
    again.read()
    again.content(OCTETS)
    rig.turn()
    while not asked.is_over:
        again.read()
        again.answer(Busy("later", retry_after=1))
        rig.turn()
        rig.clock.advance(1)
        wait(rig)
    assert isinstance(asked.error, Busy)
    rig.end()
    later, again = begin_again(threads)
    asked = later.ask(later.session.get("a", tmp_path / "b"))
    (came,) = again.read()
    assert came.request == Get("a", SIZE, if_match="e1")
    again.content(OCTETS, digest=digest_of(OCTETS))
    later.turn()
    check_fetched(asked, tmp_path)
    later.end()


def test_another_run_goes_on_with_a_download(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    asked.cancel()
    rig.turn()
    rig.end()
    (part,) = os.listdir(tmp_path)
    size = (tmp_path / part).stat().st_size
    assert size > 2_000_000
    later, again = begin_again(threads)
    asked = later.ask(later.session.get("a", tmp_path / "b"))
    (came,) = again.read()
    assert came.request == Get("a", size, if_match="e1")
    again.content(OCTETS, digest=digest_of(OCTETS))
    later.turn()
    assert (tmp_path / "b").read_bytes() == OCTETS
    assert os.listdir(tmp_path) == ["b"]
    assert list_journal() == []
    later.end()


def test_a_server_that_became_an_old_one_sends_the_whole(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads
) -> None:
    """Or seems to be one: it closed without a word, as one does that is being started."""
    begin_get(rig, server, tmp_path / "b").cancel()
    rig.turn()
    rig.end()
    later = Rig(threads, (1, 2))
    later.ask(later.session.open())
    later.answer(UNKNOWN)
    asked = later.ask(later.session.get("a", tmp_path / "b"))
    later.turn()
    later.answer(content("a", b"whole"))
    later.turn()
    assert asked.result.size == 5
    assert os.listdir(tmp_path) == ["b"]
    assert list_journal() == []
    later.end()


def test_a_part_of_what_is_no_more_is_thrown_away(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    again = connect_again(rig)
    again.read()
    again.answer(PreconditionFailed("it changed"))
    rig.turn()
    (came,) = again.read()
    assert came.request == Get("a")
    again.content(b"new", etag="e2")
    rig.turn()
    assert asked.result.size == 3
    assert os.listdir(tmp_path) == ["b"]
    assert list_journal() == []


def test_a_part_that_was_spoilt_is_thrown_away(
    rig: Rig, server: ScriptedServer, tmp_path: Path, threads: HeldThreads
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    asked.cancel()
    rig.turn()
    rig.end()
    (part,) = os.listdir(tmp_path)
    with open(tmp_path / part, "r+b") as file:
        file.write(b"spoilt")
    later, again = begin_again(threads)
    asked = later.ask(later.session.get("a", tmp_path / "b"))
    for _ in range(2):
        (came,) = again.read()
        again.content(OCTETS, digest=digest_of(OCTETS))
        later.turn()
        later.turn()
    assert came.request == Get("a")
    assert asked.result.offset == 0
    assert (tmp_path / "b").read_bytes() == OCTETS
    assert os.listdir(tmp_path) == ["b"]
    later.end()


def test_a_download_that_does_not_move_is_given_up(
    rig: Rig, server: ScriptedServer, tmp_path: Path
) -> None:
    asked = begin_get(rig, server, tmp_path / "b")
    lose_until_over(rig, asked)
    assert isinstance(asked.error, TransferInterrupted)
    assert len(os.listdir(tmp_path)) == 1
    assert len(list_journal()) == 1


def test_a_journal_remembers_and_forgets(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    entry = UploadEntry(b"t" * 16, 5, 6, 7)
    assert journal.find(UploadEntry, "a", "b") is None
    assert not journal.has(UploadEntry, "a", "b")
    journal.write(entry, "a", "b")
    assert Journal(tmp_path).find(UploadEntry, "a", "b") == entry
    assert journal.find(DownloadEntry, "a", "b") is None
    assert journal.find(UploadEntry, "ab", "") is None
    (file,) = (tmp_path / "transfers").iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    journal.remove(UploadEntry, "a", "b")
    journal.remove(UploadEntry, "a", "b")
    assert os.listdir(tmp_path / "transfers") == []


def test_a_journal_that_was_spoilt_says_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.write(UploadEntry(b"t" * 16, 5, 6, 7), "a")
    (file,) = (tmp_path / "transfers").iterdir()
    for octets in (b"", b"{", b"[]", b'{"token": 5}', b"\xff\xff"):
        file.write_bytes(octets)
        assert journal.find(UploadEntry, "a") is None


def test_what_nobody_came_back_for_is_removed(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    part = tmp_path / ".ft-0.part"
    other = tmp_path / "precious"
    for path in (part, other):
        path.write_bytes(b"x")
        journal.write(DownloadEntry("e", str(path)), "a", str(path))
    journal.write(UploadEntry(b"t" * 16, 5, 6, 7), "a")
    claim = journal.claim(UploadEntry, "at work for a day")
    assert claim is not None
    journal.write(UploadEntry(b"t" * 16, 5, 6, 7), "at work for a day")
    old = time.time() - MAX_AGE_SECONDS - 60
    for file in (tmp_path / "transfers").iterdir():
        os.utime(file, (old, old))
    journal.write(UploadEntry(b"t" * 16, 5, 6, 7), "b")
    assert len(os.listdir(tmp_path / "transfers")) == 3
    claim.release()
    assert len(os.listdir(tmp_path / "transfers")) == 2
    assert journal.has(UploadEntry, "at work for a day")
    assert journal.has(UploadEntry, "b")
    assert not part.exists()
    assert other.exists()
