"""Where what was fetched goes: whole or not at all, durable or not, in batches."""

from __future__ import annotations

import io
import os
import stat
from pathlib import Path

import pytest
from client_rig import HELP, Asked, Rig, content, content_head
from reactors import HeldThreads

from filetransfer.client import conversation, publishing
from filetransfer.client.destinations import PathDestination, Stream, find_destination
from filetransfer.client.publishing import Publisher, SmallDelivery
from filetransfer.errors import TransferInterrupted

LARGE = 300_000


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Deliveries:
    """Delivers small files, and keeps what is told of them."""

    def __init__(self) -> None:
        from twisted.internet.threads import deferToThread

        self.publisher = Publisher(deferToThread)
        self.told: dict[str, BaseException | None] = {}

    def submit(self, path: Path, octets: bytes = b"x", durability: str = "full") -> None:
        def done(error: BaseException | None) -> None:
            self.told[path.name] = error

        destination = PathDestination(str(path), durability)  # type: ignore[arg-type]
        self.publisher.submit(SmallDelivery(octets, destination, done))


@pytest.mark.parametrize("durability", ["full", "none"])
def test_a_batch(threads: HeldThreads, tmp_path: Path, durability: str) -> None:
    before = open_descriptors()
    deliveries = Deliveries()
    for number in range(200):
        deliveries.submit(tmp_path / str(number), b"%d" % number, durability)
    # What waits for no disk waits for no thread either.
    assert len(threads) == (durability == "full")
    threads.run()
    assert len(deliveries.told) == 200
    assert set(deliveries.told.values()) == {None}
    assert sorted(os.listdir(tmp_path)) == sorted(map(str, range(200)))
    assert (tmp_path / "123").read_bytes() == b"123"
    assert open_descriptors() == before


