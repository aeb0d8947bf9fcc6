"""What becomes of exchanges whose connection is lost, cannot be made, or is given up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from client_rig import (
    CONNECT_TIMEOUT_SECONDS,
    DONE,
    HELP,
    TRIES,
    Asked,
    Rig,
    change,
    content,
    content_head,
    get,
    put,
)
from reactors import HeldThreads
from twisted.internet import error
from twisted.internet.defer import CancelledError, Deferred

from filetransfer.client import Transferred
from filetransfer.client.connecting import choose_wait
from filetransfer.errors import (
    ConnectFailed,
    ConnectTimeout,
    LocalProtocolError,
    OutcomeUnknown,
    TransferInterrupted,
)

LONG_SECONDS = 10
SENT = Transferred(1)
LARGE = 2_000_000


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "a"
    path.write_bytes(b"x")
    return str(path)


def wait(rig: Rig) -> None:
    """Let the wait before the next try pass."""
    rig.clock.advance(LONG_SECONDS)
    rig.turn()


def test_a_server_that_closes_after_each_response(rig: Rig, file: str) -> None:
    asked = rig.ask(*[rig.session.put(file) for _ in range(5)], rig.session.help())
    sent = []
    for octets in [DONE] * 5 + [b"\xc4help"]:
        rig.turn()
        sent.append(rig.link.sent())
        rig.link.receive(octets)
        rig.link.lose()
    assert [each.result for each in asked[:5]] == [SENT] * 5
    assert asked[5].result == "help"
    # Two connections show how the server is; from then on nothing is sent that it will not read.
    assert sent[0] == put("a", b"x") * 5 + HELP
    assert sent[1] == put("a", b"x") * 4 + HELP
    assert sent[2:] == [put("a", b"x")] * 3 + [HELP]


def test_such_a_server_is_not_waited_for(rig: Rig, file: str) -> None:
    asked = rig.ask(*[rig.session.put(file) for _ in range(5)])
    for _ in range(2):
        rig.link.receive(DONE)
        rig.link.lose()
        rig.turn()
    third = rig.link
    third.receive(DONE)
    assert not third.is_lost
    rig.turn()
    # It would have closed; no need to wait for it.
    assert third.is_lost
    assert rig.link is not third
    rig.answer(DONE)
    rig.answer(DONE)
    assert [each.result for each in asked] == [SENT] * 5


def test_a_change_is_unambiguous_with_such_a_server(rig: Rig, file: str) -> None:
    asked = rig.ask(*[rig.session.put(file) for _ in range(3)], rig.session.change("b", "c"))
    for _ in range(3):
        rig.link.receive(DONE)
        rig.link.lose()
        rig.turn()
    assert rig.link.sent() == change("b", "c")
    rig.link.receive(DONE)
    rig.link.lose()
    assert [each.error for each in asked] == [None] * 4


def test_what_was_not_answered_is_asked_again(rig: Rig, file: str, tmp_path: Path) -> None:
    asked = rig.ask(
        *[rig.session.put(file) for _ in range(3)],
        rig.session.get("b", tmp_path / "b"),
        rig.session.help(),
    )
    rig.link.receive(DONE * 2)
    rig.link.lose()
    rig.turn()
    assert rig.link.sent() == put("a", b"x") + get("b") + HELP
    rig.answer(DONE + content("b", b"b") + b"\xc4help")
    assert [each.error for each in asked] == [None] * 5


def test_a_body_that_was_cut_is_asked_again(rig: Rig, tmp_path: Path) -> None:
    for size in (10, LARGE):
        asked = rig.ask(rig.session.get("b", tmp_path / "b"))
        rig.link.receive(content_head("b", size) + b"1" * (size - 1))
        rig.link.lose()
        rig.turn()
        assert os.listdir(tmp_path) == []
        wait(rig)
        assert rig.link.sent() == get("b")
        rig.answer(content("b", b"2" * size))
        assert asked.result.size == size
        assert (tmp_path / "b").read_bytes() == b"2" * size
        os.unlink(tmp_path / "b")


def test_a_body_that_was_being_sent_is_sent_again(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"b" * LARGE)
    rig.ask(rig.session.help())
    rig.answer(b"\xc4help")
    link = rig.link
    link.transport.write = lambda data: (link.writes.append(data), link.pause())  # type: ignore[method-assign]
    before = len(os.listdir("/proc/self/fd"))
    asked = rig.ask(rig.session.put(tmp_path / "b"))
    assert len(link.sent()) < LARGE
    link.lose(error.ConnectionLost())
    assert len(os.listdir("/proc/self/fd")) == before
    wait(rig)
    assert rig.link is not link
    assert rig.link.sent() == put("b", b"b" * LARGE)
    rig.answer(DONE)
    assert asked.result.size == LARGE


def test_a_change_that_was_not_answered_is_not_repeated(rig: Rig) -> None:
    asked = rig.ask(rig.session.change("a", "b"))
    rig.link.lose()
    wait(rig)
    assert isinstance(asked.error, OutcomeUnknown)
    assert "may have been done" in str(asked.error)
    assert len(rig.endpoint.links) == 1


def test_a_change_waits_until_the_server_is_known_not_to_close(rig: Rig, file: str) -> None:
    asked = rig.ask(
        rig.session.put(file), rig.session.change("a", "b"), rig.session.change("b", "c")
    )
    assert rig.link.sent() == put("a", b"x")
    rig.answer(DONE)
    assert rig.link.sent() == change("a", "b")
    rig.answer(DONE)
    assert rig.link.sent() == change("b", "c")
    rig.answer(DONE)
    assert [each.error for each in asked] == [None] * 3
    rig.ask(rig.session.put(file), rig.session.change("a", "b"), rig.session.change("b", "c"))
    assert rig.link.sent() == put("a", b"x") + change("a", "b") + change("b", "c")


def test_a_change_that_was_not_sent_is_sent_on_the_next_connection(rig: Rig, file: str) -> None:
    asked = rig.ask(rig.session.put(file), rig.session.change("a", "b"))
    rig.link.receive(DONE)
    rig.link.lose()
    rig.turn()
    assert rig.link.sent() == change("a", "b")
    rig.answer(DONE)
    assert asked[1].error is None


def test_lost_without_an_answer_is_tried_again_with_waits(rig: Rig, file: str) -> None:
    asked = rig.ask(rig.session.put(file), rig.session.help())
    for number in range(1, TRIES):
        rig.link.lose(error.ConnectionLost())
        rig.turn()
        assert len(rig.endpoint.links) == number
        assert not asked[0].is_over
        wait(rig)
        assert len(rig.endpoint.links) == number + 1
        # Alone: a server that closes with requests unread destroys its response.
        assert rig.link.sent() == put("a", b"x")
    rig.link.lose(error.ConnectionLost())
    assert type(asked[0].error) is TransferInterrupted
    # It may be that very file that the server cannot bear: the others go on.
    rig.turn()
    assert rig.link.sent() == HELP
    rig.answer(b"\xc4help")
    assert asked[1].result == "help"


def test_what_follows_a_lost_cause_has_one_try_until_something_is_answered(
    rig: Rig, file: str
) -> None:
    asked = rig.ask(*[rig.session.put(file) for _ in range(4)])
    for _ in range(TRIES):
        rig.link.lose()
        wait(rig)
    rig.link.lose()
    rig.turn()
    assert [each.is_over for each in asked] == [True, True, False, False]
    rig.answer(DONE)
    rig.link.lose()
    rig.turn()
    rig.link.lose()
    wait(rig)
    assert not asked[3].is_over
    rig.answer(DONE)
    assert asked[3].result.size == 1


def test_a_connection_that_is_lost_between_requests_is_made_anew(rig: Rig) -> None:
    rig.ask(rig.session.help())
    rig.answer(b"\xc4help")
    rig.link.lose()
    rig.turn()
    assert len(rig.endpoint.links) == 1
    asked = rig.ask(rig.session.change("a", "b"))
    assert rig.link.sent() == change("a", "b")
    rig.answer(DONE)
    assert asked.error is None


def test_a_refused_connection_is_tried_again(rig: Rig) -> None:
    rig.endpoint.failures = [error.ConnectionRefusedError() for _ in range(TRIES - 1)]
    asked = rig.ask(rig.session.help())
    wait(rig)
    wait(rig)
    rig.answer(b"\xc4help")
    assert asked.result == "help"


def test_a_connection_that_is_refused_each_time_fails_everything(rig: Rig, file: str) -> None:
    rig.endpoint.failures = [error.ConnectionRefusedError() for _ in range(TRIES)]
    asked = rig.ask(rig.session.help(), rig.session.put(file))
    wait(rig)
    assert not asked[0].is_over
    wait(rig)
    assert rig.endpoint.attempts == TRIES
    assert all(type(each.error) is ConnectFailed for each in asked)
    assert "connection refused" in str(asked[0].error)
    assert asked[0].error is asked[1].error
    # The next request tries again.
    asked = rig.ask(rig.session.help())
    rig.answer(b"\xc4help")
    assert asked.result == "help"


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (error.DNSLookupError(), "no address of the host is known"),
        (error.ConnectError(113, "whatever"), "No route to host"),
        (error.ConnectError(string="strange"), "strange"),
        (OSError(101, "whatever"), "Network is unreachable"),
    ],
)
def test_why_a_connection_failed(rig: Rig, failure: Exception, text: str) -> None:
    rig.endpoint.failures = [failure] * TRIES
    asked = rig.ask(rig.session.help())
    wait(rig)
    wait(rig)
    assert type(asked.error) is ConnectFailed
    assert text in str(asked.error)
    assert "server:9000" in str(asked.error)
    assert rig.endpoint.attempts == (1 if isinstance(failure, error.DNSLookupError) else TRIES)


def test_no_connection_in_time(rig: Rig) -> None:
    rig.endpoint.is_silent = True
    asked = rig.ask(rig.session.help(), rig.session.help())
    rig.clock.advance(CONNECT_TIMEOUT_SECONDS)
    assert all(type(each.error) is ConnectTimeout for each in asked)
    assert rig.endpoint.attempts == rig.endpoint.cancelled == 1


def test_the_endpoint_may_time_out_by_itself(rig: Rig) -> None:
    rig.endpoint.failures = [error.TimeoutError()]
    assert type(rig.ask(rig.session.help()).error) is ConnectTimeout


@pytest.mark.parametrize("failures", [1, 2, 3, 10])
def test_waits_grow_differ_and_end(failures: int) -> None:
    longest = min(0.25 * 2 ** (failures - 1), 8)
    waits = {choose_wait(failures) for _ in range(100)}
    assert len(waits) > 50
    assert longest / 2 <= min(waits) <= max(waits) <= longest


def test_entering_connects_and_leaving_says_bye(rig: Rig) -> None:
    async def use() -> str:
        async with rig.session as session:
            assert rig.endpoint.attempts == 1
            return await session.help()

    asked = rig.ask(use())
    rig.answer(b"\xc4help")
    assert asked.result == "help"
    assert rig.link.is_lost
    assert not rig.link.was_aborted
    assert isinstance(rig.ask(rig.session.help()).error, LocalProtocolError)


def test_entering_says_that_there_is_nobody(rig: Rig) -> None:
    rig.endpoint.failures = [error.DNSLookupError()]

    async def use() -> None:
        async with rig.session:
            raise AssertionError

    assert type(rig.ask(use()).error) is ConnectFailed


def test_leaving_by_an_exception_gives_up(rig: Rig, tmp_path: Path) -> None:
    trouble: Deferred[None] = Deferred()

    async def use() -> None:
        async with rig.session as session:
            rig.ask(session.get("a", tmp_path / "a"))
            await trouble

    asked = rig.ask(use())
    rig.answer(content_head("a", LARGE) + b"x" * 1_000_000)
    assert len(os.listdir(tmp_path)) == 1
    trouble.errback(KeyError())
    rig.turn()
    assert isinstance(asked.error, KeyError)
    assert rig.link.was_aborted
    assert os.listdir(tmp_path) == []


def test_close_waits_for_what_is_under_way(rig: Rig, file: str) -> None:
    asked = rig.ask(rig.session.put(file), rig.session.put(file))
    closed = rig.ask(rig.session.close())
    rig.answer(DONE)
    assert not closed.is_over
    rig.answer(DONE)
    assert closed.is_over
    assert [each.result for each in asked] == [SENT] * 2
    assert rig.link.is_lost


def test_abort_leaves_no_parts(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.get("a", tmp_path / "a"), rig.session.get("b", tmp_path / "b"))
    rig.answer(content_head("a", LARGE) + b"x" * 1_000_000)
    assert len(os.listdir(tmp_path)) == 1
    rig.link.receive(b"x" * 300_000)
    aborted = Asked(rig.session.abort())
    rig.clock.advance(0)
    # A thread is still writing to the part.
    assert not aborted.is_over
    rig.turn()
    assert aborted.is_over
    assert os.listdir(tmp_path) == []
    assert all(isinstance(each.error, TransferInterrupted) for each in asked)
    assert rig.link.was_aborted


def test_abort_while_small_files_wait_to_be_published(
    rig: Rig, threads: HeldThreads, tmp_path: Path
) -> None:
    asked = rig.ask(*[rig.session.get(name, tmp_path / name) for name in "abc"])
    rig.link.receive(content("a", b"x") + content("b", b"x") + content("c", b"x"))
    aborted = Asked(rig.session.abort())
    rig.clock.advance(0)
    # What a thread is doing is waited for.
    assert not aborted.is_over
    threads.run()
    assert aborted.is_over
    assert os.listdir(tmp_path) == ["a"]
    assert all(isinstance(each.error, TransferInterrupted) for each in asked)


def test_abort_while_connecting(rig: Rig) -> None:
    rig.endpoint.is_silent = True
    asked = rig.ask(rig.session.help())
    rig.ask(rig.session.abort())
    assert isinstance(asked.error, TransferInterrupted)
    assert rig.endpoint.cancelled == 1


def test_abort_while_waiting_to_connect(rig: Rig) -> None:
    rig.endpoint.failures = [error.ConnectionRefusedError()]
    asked = rig.ask(rig.session.help())
    rig.ask(rig.session.abort())
    assert isinstance(asked.error, TransferInterrupted)
    assert rig.clock.getDelayedCalls() == []


def test_what_is_given_up_before_it_is_sent_is_not_sent(rig: Rig, file: str) -> None:
    rig.endpoint.is_silent = True
    first, second = rig.ask(rig.session.put(file), rig.session.help())
    first.cancel()
    second.cancel()
    rig.endpoint.is_silent = False
    rig.clock.advance(CONNECT_TIMEOUT_SECONDS)
    asked = rig.ask(rig.session.help())
    assert rig.link.sent() == HELP
    rig.answer(b"\xc4help")
    assert asked.result == "help"


def test_the_answer_to_what_was_given_up_is_thrown_away(
    rig: Rig, file: str, tmp_path: Path
) -> None:
    asked = rig.ask(rig.session.put(file), rig.session.get("b", tmp_path / "b"), rig.session.help())
    asked[0].cancel()
    asked[1].cancel()
    rig.answer(DONE + content("b", b"b" * 70_000) + b"\xc4help")
    assert asked[2].result == "help"
    assert os.listdir(tmp_path) == ["a"]


def test_giving_up_a_small_body_that_is_coming(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(rig.session.get("b", tmp_path / "b"), rig.session.help())
    rig.answer(content_head("b", 100) + b"b" * 50)
    asked[0].cancel()
    rig.answer(b"b" * 50 + b"\xc4help")
    assert asked[1].result == "help"
    assert len(rig.endpoint.links) == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("left", [1000, 3_000_000])
def test_giving_up_a_large_body_that_is_coming(rig: Rig, tmp_path: Path, left: int) -> None:
    asked = rig.ask(rig.session.get("b", tmp_path / "b"), rig.session.help())
    rig.answer(content_head("b", 100_000 + left) + b"b" * 100_000)
    first = rig.link
    asked[0].cancel()
    rig.turn()
    assert isinstance(asked[0].error, CancelledError)
    assert os.listdir(tmp_path) == []
    # A large rest is not worth reading.
    assert first.is_lost == (left > 1_000_000)
    rig.answer(b"\xc4help" if first.is_lost else b"b" * left + b"\xc4help")
    assert asked[1].result == "help"


def test_giving_up_a_large_body_that_is_being_sent(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"b" * LARGE)
    rig.ask(rig.session.help())
    rig.answer(b"\xc4help")
    link = rig.link
    link.transport.write = lambda data: (link.writes.append(data), link.pause())  # type: ignore[method-assign]
    asked = rig.ask(rig.session.put(tmp_path / "b"), rig.session.help())
    asked[0].cancel()
    rig.turn()
    assert link.was_aborted
    assert rig.link.sent() == HELP
    rig.answer(b"\xc4help")
    assert asked[1].result == "help"


def test_a_body_that_cannot_be_written_ends_one_exchange_only(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(28, "No space left on device")

    asked = rig.ask(rig.session.get("b", tmp_path / "b"), rig.session.help())
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", refuse)
        rig.answer(content_head("b", LARGE) + b"b" * 300_000)
        rig.answer(b"b" * 300_000)
    rig.turn()
    assert isinstance(asked[0].error, OSError)
    assert asked[0].error.errno == 28
    assert asked[0].error.filename == str(tmp_path / "b")
    assert os.listdir(tmp_path) == []
    rig.answer(b"\xc4help")
    assert asked[1].result == "help"


def test_a_destination_that_vanishes_ends_one_exchange_only(rig: Rig, tmp_path: Path) -> None:
    directory = tmp_path / "d"
    directory.mkdir()
    asked = rig.ask(
        rig.session.get("b", directory / "b"),
        rig.session.get("c", directory / "c"),
        rig.session.help(),
    )
    directory.rmdir()
    rig.answer(content("b", b"b") + content("c", b"c" * 100_000) + b"\xc4help")
    assert isinstance(asked[0].error, FileNotFoundError)
    assert isinstance(asked[1].error, FileNotFoundError)
    assert asked[2].result == "help"
    assert len(rig.endpoint.links) == 1


def test_cancelling_says_so(rig: Rig) -> None:
    asked = rig.ask(rig.session.help())
    asked.cancel()
    assert isinstance(asked.error, CancelledError)
