"""Copies on the file systems that share blocks: nothing is moved, and nothing is lost."""

import os
from contextlib import closing
from pathlib import Path

import images
import pytest
import trees

from filetransfer.names import Path as Name
from filetransfer.store import calls
from filetransfer.store.directory import DirectoryStore
from filetransfer.store.interface import Publish

SIZE = 16 * images.MEBIBYTE


def count_used(root: Path) -> int:
    descriptor = os.open(root, os.O_RDONLY)
    calls.sync_file_system(descriptor)
    os.close(descriptor)
    status = os.statvfs(root)
    return (status.f_blocks - status.f_bfree) * status.f_frsize


@pytest.mark.parametrize(
    ("file_system", "shares"),
    [
        pytest.param("btrfs", True, marks=pytest.mark.needs_root("mkfs.btrfs", "mount")),
        pytest.param("xfs", True, marks=pytest.mark.needs_root("mkfs.xfs", "mount")),
        pytest.param("ext4", False, marks=pytest.mark.needs_root("mkfs.ext4", "mount")),
    ],
)
def test_a_copy_takes_no_room_where_blocks_are_shared(
    tmp_path: Path, file_system: str, *, shares: bool
) -> None:
    mountpoint = tmp_path / "mounted"
    images.make_image(tmp_path / "image", file_system, size=512 * images.MEBIBYTE)
    octets = os.urandom(SIZE)
    with (
        images.mount_image(tmp_path / "image", mountpoint),
        closing(DirectoryStore(mountpoint / "root", on_committed=trees.tell)) as store,
    ):

        def upload(store: DirectoryStore) -> Publish:
            upload = store.open_upload(Name("f"), SIZE)
            upload.write(octets)
            return Publish(upload=upload)

        trees.perform(store, upload)
        before = count_used(mountpoint)
        trees.perform(store, lambda store: Publish(upload=store.open_copy(Name("f"), Name("g"))))
        assert (count_used(mountpoint) - before < SIZE // 2) is shares
        with closing(store.open_download(Name("g"))) as copy:
            assert copy.read(0, copy.size) == octets
            assert copy.digest == copy.compute_digest()