def test_a_batch_is_durable_before_anybody_is_told(
    threads: HeldThreads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        is_directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        calls.append("directory" if is_directory else "file")
        fsync(descriptor)

    def note_rename(*paths: object, **options: object) -> None:
        calls.append("rename")
        rename(*paths, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    deliveries = Deliveries()
    deliveries.submit(tmp_path / "a")
    for name in "bcd":
        deliveries.submit(tmp_path / name)
    threads.run_one()
    assert calls == ["file", "rename"]
    assert not deliveries.told
    calls.clear()
    # The directory of the first batch, with the files of the second.
    threads.run_one()
    assert sorted(calls[:4]) == ["directory", "file", "file", "file"]
    assert calls[4:] == ["rename"] * 3
    assert list(deliveries.told) == ["a"]
    calls.clear()
    threads.run_one()
    assert calls == ["directory"]
    assert list(deliveries.told) == list("abcd")
    assert not len(threads)


def test_the_last_of_two_with_one_name_wins(threads: HeldThreads, tmp_path: Path) -> None:
    deliveries = Deliveries()
    for octets in (b"0", b"1", b"2", b"3"):
        deliveries.submit(tmp_path / "a", octets)
    threads.run()
    assert (tmp_path / "a").read_bytes() == b"3"


def test_one_that_fails_does_not_stop_the_batch(threads: HeldThreads, tmp_path: Path) -> None:
    before = open_descriptors()
    deliveries = Deliveries()
    (tmp_path / "taken").mkdir()
    deliveries.submit(tmp_path / "a")
    deliveries.submit(tmp_path / "taken")
    deliveries.submit(tmp_path / "missing" / "b")
    deliveries.submit(tmp_path / "c")
    threads.run()
    assert deliveries.told["a"] is None
    assert deliveries.told["c"] is None
    assert isinstance(deliveries.told["taken"], IsADirectoryError)
    assert isinstance(deliveries.told["b"], FileNotFoundError)
    assert sorted(os.listdir(tmp_path)) == ["a", "c", "taken"]
    assert open_descriptors() == before


@pytest.mark.parametrize("failing", ["file", "directory", "rename", "write", "open"])
def test_a_disk_that_fails(
    threads: HeldThreads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError(5, "Input/output error")

    fsync = os.fsync

    def fail_for(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) == (failing == "directory"):
            fail()
        fsync(descriptor)

    if failing == "rename":
        monkeypatch.setattr(os, "rename", fail)
    elif failing == "write":
        monkeypatch.setattr(os, "write", fail)
    elif failing == "open":
        open_ = os.open

        def refuse(path: str, flags: int, *rest: int, **options: int) -> int:
            if flags & os.O_CREAT:
                fail()
            return open_(path, flags, *rest, **options)

        monkeypatch.setattr(os, "open", refuse)
    else:
        monkeypatch.setattr(os, "fsync", fail_for)
    before = open_descriptors()
    deliveries = Deliveries()
    for name in "abc":
        deliveries.submit(tmp_path / name)
    threads.run()
    assert [getattr(error, "errno", None) for error in deliveries.told.values()] == [5] * 3
    # A file whose directory could not be synced is there, and may not be after a power cut.
    assert len(os.listdir(tmp_path)) == (3 if failing == "directory" else 0)
    assert open_descriptors() == before


def test_a_fault_of_ours_is_told(
    threads: HeldThreads, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliveries = Deliveries()
    monkeypatch.setattr(publishing, "_sync_parent", lambda *_: 1 / 0)
    deliveries.submit(tmp_path / "a")
    threads.run()
    assert isinstance(deliveries.told["a"], ZeroDivisionError)


def test_a_symbolic_link_stays(rig: Rig, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "d" / "real")
    for octets in (b"1", b"2"):
        rig.ask(rig.session.get("a", tmp_path / "link"))
        rig.answer(content("a", octets))
        assert (tmp_path / "link").is_symlink()
        assert (tmp_path / "d" / "real").read_bytes() == octets


def test_a_directory_is_refused_before_anything_is_sent(rig: Rig, tmp_path: Path) -> None:
    asked = rig.ask(
        rig.session.get("a", tmp_path), rig.session.get("a", tmp_path / "missing" / "a")
    )
    assert isinstance(asked[0].error, IsADirectoryError)
    assert isinstance(asked[1].error, FileNotFoundError)
    assert rig.endpoint.attempts == 0


def test_a_directory_that_may_not_be_written_to_is_refused_before_anything_is_sent(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may write everywhere.
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert isinstance(rig.ask(rig.session.get("a", tmp_path / "a")).error, PermissionError)
    assert rig.endpoint.attempts == 0


def test_a_device_is_written_to_and_not_replaced(rig: Rig) -> None:
    before = open_descriptors()
    asked = rig.ask(rig.session.get("a", "/dev/null"))
    rig.answer(content("a", b"x"))
    assert asked.result.size == 1
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    assert open_descriptors() == before


def test_what_has_become_special_is_not_replaced(rig: Rig, tmp_path: Path) -> None:
    for size in (1, LARGE):
        asked = rig.ask(rig.session.get("a", tmp_path / "a"))
        os.mkfifo(tmp_path / "a")
        rig.answer(content("a", b"x" * size))
        assert isinstance(asked.error, OSError)
        assert stat.S_ISFIFO(os.stat(tmp_path / "a").st_mode)
        os.unlink(tmp_path / "a")


@pytest.mark.parametrize("size", [0, 1, LARGE])
def test_an_open_file_takes_the_octets(rig: Rig, size: int) -> None:
    file = io.BytesIO()
    asked = rig.ask(rig.session.get("a", file))
    rig.answer(content("a", b"x" * size))
    assert asked.result.size == size
    assert file.getvalue() == b"x" * size


def test_a_descriptor_takes_the_octets(rig: Rig, tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "a", os.O_WRONLY | os.O_CREAT)
    os.write(descriptor, b"before ")
    rig.ask(rig.session.get("a", descriptor))
    rig.answer(content("a", b"after"))
    os.close(descriptor)
    assert (tmp_path / "a").read_bytes() == b"before after"


def test_a_stream_that_takes_a_little_at_a_time() -> None:
    taken: list[bytes] = []

    def write(octets: memoryview) -> int:
        taken.append(bytes(octets[:3]))
        return len(taken[-1])

    Stream(write, lambda: None).write(b"0123456789")
    assert b"".join(taken) == b"0123456789"


def test_a_stream_that_has_begun_is_not_begun_again(rig: Rig) -> None:
    file = io.BytesIO()
    asked = rig.ask(rig.session.get("a", file))
    rig.link.lose()
    rig.clock.advance(10)
    # Nothing had come yet.
    rig.answer(content_head("a", 5) + b"x")
    rig.link.lose()
    rig.turn()
    rig.clock.advance(10)
    assert isinstance(asked.error, TransferInterrupted)
    assert len(rig.endpoint.links) == 2


def test_a_stream_that_is_broken(rig: Rig) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    asked = rig.ask(rig.session.get("a", writer), rig.session.help())
    rig.answer(content("a", b"x" * 1000) + b"\xc4help")
    assert isinstance(asked[0].error, BrokenPipeError)
    assert asked[1].result == "help"
    os.close(writer)


def test_large_files_that_wait_hold_others_back(
    rig: Rig, tmp_path: Path, threads: HeldThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversation, "_MAX_OPEN", 1)
    asked = rig.ask(rig.session.get("a", tmp_path / "a"))
    rig.link.sent()
    rig.link.receive(content("a", b"x" * 70_000))
    # It is written, and waits to be published with its descriptors open.
    threads.run_one()
    later = Asked(rig.session.help())
    rig.clock.advance(0)
    assert rig.link.sent() == b""
    rig.turn()
    assert asked.result.size == 70_000
    assert rig.link.sent() == HELP
    rig.answer(b"\xc4help")
    assert later.result == "help"


def test_find_destination_of_a_new_file(tmp_path: Path) -> None:
    found = find_destination(tmp_path / "new", "none")
    assert isinstance(found, PathDestination)
    assert not found.is_durable
