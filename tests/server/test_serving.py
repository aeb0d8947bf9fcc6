"""Connections that break over real sockets, above a real directory: nothing is visible, nothing is left open."""

import os
import signal
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from doubles import DONE, HELP, HELP_REPLY, NOT_FOUND, REFUSED, change, content, get, put, summary
from reactors import run
from serving import Caller, list_children, list_descriptors, reactor, serve, until
from twisted.internet.defer import CancelledError

from filetransfer.errors import Invalid, NotNumeric
from filetransfer.server import exchanges, summaries
from filetransfer.store.parts import StoreUpload
from filetransfer.wire.messages import Statistics, Summary

KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024
SMALL, COPIED, BULK = 100, 100 * KIBIBYTE, 3 * MEBIBYTE
SIZES = pytest.mark.parametrize("size", [SMALL, COPIED, BULK], ids=["small", "copied", "bulk"])
ENDINGS = pytest.mark.parametrize("end", [Caller.end, Caller.reset], ids=["half-close", "reset"])


def make(size: int) -> bytes:
    return (bytes(range(251)) * (size // 251 + 1))[:size]


@SIZES
def test_there_and_back(tmp_path: Path, size: int) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root", durability="full") as serving:
            (tmp_path / "root" / "d").mkdir()
            body = make(size)
            answer = await serving.ask(
                put("a", body)
                + put("d/b", body)
                + get("a")
                + change("a", "c")
                + get("c")
                + get("a")
                + put("e/f", body)
                + HELP
            )
            assert answer == (
                DONE * 2
                + content("a", body)
                + DONE
                + content("c", body)
                + NOT_FOUND
                + REFUSED
                + HELP_REPLY
            )
            assert serving.list_visible() == ["c", "d"]
            assert not serving.list_parts()
            assert not serving.log.failures

    run(work())


async def cut(serving: Any, end: Any, octets: bytes) -> None:
    """Send octets and break off; wait until the daemon has forgotten it all."""
    before = list_descriptors()
    caller = await serving.call()
    caller.send(octets)
    end(caller)
    await caller.receive_all()
    assert caller.received == b""
    await until(lambda: not serving.list_parts() and list_descriptors() == before)


def test_a_slow_write_of_one_body_leaves_the_next_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first one's last octets reach the disk when the second one is on its way past Python."""
    may_write, may_sync = threading.Event(), threading.Event()
    write, prepare = StoreUpload.write, StoreUpload.prepare

    def write_slowly(upload: StoreUpload, octets: bytes) -> None:
        if upload.path == "slow":
            may_write.wait()
        write(upload, octets)

    def prepare_slowly(upload: StoreUpload, *more: Any) -> None:
        if upload.path == "slow":
            may_sync.wait()
        prepare(upload, *more)

    monkeypatch.setattr(StoreUpload, "write", write_slowly)
    monkeypatch.setattr(StoreUpload, "prepare", prepare_slowly)
    body = make(4 * BULK)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:

            def list_sizes() -> list[int]:
                parts = serving.root / ".ft-store" / "parts"
                return sorted(part.stat().st_size for part in parts.iterdir())

            caller = await serving.call()
            caller.send(put("slow", make(COPIED)) + put("bulk", body[:BULK], len(body)))
            await until(lambda: list_sizes() == [0, BULK])
            may_write.set()
            await until(lambda: list_sizes() == [COPIED, BULK])
            caller.send(body[BULK:])
            await until(lambda: "bulk" in serving.list_visible())
            may_sync.set()
            caller.send(HELP)
            assert await caller.receive(len(DONE * 2 + HELP_REPLY)) == DONE * 2 + HELP_REPLY
            assert (serving.root / "bulk").read_bytes() == body
            assert (serving.root / "slow").read_bytes() == make(COPIED)
            assert not serving.log.failures

    try:
        run(work())
    finally:
        may_write.set()
        may_sync.set()


@ENDINGS
@pytest.mark.parametrize("is_small", [True, False], ids=["small", "bulk"])
def test_put_cut_at_every_octet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: Any, is_small: bool
) -> None:
    if not is_small:
        monkeypatch.setattr(exchanges, "MAX_SMALL_OCTETS", 3)
    octets = put("name", b"0123456789")

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            await serving.ask(HELP)
            for length in range(1, len(octets)):
                await cut(serving, end, octets[:length])
            assert not serving.list_visible()
            assert not serving.log.failures

    run(work())


@ENDINGS
def test_bulk_put_cut_in_its_body(tmp_path: Path, end: Any) -> None:
    octets = put("a", make(BULK))
    cuts = [7, 100, 64 * KIBIBYTE, 300 * KIBIBYTE, MEBIBYTE, BULK - 1]

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            # What is made at first use is not a leak.
            await serving.ask(octets + get("a"))
            os.unlink(serving.root / "a")
            for length in cuts:
                await cut(serving, end, octets[:length])
            assert not serving.list_visible()
            assert not serving.log.failures

    run(work())


def test_put_broken_off_after_octets_have_reached_the_disk(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            caller = await serving.call()
            caller.send(put("a", make(2 * MEBIBYTE), size=4 * MEBIBYTE))
            parts = serving.root / ".ft-store" / "parts"
            await until(
                lambda: any(
                    each.stat().st_size >= MEBIBYTE for each in parts.iterdir() if each.exists()
                )
            )
            caller.reset()
            await until(lambda: not serving.list_parts())
            assert not serving.list_visible()

    run(work())


def test_reset_in_mid_download(tmp_path: Path) -> None:
    size = 256 * MEBIBYTE

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            with open(serving.root / "big", "wb") as file:
                file.truncate(size)
            await serving.ask(get("none"))
            before = list_descriptors()
            caller = await serving.call()
            caller.send(get("big") * 3)
            await caller.receive(MEBIBYTE)
            caller.reset()
            await until(lambda: list_descriptors() == before)
            assert await serving.ask(HELP) == HELP_REPLY
            assert not serving.log.failures

    run(work())


def test_a_file_that_shrinks_while_it_is_sent(tmp_path: Path) -> None:
    size = 64 * MEBIBYTE

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            with open(serving.root / "big", "wb") as file:
                file.truncate(size)
            caller = await serving.call()
            caller.send(get("big"))
            await caller.receive(1)
            caller.transport.pauseProducing()
            os.truncate(serving.root / "big", MEBIBYTE)
            caller.transport.resumeProducing()
            assert len(await caller.receive_all()) < size
            assert await serving.ask(HELP) == HELP_REPLY
            assert not serving.log.failures

    run(work())


def test_hostile_names_reach_nothing(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            root = serving.root
            (tmp_path / "secret").write_bytes(b"secret")
            (root / "link").symlink_to("../secret")
            (root / "way").symlink_to("..")
            (root / "directory").mkdir()
            os.mkfifo(root / "pipe")
            names = ["link", "way/secret", "directory", "pipe", "../secret", ".ft-store/lock", "."]
            names += [f"{tmp_path}/secret"[:31], "a\x00b", "\x7f", "directory/", "/"]
            for name in names:
                answer = await serving.ask(
                    get(name)
                    + summary(name)
                    + put(name, b"evil")
                    + change(name, "x")
                    + change("none", name)
                )
                assert answer == NOT_FOUND * 2 + REFUSED + NOT_FOUND * 2, name
            assert (tmp_path / "secret").read_bytes() == b"secret"
            assert serving.list_visible() == ["directory", "link", "pipe", "way"]
            assert not serving.list_parts()
            assert all(line.isprintable() for line in serving.log.lines)
            assert not serving.log.failures

    run(work())


def test_read_only(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "root").mkdir()
        (tmp_path / "root" / "a").write_bytes(b"1")
        async with serve(tmp_path / "root", is_read_only=True) as serving:
            octets = put("b", b"2") + put("c", make(COPIED)) + change("a", "d") + get("a")
            assert await serving.ask(octets) == REFUSED * 3 + content("a", b"1")
            assert os.listdir(serving.root) == ["a"]

    run(work())


def test_bare_summary(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root", summary="bare") as serving:
            text = b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n"
            octets = put("a", b"10\n44\n24\n") + summary("a")
            assert await serving.ask(octets) == DONE + text

    run(work())


def test_modes(tmp_path: Path) -> None:
    async def work() -> None:
        modes = {"file_mode": 0o604, "directory_mode": 0o705}
        async with serve(tmp_path / "root", **modes) as serving:
            await serving.ask(put("a", b"1") + put("b", make(BULK)))
            for name in "ab":
                assert (serving.root / name).stat().st_mode & 0o777 == 0o604
            assert serving.root.stat().st_mode & 0o777 == 0o705

    run(work())


def test_stopping_cuts_connections_and_finishes_commits(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root", durability="full") as serving:
            idle, busy = await serving.call(), await serving.call()
            busy.send(put("a", b"1") + HELP + put("b", make(COPIED), size=BULK))
            await busy.receive(len(DONE + HELP_REPLY))
        await idle.receive_all()
        await busy.receive_all()
        assert serving.list_visible() == ["a"]
        assert not serving.log.failures

    run(work())


# SUMMARY, by child processes.


def block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let children never end by themselves."""
    monkeypatch.setattr(summaries, "child_arguments", lambda: ["/bin/sleep", "1000000"])


def test_summary(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            text = b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n"
            head = b"\x4bsummary.txt" + len(text).to_bytes(4, "big")
            octets = put("a", b"10,44 24\r\n") + summary("a") + HELP
            assert await serving.ask(octets) == DONE + head + text + HELP_REPLY
            # The next is there already, and then the one after it.
            [spare] = list_children()
            assert (await serving.ask(summary("a"))).startswith(head)
            assert len(list_children()) == 1
            assert list_children() != [spare]
        await until(lambda: not list_children())

    run(work())


def test_a_spare_child_that_has_ended_is_no_loss(tmp_path: Path) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            answer = await serving.ask(put("a", b"1") + summary("a"))
            [spare] = list_children()
            os.kill(spare, signal.SIGKILL)
            await until(lambda: not list_children())
            assert await serving.ask(summary("a")) == answer[1:]
            assert not serving.log.failures

    run(work())


def test_no_spare_child_is_kept_once_it_is_closed(tmp_path: Path) -> None:
    (tmp_path / "numbers").write_bytes(b"1")

    async def work() -> None:
        children = summaries.Summaries(reactor)
        with (tmp_path / "numbers").open("rb") as file:
            result = children.summarise(file.fileno(), Summary("numbers"))
            children.close()
            assert (await result).count == 1
        await until(lambda: not list_children())

    run(work())


def test_a_child_that_cannot_be_forked_leaves_no_descriptor(tmp_path: Path) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise BlockingIOError

    before = list_descriptors()
    with pytest.raises(BlockingIOError):
        summaries._Child(SimpleNamespace(spawnProcess=fail))
    assert list_descriptors() == before


def test_a_spare_child_does_not_wait_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summaries, "SPARE_SECONDS", 0.0)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            await serving.ask(put("a", b"1") + summary("a"))
            await until(lambda: not list_children())
            assert (await serving.ask(summary("a"))).startswith(b"\x4bsummary.txt")

    run(work())


@pytest.mark.parametrize(
    ("octets", "where"),
    [(b"1\n2\n3 x\n", "line 3, octet 6"), (b"", "octet 0"), (b"nan", "octet 0")],
)
def test_summary_of_what_is_no_number_is_logged(tmp_path: Path, octets: bytes, where: str) -> None:
    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            answer = await serving.ask(put("a", octets) + summary("a") + HELP)
            assert answer == DONE + NOT_FOUND + HELP_REPLY
            [line] = [line for line in serving.log.lines if "not-numeric" in line]
            assert where in line
            assert not serving.log.failures

    run(work())


@pytest.mark.parametrize(
    "script",
    [
        "kill -SEGV $$",
        "kill -KILL $$",
        "exit 3",
        "echo nonsense",
        "echo done 1 2",
        "printf '\\377'",
        "head -c 10000000 /dev/zero",
        "echo boom >&2; head -c 10000000 /dev/zero >&2; exit 1",
    ],
)
def test_child_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(summaries, "child_arguments", lambda: ["/bin/sh", "-c", script])

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            octets = put("a", b"1") + summary("a") + HELP
            assert await serving.ask(octets) == DONE + NOT_FOUND + HELP_REPLY
            assert [type(each).__name__ for each in serving.log.failures] == ["ChildFailed"]
            assert not list_children()

    run(work())


def test_child_that_cannot_be_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summaries, "child_arguments", lambda: ["/no/such/program"])

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            octets = put("a", b"1") + summary("a") + HELP
            assert await serving.ask(octets) == DONE + NOT_FOUND + HELP_REPLY
            assert len(serving.log.failures) == 1
            assert await serving.ask(octets) == DONE + NOT_FOUND + HELP_REPLY

    run(work())


def test_as_many_children_as_there_are_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cores = os.cpu_count() or 1
    block(monkeypatch)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            await serving.ask(put("a", b"1"))
            before = list_descriptors()
            callers = [await serving.call() for _ in range(cores + 3)]
            for caller in callers:
                caller.send(summary("a"))
            await until(lambda: len(list_children()) == cores)
            # Nobody else waits for them, nor for a thread.
            octets = put("b", make(COPIED)) + get("b") + HELP
            assert await serving.ask(octets) == DONE + content("b", make(COPIED)) + HELP_REPLY
            # Whoever leaves makes room for one that waits.
            for remaining in reversed(range(len(callers))):
                assert len(list_children()) <= cores
                callers[remaining].reset()
                await until(lambda: len(list_children()) == min(cores, remaining))  # noqa: B023
            await until(lambda: list_descriptors() == before)
            assert not serving.log.failures
            monkeypatch.undo()
            assert (await serving.ask(summary("a"))).startswith(b"\x4bsummary.txt")

    run(work())


def test_reset_while_a_summary_runs_and_requests_wait_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block(monkeypatch)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            await serving.ask(put("a", b"1"))
            caller = await serving.call()
            caller.send(summary("a") + HELP * 1000)
            await until(lambda: len(list_children()) == 1)
            caller.reset()
            await until(lambda: not list_children())
            assert not serving.log.failures

    run(work())


def test_stopping_ends_the_children(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block(monkeypatch)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            caller = await serving.call()
            caller.send(put("a", b"1") + summary("a"))
            await until(lambda: len(list_children()) == 1)
        await until(lambda: not list_children())

    run(work())


def test_statistics_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    path.write_bytes('a header\n\nm²;"kg"\n1;10\n1;44\n1;24\n1;26\n'.encode())

    async def work() -> None:
        children = summaries.Summaries(reactor)
        with path.open("rb") as file:
            request = Summary("rows", column="kg", delimiter=";", skip=1)
            found = await children.summarise(file.fileno(), request)
            assert found == Statistics(
                max=44.0, min=10.0, mean=26.0, count=4, sum=104.0, stddev=12.083045973594572
            )
            with pytest.raises(NotNumeric, match="line 4, octet 19: the row has 2 columns, not 3"):
                await children.summarise(file.fileno(), Summary("rows", 3, ";", 3))
            with pytest.raises(Invalid):
                children.summarise(file.fileno(), Summary("rows", 1, '"'))
        children.close()
        await until(lambda: not list_children())

    run(work())


def test_giving_up_a_child_that_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has ended and was waited for, but its answer may still be in the pipe: here a child of its own holds it."""
    script = f"sleep 1000000 & echo $! > {tmp_path}/new; mv {tmp_path}/new {tmp_path}/pid"
    monkeypatch.setattr(summaries, "child_arguments", lambda: ["/bin/sh", "-c", script])

    async def work() -> None:
        children = summaries.Summaries(reactor, 1)
        results: list[Any] = []
        first = children.summarise(0, Summary("a"))
        first.addErrback(results.append)
        await until(lambda: (tmp_path / "pid").exists() and not list_children())
        first.cancel()
        assert results[0].check(CancelledError)
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
        # The place is free for the next.
        monkeypatch.setattr(summaries, "child_arguments", lambda: ["/bin/true"])
        children.summarise(0, Summary("a")).addErrback(results.append)
        await until(lambda: len(results) == 2)
        assert results[1].check(summaries.ChildFailed)

    run(work())
