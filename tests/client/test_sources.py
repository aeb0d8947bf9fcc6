"""What can be sent: files, open files, streams; and what they must not do while they are sent."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from client_rig import DONE, Rig, put

from filetransfer.client import sources
from filetransfer.client.sources import MAX_SMALL_OCTETS, Body, Pipe, Source, find_source
from filetransfer.errors import SourceChanged


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def read(body: Body) -> bytes:
    if body.octets is not None:
        return body.octets
    return os.pread(body.descriptor, body.size, body.offset)


def find(local: object) -> Source:
    found = find_source(local)  # type: ignore[arg-type]
    assert not isinstance(found, Pipe)
    return found


@pytest.mark.parametrize("size", [0, 1, MAX_SMALL_OCTETS, MAX_SMALL_OCTETS + 1, 1_000_000])
def test_a_file_may_be_sent_more_than_once(tmp_path: Path, size: int) -> None:
    octets = os.urandom(size)
    (tmp_path / "a").write_bytes(octets)
    before = open_descriptors()
    source = find(str(tmp_path / "a"))
    for _ in range(2):
        body = source.open()
        # A small file is read at once, and nothing of it stays open.
        assert (open_descriptors() == before) == (size <= MAX_SMALL_OCTETS)
        assert body.size == size
        assert read(body) == octets
        body.close()
        body.close()
        assert open_descriptors() == before
    source.close()


def test_a_file_that_says_it_is_empty_and_is_not() -> None:
    # Of a process that has just begun: of this one it may have become too large.
    program = "import json, sys; print(flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        body = find(f"/proc/{process.pid}/maps").open()
        process.communicate()
    assert body.octets is not None
    assert body.size == len(body.octets) > 4096


def test_a_file_that_grows_beyond_what_is_read_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    monkeypatch.setattr(sources, "MAX_SMALL_OCTETS", 100)
    source = find(str(tmp_path / "a"))
    before = open_descriptors()
    real = os.pread

    def grow(descriptor: int, count: int, offset: int) -> bytes:
        (tmp_path / "a").write_bytes(b"x" * 200)
        return real(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", grow)
    with pytest.raises(SourceChanged):
        source.open()
    assert open_descriptors() == before


def test_a_file_that_shrinks_while_it_is_read_is_what_was_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    source = find(str(tmp_path / "a"))
    real = os.pread

    def shrink(descriptor: int, count: int, offset: int) -> bytes:
        os.truncate(tmp_path / "a", 40)
        return real(descriptor, count, offset)

    monkeypatch.setattr(os, "pread", shrink)
    assert read(source.open()) == b"x" * 40


@pytest.mark.parametrize("change", ["grow", "shrink", "touch"])
def test_a_large_file_that_changes_is_noticed(tmp_path: Path, change: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 100_000)
    body = find(path).open()
    assert body.is_unchanged()
    if change == "touch":
        os.utime(path, ns=(1, 1))
    else:
        modified = path.stat().st_mtime_ns
        os.truncate(path, 100_001 if change == "grow" else 99_999)
        os.utime(path, ns=(modified, modified))
    assert not body.is_unchanged()
    body.close()


def test_an_open_file_is_sent_from_its_position(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"0123456789")
    with open(tmp_path / "a", "rb") as file:
        assert file.read(3) == b"012"
        source = find(file)
        assert read(source.open()) == b"3456789"
        source.open().close()
        source.close()
        assert file.read() == b"3456789"


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_descriptor_is_sent_from_its_position(tmp_path: Path, size: int) -> None:
    (tmp_path / "a").write_bytes(b"012" + b"x" * size)
    descriptor = os.open(tmp_path / "a", os.O_RDONLY)
    os.lseek(descriptor, 3, os.SEEK_SET)
    body = find(descriptor).open()
    assert read(body) == b"x" * size
    body.close()
    os.close(descriptor)


def test_what_can_only_be_read_is_spooled() -> None:
    before = open_descriptors()
    spooling = find_source(io.BytesIO(b"x" * 1_000_000))
    assert isinstance(spooling, Pipe)
    source = spooling.spool()
    body = source.open()
    assert os.fstat(body.descriptor).st_nlink == 0
    assert read(body) == b"x" * 1_000_000
    body.close()
    assert read(source.open()) == b"x" * 1_000_000
    source.close()
    assert open_descriptors() == before


def test_a_fifo_is_spooled(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    before = open_descriptors()
    # Nobody has it open for writing yet: that must neither hang nor end it.
    spooling = find_source(str(tmp_path / "fifo"))
    assert isinstance(spooling, Pipe)
    writer = threading.Thread(target=(tmp_path / "fifo").write_bytes, args=(b"x" * 300_000,))
    writer.start()
    source = spooling.spool()
    writer.join()
    assert read(source.open()) == b"x" * 300_000
    source.close()
    assert open_descriptors() == before


def test_spooling_can_be_cancelled() -> None:
    reader, writer = os.pipe()
    spooling = find_source(reader)
    assert isinstance(spooling, Pipe)
    os.write(writer, b"x")
    canceller = threading.Thread(target=spooling.cancel)
    canceller.start()
    with pytest.raises(InterruptedError):
        spooling.spool()
    canceller.join()
    spooling.cancel()
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("as_descriptor", [False, True])
def test_a_directory_cannot_be_sent(tmp_path: Path, as_descriptor: bool) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(IsADirectoryError):
        find_source(descriptor if as_descriptor else str(tmp_path))
    os.close(descriptor)


def test_what_is_missing_cannot_be_sent(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_source(tmp_path / "missing")


def test_what_has_become_a_fifo_does_not_hang(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    source = find(tmp_path / "a")
    os.unlink(tmp_path / "a")
    os.mkfifo(tmp_path / "a")
    with pytest.raises(OSError, match="Illegal seek"):
        source.open()


def test_a_stream_is_put_once_it_is_whole(rig: Rig) -> None:
    before = open_descriptors()
    reader, writer = os.pipe()
    os.write(writer, b"from a pipe")
    os.close(writer)
    asked = rig.ask(rig.session.put(reader, "a"))
    assert rig.link.sent() == put("a", b"from a pipe")
    rig.answer(DONE)
    assert asked.result.size == 11
    os.close(reader)
    assert open_descriptors() == before


def test_giving_up_a_stream_that_is_being_read(rig: Rig) -> None:
    reader, writer = os.pipe()
    from client_rig import Asked

    asked = Asked(rig.session.put(reader, "a"))
    asked.cancel()
    # The thread that reads is told; it would sit there for as long as nobody writes.
    rig.turn()
    assert rig.link.sent() == b""
    os.close(reader)
    os.close(writer)


def test_standard_input_stays_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert stat.S_ISFIFO(os.stat(tmp_path / "fifo").st_mode)
    reader, writer = os.pipe()
    os.close(writer)
    spooling = find_source(reader)
    assert isinstance(spooling, Pipe)
    spooling.spool().close()
    assert os.get_blocking(reader)
    os.close(reader)
