"""What is asked, octet by octet, and what becomes of the answers."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest
from client_rig import (
    DONE,
    HELP,
    NOT_FOUND,
    REFUSED,
    UNKNOWN,
    Rig,
    change,
    content,
    content_head,
    get,
    put,
    put_head,
    summary,
)

from filetransfer.client import Statistics, Transferred
from filetransfer.client.conversation import MAX_UNANSWERED
from filetransfer.errors import (
    LocalProtocolError,
    NameInvalid,
    NotFound,
    RemoteProtocolError,
    RequestRefused,
    SourceChanged,
    TransferTimeout,
    Unsupported,
)

SENT = Transferred(1)
LARGE = 700_000
FRAMED = b"\x4bsummary.txt\x00\x00\x00\x22Max: 44.0\nMin: 10.5\nAvg: -26.25e1\n"
STATISTICS = (44.0, 10.5, -262.5)


def make(directory: Path, name: str, octets: bytes) -> str:
    path = directory / name
    path.write_bytes(octets)
    return str(path)


def numbers(statistics: Statistics) -> tuple[float, float, float]:
    return statistics.max, statistics.min, statistics.mean


def test_put_sends_head_and_body_in_one_write(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.put(make(tmp_path, "a.txt", b"hello")))
    assert rig.link.writes == [put("a.txt", b"hello")]
    assert not asked.is_over
    rig.answer(DONE)
    assert asked.result.size == 5


def test_put_under_another_name(rig: Rig, tmp_path: Path) -> None:
    rig.ask(rig.session.put(make(tmp_path, "a", b"x"), "b/c"))
    assert rig.link.sent() == put("b/c", b"x")


def test_put_of_an_empty_file(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.put(make(tmp_path, "a", b"")))
    assert rig.link.sent() == put("a", b"")
    rig.answer(DONE)
    assert asked.result.size == 0


def test_put_of_a_large_file(rig: Rig, tmp_path: Path) -> None:
    octets = os.urandom(LARGE)
    asked = rig.ask(rig.session.put(make(tmp_path, "a", octets)))
    rig.turn()
    assert rig.link.sent() == put("a", octets)
    rig.answer(DONE)
    assert asked.result.size == LARGE


def test_get_publishes_what_came(rig: Rig, tmp_path: Path) -> None:
    target = tmp_path / "target"
    asked = rig.ask(rig.session.get("a.txt", target))
    assert rig.link.sent() == get("a.txt")
    rig.link.receive(content("a.txt", b"hello"))
    assert not target.exists()
    assert not asked.is_over
    rig.turn()
    assert asked.result.size == 5
    assert target.read_bytes() == b"hello"
    assert os.listdir(tmp_path) == ["target"]


def test_get_into_the_current_directory(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rig.ask(rig.session.get("some/where/a"))
    monkeypatch.chdir("/")
    rig.answer(content("some/where/a", b"x"))
    assert (tmp_path / "a").read_bytes() == b"x"


def test_the_name_that_a_server_sends_back_is_not_used(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.get("a", tmp_path / "a"))
    rig.answer(content("../../evil", b"x"))
    assert asked.result.size == 1
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, LARGE])
def test_get_of_any_size(rig: Rig, tmp_path: Path, size: int) -> None:
    octets = os.urandom(size)
    asked = rig.ask(rig.session.get("a", tmp_path / "a"), rig.session.help())
    whole = content("a", octets) + b"\xc4help"
    for start in range(0, len(whole), 50_000):
        rig.answer(whole[start : start + 50_000])
    assert asked[0].result.size == size
    assert (tmp_path / "a").read_bytes() == octets
    assert asked[1].result == "help"
    assert os.listdir(tmp_path) == ["a"]


def test_get_replaces_what_is_there(rig: Rig, tmp_path: Path) -> None:
    target = make(tmp_path, "a", b"before")
    rig.ask(rig.session.get("a", target))
    rig.answer(content("a", b"after"))
    assert Path(target).read_bytes() == b"after"


def test_get_without_durability(rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    rig.ask(rig.session.get("a", tmp_path / "a", durability="none"))
    rig.answer(content("a", b"x"))
    assert (tmp_path / "a").read_bytes() == b"x"
    assert synced == []
    rig.ask(rig.session.get("a", tmp_path / "b"))
    rig.answer(content("a", b"x"))
    assert len(synced) == 2


def test_change(rig: Rig) -> None:
    asked = rig.ask(rig.session.change("old", "new"))
    assert rig.link.sent() == change("old", "new")
    rig.answer(DONE)
    assert asked.is_over
    assert asked.error is None


def test_help(rig: Rig) -> None:
    asked = rig.ask(rig.session.help())
    assert rig.link.sent() == HELP
    rig.answer(b"\xc8bye help")
    assert asked.result == "bye help"


@pytest.mark.parametrize("at_a_time", [0, 1, 7])
def test_framed_summary(rig: Rig, at_a_time: int) -> None:
    asked = rig.ask(rig.session.summary("a"))
    assert rig.link.sent() == summary("a")
    rig.link.receive(FRAMED, at_a_time=at_a_time)
    assert numbers(asked.result) == STATISTICS


@pytest.mark.parametrize("at_a_time", [0, 1, 7])
def test_bare_summary(rig: Rig, at_a_time: int) -> None:
    asked = rig.ask(rig.session.summary("a"), rig.session.help())
    rig.link.receive(b"Max: 44.0\nMin: 10.5\nAvg: -26.25e1\n\xc8bye help", at_a_time=at_a_time)
    assert numbers(asked[0].result) == STATISTICS
    assert asked[1].result == "bye help"


def test_bare_summary_that_ends_with_silence(rig: Rig) -> None:
    asked = rig.ask(rig.session.summary("a"))
    rig.link.receive(b"Max: 44.0\nMin: 10.5\nAvg: -26.25")
    rig.clock.advance(0.9)
    rig.link.receive(b"e1")
    rig.clock.advance(0.9)
    assert not asked.is_over
    rig.clock.advance(0.1)
    assert numbers(asked.result) == STATISTICS
    assert not rig.link.is_lost


def test_bare_summary_that_ends_with_the_connection(rig: Rig) -> None:
    asked = rig.ask(rig.session.summary("a"))
    rig.link.receive(b"Max: 44.0\nMin: 10.5\nAvg: -26.25e1")
    rig.link.lose()
    assert numbers(asked.result) == STATISTICS


def test_every_answer_one_octet_at_a_time(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(
        rig.session.put(make(tmp_path, "a", b"abc")),
        rig.session.get("b", tmp_path / "b"),
        rig.session.get("c", tmp_path / "c"),
        rig.session.summary("a"),
        rig.session.help(),
    )
    rig.link.receive(
        DONE + content("b", b"body") + content("c", b"c" * 70_000) + FRAMED + b"\xc8bye help",
        at_a_time=1,
    )
    rig.turn()
    assert [each.error for each in asked] == [None] * 5
    assert (tmp_path / "b").read_bytes() == b"body"
    assert (tmp_path / "c").read_bytes() == b"c" * 70_000
    assert asked[4].result == "bye help"


def test_requests_of_one_turn_leave_together_and_in_order(rig: Rig, tmp_path: Path) -> None:
    files = [make(tmp_path, f"f{number}", b"x" * number) for number in range(20)]
    asked = rig.ask(
        *[rig.session.put(file) for file in files], rig.session.get("f3", tmp_path / "g")
    )
    expected = b"".join(put(f"f{number}", b"x" * number) for number in range(20)) + get("f3")
    assert rig.link.writes == [expected]
    rig.answer(DONE * 7 + REFUSED + DONE * 12 + content("f3", b"xxx"))
    assert [type(each.error) for each in asked] == [type(None)] * 7 + [RequestRefused] + [
        type(None)
    ] * 13


def test_many_small_bodies_are_written_in_pieces(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x" * 60_000)
    rig.ask(*[rig.session.put(file) for _ in range(20)])
    assert b"".join(rig.link.writes) == put("a", b"x" * 60_000) * 20
    assert max(map(len, rig.link.writes)) < 400_000


def test_only_so_many_requests_wait_for_an_answer(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x")
    asked = rig.ask(*[rig.session.put(file) for _ in range(MAX_UNANSWERED + 50)])
    assert rig.link.sent() == put("a", b"x") * MAX_UNANSWERED
    rig.answer(DONE * 3)
    assert rig.link.sent() == put("a", b"x") * 3
    rig.answer(DONE * MAX_UNANSWERED)
    rig.answer(DONE * 47)
    assert all(each.result == SENT for each in asked)


def test_files_are_opened_when_their_turn_has_come(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x" * LARGE)
    rig.endpoint.is_silent = True
    before = len(os.listdir("/proc/self/fd"))
    rig.ask(*[rig.session.put(file) for _ in range(1000)])
    assert len(os.listdir("/proc/self/fd")) == before


def test_nothing_is_written_while_there_is_no_room(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x")
    rig.ask(rig.session.put(file))
    rig.link.pause()
    rig.link.sent()
    asked = rig.ask(rig.session.put(file), rig.session.put(file))
    assert rig.link.sent() == b""
    # What the server says is read all the same.
    rig.answer(DONE)
    rig.link.resume()
    assert rig.link.sent() == put("a", b"x") * 2
    rig.answer(DONE * 2)
    assert [each.result for each in asked] == [SENT] * 2


def test_a_large_body_waits_for_room(rig: Rig, tmp_path: Path) -> None:
    octets = os.urandom(LARGE)
    rig.ask(rig.session.put(make(tmp_path, "small", b"x")))
    rig.link.pause()
    rig.link.sent()
    rig.ask(rig.session.put(make(tmp_path, "a", octets)))
    assert rig.link.sent() == b""
    rig.link.transport.write = pausing(rig)  # type: ignore[method-assign]
    rig.link.resume()
    seen = []
    while written := rig.link.sent():
        seen.append(written)
        rig.link.resume()
    assert b"".join(seen) == put("a", octets)
    assert len(seen) > 2


def pausing(rig: Rig):  # type: ignore[no-untyped-def]
    """Give a ``write`` after which there is never room."""
    link = rig.link

    def write(octets: bytes) -> None:
        link.writes.append(octets)
        link.pause()

    return write


def test_requests_follow_a_large_body_only_when_it_is_written(rig: Rig, tmp_path: Path) -> None:
    octets = os.urandom(LARGE)
    large, small = make(tmp_path, "large", octets), make(tmp_path, "small", b"x")
    asked = rig.ask(rig.session.help())
    rig.link.transport.write = pausing(rig)  # type: ignore[method-assign]
    rig.answer(b"\xc8bye help")
    rig.link.sent()
    asked = rig.ask(rig.session.put(large), rig.session.put(small), rig.session.put(large))
    written = rig.link.sent()
    while more := rig.link.sent() or rig.link.resume() or rig.link.sent():
        written += more
    assert written == put("large", octets) + put("small", b"x") + put("large", octets)
    rig.answer(DONE * 3)
    assert [each.result.size for each in asked] == [LARGE, 1, LARGE]


@pytest.mark.parametrize(
    ("octet", "kind"), [(NOT_FOUND, NotFound), (UNKNOWN, Unsupported), (REFUSED, RequestRefused)]
)
def test_a_refusal_ends_one_exchange_only(
    rig: Rig, tmp_path: Path, octet: bytes, kind: type[Exception]
) -> None:
    refused = rig.ask(rig.session.get("a", tmp_path / "a"), rig.session.help())
    rig.answer(octet + b"\xc8bye help")
    assert type(refused[0].error) is kind
    assert refused[1].result == "bye help"
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["", "/a", "../a", "a//b", "a\nb", ".ft-a", "a\x1b[2J", "\udcff"])
def test_a_name_that_is_none_is_refused_before_anything_is_sent(
    rig: Rig, tmp_path: Path, name: str
) -> None:
    file = make(tmp_path, "a", b"x")
    asked = rig.ask(
        rig.session.put(file, name),
        rig.session.get(name, tmp_path / "b"),
        rig.session.get(name),
        rig.session.change(name, "b"),
        rig.session.change("b", name),
        rig.session.summary(name),
    )
    assert all(type(each.error) is NameInvalid for each in asked)
    assert rig.endpoint.attempts == 0


def test_what_version_1_cannot_say_ends_one_exchange_only(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x")
    large = make(tmp_path, "b", b"x" * LARGE)
    asked = rig.ask(
        rig.session.put(file, "n" * 32),
        rig.session.put(large, "n" * 32),
        rig.session.put(file, "n" * 31),
    )
    assert [type(each.error) for each in asked] == [LocalProtocolError] * 2 + [type(None)]
    assert rig.link.sent() == put("n" * 31, b"x")


def test_an_open_file_needs_a_name(rig: Rig) -> None:
    asked = rig.ask(rig.session.put(io.BytesIO(b"x")))
    assert isinstance(asked.error, LocalProtocolError)


def test_a_local_file_that_is_missing_ends_one_exchange_only(rig: Rig, tmp_path: Path) -> None:
    gone = make(tmp_path, "gone", b"x")
    asked = [
        rig.session.put(tmp_path / "missing"),
        rig.session.put(gone),
        rig.session.put(make(tmp_path, "a", b"x")),
    ]
    asked = [rig.ask(each) if index == 0 else each for index, each in enumerate(asked)]
    assert isinstance(asked[0].error, FileNotFoundError)
    rig.endpoint.is_silent = False
    from client_rig import Asked

    begun = [Asked(each) for each in asked[1:]]
    os.unlink(gone)
    rig.turn()
    assert isinstance(begun[0].error, FileNotFoundError)
    assert rig.link.sent() == put("a", b"x")


def test_an_answer_to_nothing_fails_everything(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.help())
    rig.answer(b"\xc8bye help" + DONE)
    assert asked.result == "bye help"
    assert rig.link.was_aborted
    # The session can be used again.
    asked = rig.ask(rig.session.help())
    rig.answer(b"\xc8bye help")
    assert asked.result == "bye help"


def test_nonsense_fails_everything_that_waits(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x")
    asked = rig.ask(*[rig.session.put(file) for _ in range(MAX_UNANSWERED + 5)])
    rig.answer(DONE + b"HTTP/1.1 400 Bad Request\r\n")
    assert asked[0].result.size == 1
    assert all(type(each.error) is RemoteProtocolError for each in asked[1:])
    assert rig.link.was_aborted


def test_done_before_the_whole_body_is_nonsense(rig: Rig, tmp_path: Path) -> None:
    rig.ask(rig.session.help())
    rig.answer(b"\xc8bye help")
    rig.link.transport.write = pausing(rig)  # type: ignore[method-assign]
    asked = rig.ask(rig.session.put(make(tmp_path, "a", b"x" * LARGE)))
    rig.answer(DONE)
    assert isinstance(asked.error, RemoteProtocolError)


def test_a_refusal_before_the_whole_body_spares_the_rest(rig: Rig, tmp_path: Path) -> None:
    rig.ask(rig.session.help())
    rig.answer(b"\xc8bye help")
    first = rig.link
    first.transport.write = pausing(rig)  # type: ignore[method-assign]
    asked = rig.ask(
        rig.session.put(make(tmp_path, "a", b"x" * LARGE)),
        rig.session.put(make(tmp_path, "b", b"y")),
    )
    rig.answer(REFUSED)
    assert type(asked[0].error) is RequestRefused
    assert first.was_aborted
    assert rig.link is not first
    assert rig.link.sent() == put("b", b"y")
    rig.answer(DONE)
    assert asked[1].result.size == 1


@pytest.mark.parametrize("shrinks", [True, False])
def test_a_source_that_changes_while_it_is_sent_is_never_finished(
    rig: Rig, tmp_path: Path, shrinks: bool
) -> None:
    small, large = make(tmp_path, "b", b"y"), make(tmp_path, "a", b"x" * LARGE)
    rig.ask(rig.session.help())
    rig.answer(b"\xc8bye help")
    first = rig.link
    first.sent()
    asked = rig.ask(rig.session.put(small))
    first.transport.write = pausing(rig)  # type: ignore[method-assign]
    changed, after = rig.ask(rig.session.put(large), rig.session.put(small))
    with open(large, "r+b") as file:
        file.truncate(10 if shrinks else LARGE + 10)
    while not changed.is_over:
        first.resume()
    assert isinstance(changed.error, SourceChanged)
    # What was asked before is answered first.
    assert not first.is_lost
    first.receive(DONE)
    rig.turn()
    assert asked.result.size == 1
    assert first.was_aborted
    sent = first.sent()
    assert sent.startswith(put("b", b"y") + put_head("a", LARGE))
    assert len(sent) < LARGE
    assert rig.link.sent() == put("b", b"y")
    rig.answer(DONE)
    assert after.result.size == 1


def test_progress_is_told(rig: Rig, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []

    def progress(moved: int, size: int) -> None:
        told.append((moved, size))

    rig.ask(rig.session.put(make(tmp_path, "a", b"abc"), progress=progress))
    assert told == [(0, 3), (3, 3)]
    rig.answer(DONE)
    told.clear()
    rig.ask(rig.session.put(make(tmp_path, "a", b"x" * LARGE), progress=progress))
    rig.answer(DONE)
    assert told[0] == (0, LARGE)
    assert told[-1] == (LARGE, LARGE)
    assert len(told) > 3
    told.clear()
    rig.ask(rig.session.get("a", tmp_path / "b", progress=progress))
    rig.answer(content_head("a", LARGE))
    rig.answer(b"x" * 100_000)
    assert told[0] == (0, LARGE)
    assert told[-1] == (100_000, LARGE)


def test_nothing_moved_for_too_long_fails_everything(rig: Rig, tmp_path: Path) -> None:
    file = make(tmp_path, "a", b"x")
    asked = rig.ask(*[rig.session.put(file) for _ in range(MAX_UNANSWERED + 5)])
    rig.clock.advance(59)
    rig.answer(DONE)
    rig.clock.advance(59)
    assert not asked[1].is_over
    rig.clock.advance(1)
    assert asked[0].result.size == 1
    assert all(type(each.error) is TransferTimeout for each in asked[1:])
    assert rig.link.was_aborted


def test_what_came_while_we_were_busy_ourselves_is_no_timeout(rig: Rig) -> None:
    asked = rig.ask(rig.session.help())
    # What a reactor does whose thread was held up by a disk: first what is overdue, then what has come.
    rig.clock.callLater(60, rig.link.receive, b"\xc8bye help")
    rig.clock.advance(60)
    assert asked.result == "bye help"
    assert not rig.link.was_aborted


def test_an_idle_session_does_not_time_out(rig: Rig) -> None:
    rig.ask(rig.session.help())
    rig.answer(b"\xc8bye help")
    rig.clock.advance(1000)
    asked = rig.ask(rig.session.help())
    rig.clock.advance(59)
    rig.answer(b"\xc8bye help")
    assert asked.result == "bye help"
    assert len(rig.endpoint.links) == 1


def test_a_slow_disk_here_is_no_timeout(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.get("a", tmp_path / "a"))
    rig.link.receive(content_head("a", 4_000_000))
    # More than may wait for the disk, whose thread does not run.
    rig.link.receive(b"x" * 3_000_000, at_a_time=100_000)
    assert not rig.link.is_read
    rig.clock.advance(1000)
    assert not asked.is_over
    rig.turn()
    assert rig.link.is_read
    rig.answer(b"x" * 1_000_000)
    assert asked.result.size == 4_000_000
