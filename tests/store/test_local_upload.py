"""One file that a program writes for itself, whole or not at all."""

import os
import stat
import threading
from pathlib import Path as LocalPath

import pytest
from rig import count_descriptors

from filetransfer.digests import start_digest
from filetransfer.errors import IsDirectory, NotFound, RequestRefused
from filetransfer.store.beneath import HeldDirectory
from filetransfer.store.stable import choose_storage
from filetransfer.store.upload import LocalUpload, Progress, begin_local_upload


def test_it_is_published_whole(tmp_path: LocalPath, durability: str) -> None:
    descriptors = count_descriptors()
    upload = begin_local_upload(tmp_path / "f", durability=durability)  # type: ignore[arg-type]
    upload.write(b"abc")
    (part,) = os.listdir(tmp_path)
    assert part.startswith(".ft-")
    assert part.endswith(".part")
    upload.publish()
    upload.abort()
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"abc"
    assert count_descriptors() == descriptors


def test_it_replaces(tmp_path: LocalPath) -> None:
    (tmp_path / "f").write_bytes(b"old")
    upload = begin_local_upload(tmp_path / "f")
    upload.write(b"new")
    assert (tmp_path / "f").read_bytes() == b"old"
    upload.publish()
    assert (tmp_path / "f").read_bytes() == b"new"


def test_aborted_it_leaves_what_was_there(tmp_path: LocalPath) -> None:
    (tmp_path / "f").write_bytes(b"old")
    descriptors = count_descriptors()
    upload = begin_local_upload(tmp_path / "f")
    upload.write(b"new")
    upload.abort()
    upload.abort()
    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"
    assert count_descriptors() == descriptors


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_umask_is_honoured(tmp_path: LocalPath, umask: int) -> None:
    before = os.umask(umask)
    try:
        upload = begin_local_upload(tmp_path / "f")
        upload.publish()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "f").st_mode) == 0o666 & ~umask


def test_a_relative_destination(tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    upload = begin_local_upload("f")
    monkeypatch.chdir("/")
    upload.publish()
    assert os.listdir(tmp_path) == ["f"]


def test_a_symbolic_link_stays(tmp_path: LocalPath) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to("d/f")
    upload = begin_local_upload(tmp_path / "link")
    upload.write(b"x")
    upload.publish()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "d/f").read_bytes() == b"x"


@pytest.mark.parametrize("destination", ["/dev/null", "/", "/tmp"])
def test_only_a_regular_file_is_replaced(destination: str) -> None:
    with pytest.raises(IsDirectory):
        begin_local_upload(destination)


def test_a_missing_directory(tmp_path: LocalPath) -> None:
    with pytest.raises(NotFound):
        begin_local_upload(tmp_path / "d/f")


def test_a_directory_that_came_in_between(tmp_path: LocalPath) -> None:
    upload = begin_local_upload(tmp_path / "f")
    (tmp_path / "f").mkdir()
    with pytest.raises(RequestRefused):
        upload.publish()
    assert os.listdir(tmp_path) == ["f"]


def test_the_digest_follows_in_another_thread(tmp_path: LocalPath) -> None:
    """One thread writes and advances, another digests meanwhile: each octet is digested once."""
    pieces = [os.urandom(1 + n % 3000) for n in range(400)]
    together = begin_local_upload(tmp_path / "f")
    alone = begin_local_upload(tmp_path / "g")
    for piece in pieces:
        alone.write(piece)
    is_over = threading.Event()

    def digest() -> None:
        while not is_over.is_set():
            together.digest_behind()

    digester = threading.Thread(target=digest)
    digester.start()
    for n, piece in enumerate(pieces):
        if n % 3:
            together.write(piece)
        else:
            os.pwrite(together.fileno(), piece, together.received)
            together.advance(len(piece))
    is_over.set()
    digester.join()
    assert together.digest() == alone.digest()
    together.abort()
    alone.abort()


def test_a_part_that_was_kept_goes_on(tmp_path: LocalPath) -> None:
    first = begin_local_upload(tmp_path / "a", durability="none")
    first.write(b"abc")
    part = first.part
    first.keep()
    first.keep()
    assert os.listdir(tmp_path) == [part]
    directory = HeldDirectory(os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY))
    digest = start_digest()
    digest.update(b"abc")
    second = LocalUpload(
        directory, "a", choose_storage("none"), part=part, progress=Progress(3, digest)
    )
    assert (second.part, second.received) == (part, 3)
    second.write(b"def")
    whole = start_digest()
    whole.update(b"abcdef")
    assert second.digest() == whole.digest()
    second.publish()
    assert os.listdir(tmp_path) == ["a"]
    assert (tmp_path / "a").read_bytes() == b"abcdef"
