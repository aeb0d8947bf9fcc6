"""The system calls that Python does not have."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest

from filetransfer.store import calls


@pytest.fixture(params=["renameat2", "unknown to the C library", "unknown to the file system"])
def held(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath
) -> Iterator[int]:
    if request.param == "unknown to the C library":
        monkeypatch.setattr(calls, "_renameat2", None)
    if request.param == "unknown to the file system":
        monkeypatch.setattr(calls, "_rename_by_kernel", lambda *arguments: errno.EINVAL)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def test_a_rename(held: int, tmp_path: LocalPath) -> None:
    (tmp_path / "a").write_bytes(b"a")
    calls.rename_no_replace(b"a", b"b", src_dir_fd=held, dst_dir_fd=held)
    assert os.listdir(tmp_path) == ["b"]
    assert (tmp_path / "b").read_bytes() == b"a"


@pytest.mark.parametrize("target", ["a", "file", "directory", "link", "alias"])
def test_nothing_is_replaced(held: int, tmp_path: LocalPath, target: str) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.link(tmp_path / "a", tmp_path / "alias")
    with pytest.raises(FileExistsError):
        calls.rename_no_replace(b"a", target.encode(), src_dir_fd=held, dst_dir_fd=held)
    assert sorted(os.listdir(tmp_path)) == ["a", "alias", "directory", "file", "link"]
    assert (tmp_path / "file").read_bytes() == b"file"


@pytest.mark.parametrize("target", ["a", "file", "directory", "link", "alias", "b"])
def test_a_rename_where_the_kernel_can_tell_that_nothing_is_there(
    held: int, tmp_path: LocalPath, target: str
) -> None:
    (tmp_path / "a").write_bytes(b"a")
    (tmp_path / "file").write_bytes(b"file")
    (tmp_path / "directory").mkdir()
    (tmp_path / "link").symlink_to("nowhere")
    os.link(tmp_path / "a", tmp_path / "alias")
    there = {"a", "alias", "directory", "file", "link"}
    can_tell = calls._rename_by_kernel(b"a", b"file", held, held) == errno.EEXIST
    is_renamed = calls.rename_if_free(b"a", target.encode(), src_dir_fd=held, dst_dir_fd=held)
    assert is_renamed is (can_tell and target == "b")
    assert set(os.listdir(tmp_path)) == (there - {"a"} | {"b"} if is_renamed else there)
    assert (tmp_path / "file").read_bytes() == b"file"


def test_a_rename_if_free_of_what_is_not_there(tmp_path: LocalPath) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(FileNotFoundError):
        calls.rename_if_free(b"a", b"b", src_dir_fd=descriptor, dst_dir_fd=descriptor)
    os.close(descriptor)


def test_what_is_not_there(held: int, tmp_path: LocalPath) -> None:
    with pytest.raises(FileNotFoundError):
        calls.rename_no_replace(b"a", b"b", src_dir_fd=held, dst_dir_fd=held)


def test_a_link_that_cannot_be_finished_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath
) -> None:
    monkeypatch.setattr(calls, "_renameat2", None)
    (tmp_path / "a").write_bytes(b"a")
    unlink = os.unlink

    def refuse(name: bytes, *, dir_fd: int) -> None:
        if name == b"a":
            raise OSError(errno.EIO, "")
        unlink(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", refuse)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(OSError):  # noqa: PT011 - any
        calls.rename_no_replace(b"a", b"b", src_dir_fd=descriptor, dst_dir_fd=descriptor)
    os.close(descriptor)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize(("directory", "is_memory"), [("/dev/shm", True), ("/proc", False)])
def test_memory_is_known_as_such(directory: str, *, is_memory: bool) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    assert calls.is_in_memory(descriptor) is is_memory
    os.close(descriptor)


@pytest.mark.parametrize(("directory", "is_local"), [("/dev/shm", True), ("/proc", False)])
def test_what_is_local_is_known_as_such(directory: str, *, is_local: bool) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    assert calls.is_local(descriptor) is is_local
    os.close(descriptor)


def test_of_no_descriptor_nothing_is_known() -> None:
    assert calls.is_in_memory(-1) is False
    assert calls.is_local(-1) is False


def test_a_file_system_is_brought_to_stable_storage(tmp_path: LocalPath) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    calls.sync_file_system(descriptor)
    os.close(descriptor)
    with pytest.raises(OSError, match="Bad file descriptor"):
        calls.sync_file_system(-1)
