"""Real file systems that are full, out of inodes, or read-only."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest
from rig import Rig, count_descriptors, open_rig

from filetransfer.errors import NoSpace, StoreUnavailable
from filetransfer.names import Path
from filetransfer.store.interface import Publish

MIB = 1024 * 1024

pytestmark = pytest.mark.needs_root("mount", "umount", "mkfs.ext4")


@pytest.fixture(params=["tmpfs", "ext4"])
def small_disk(request: pytest.FixtureRequest, tmp_path: LocalPath) -> Iterator[LocalPath]:
    """A file system of 16 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    if request.param == "tmpfs":
        mount = ["-t", "tmpfs", "-o", "size=16m,nr_inodes=100", "none"]
    else:
        image = tmp_path / "image"
        with open(image, "wb") as file:
            file.truncate(16 * MIB)
        subprocess.run(["mkfs.ext4", "-q", "-N", "100", image], check=True)
        mount = ["-o", "loop", str(image)]
    subprocess.run(["mount", *mount, place], check=True)
    yield place
    # Lazily: after a failed test something may still be open.
    subprocess.run(["umount", "--lazy", place], check=True)


def fill(place: LocalPath) -> LocalPath:
    path = place / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 4096):
                pass
        except OSError:
            return path
    raise AssertionError


def test_a_full_disk(small_disk: LocalPath) -> None:
    with open_rig(small_disk, reserve_fraction=0) as rig:
        before = count_descriptors()
        upload = rig.store.open_upload(Path("f"), MIB)
        upload.write(b"x")
        small = rig.store.open_upload(Path("small"), 1)
        small.write(b"s")
        filler = fill(small_disk)
        with pytest.raises(NoSpace):
            rig.store.open_upload(Path("g"), 10 * MIB)
        with pytest.raises(NoSpace):
            upload.write(os.urandom(MIB - 1))
        rig.commit(Publish(upload=small))
        assert [isinstance(rig.put(f"h{n}", os.urandom(MIB)), NoSpace) for n in range(20)] == [
            True
        ] * 20
        assert count_descriptors() == before
        assert rig.list_parts() == []
        filler.unlink()
        assert rig.upload("f", b"x" * MIB) is None
        assert set(rig.list_files()) <= {"f", "small"}


def test_no_inodes(small_disk: LocalPath) -> None:
    with open_rig(small_disk, reserve_fraction=0) as rig:
        outcome = [rig.put(f"f{n}", b"x") for n in range(150)]
        kept = outcome.count(None)
        assert 0 < kept < 150
        assert all(refusal is None or isinstance(refusal, NoSpace) for refusal in outcome)
        assert len(rig.list_files()) == kept
        assert rig.list_parts() == []
        (rig.root / "f0").unlink()
        assert rig.put("again", b"x") is None


def test_a_read_only_file_system(small_disk: LocalPath) -> None:
    (small_disk / "f").write_bytes(b"f")
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    with pytest.raises(StoreUnavailable, match="read-only"):
        Rig(small_disk)
    with open_rig(small_disk, read_only=True) as rig:
        assert rig.get("f") == b"f"


def test_a_file_system_that_becomes_read_only(small_disk: LocalPath) -> None:
    with open_rig(small_disk) as rig:
        rig.put("f", b"f")
        subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
        refusal, change = rig.put("g", b"g"), rig.change("f", "g")
        assert refusal is not None
        assert change is not None
        assert (refusal.word, change.word) == ("not-permitted", "not-permitted")
        assert rig.get("f") == b"f"


def test_below_a_mount_point_nothing_is_served(small_disk: LocalPath, root: LocalPath) -> None:
    (small_disk / "f").write_bytes(b"f")
    (root / "mounted").mkdir(parents=True)
    subprocess.run(["mount", "--bind", small_disk, root / "mounted"], check=True)
    try:
        with open_rig(root) as rig:
            refusal = rig.put("mounted/g", b"g")
            assert refusal is not None
            assert refusal.word == "not-found"
    finally:
        subprocess.run(["umount", root / "mounted"], check=True)
