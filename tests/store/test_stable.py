"""A disk that fails: never asked twice, and after its second failure not written to any more."""

import errno
import os
import stat

import pytest
from faults import Faults
from rig import Rig

from filetransfer.errors import Internal, NoSpace, NotPermitted
from filetransfer.names import Path
from filetransfer.store import calls
from filetransfer.store.interface import Publish, PublishOctets


def test_a_failed_fsync_is_not_retried(plain_rig: Rig, faults: Faults) -> None:
    faults.arm(0, errno.EIO, only="fsync")
    assert isinstance(plain_rig.put("f", b"f"), Internal)
    assert faults.names == ["fsync"]
    assert plain_rig.list_files() == {}
    assert plain_rig.list_parts() == []
    assert not plain_rig.store.is_read_only


def test_at_the_second_failure_the_store_becomes_read_only(
    plain_rig: Rig, faults: Faults, caplog: pytest.LogCaptureFixture
) -> None:
    plain_rig.put("before", b"before")
    begun = plain_rig.store.open_upload(Path("begun"), 1)
    begun.write(b"x")
    for name in ("a", "b"):
        faults.arm(0, errno.EIO, only="fsync")
        assert isinstance(plain_rig.put(name, b"x"), Internal)
    faults.disarm()
    assert plain_rig.store.is_read_only
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "CRITICAL"]
    assert {record.name for record in caplog.records} == {"filetransfer.store"}
    assert isinstance(plain_rig.commit(Publish(upload=begun))[0], NotPermitted)
    assert isinstance(plain_rig.put("c", b"x"), NotPermitted)
    assert isinstance(plain_rig.change("before", "after"), NotPermitted)
    with pytest.raises(NotPermitted):
        plain_rig.store.open_upload(Path("d"), 1)
    assert plain_rig.list_files() == {"before": b"before"}
    assert plain_rig.list_parts() == []
    assert plain_rig.get("before") == b"before"


def test_the_second_failure_stops_the_rest_of_its_batch(plain_rig: Rig, faults: Faults) -> None:
    faults.arm(0, errno.EIO, only="fsync", times=2)
    commits = [PublishOctets(path=Path(f"f{n}"), octets=b"x") for n in range(20)]
    outcome = [type(refusal) for refusal in plain_rig.commit(*commits)]
    assert outcome.count(Internal) == 2
    assert outcome.count(NotPermitted) == 18
    assert plain_rig.list_files() == {}
    assert plain_rig.list_parts() == []


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_no_broken_one(plain_rig: Rig, faults: Faults, number: int) -> None:
    for _ in range(3):
        faults.arm(0, number, only="fsync")
        assert isinstance(plain_rig.put("f", b"f"), NoSpace)
    faults.disarm()
    assert plain_rig.put("f", b"f") is None


def test_a_directory_that_cannot_be_made_durable_is_no_acknowledgement(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync
    target = os.stat(plain_rig.root).st_ino

    def fail_for_root(descriptor: int) -> None:
        if os.fstat(descriptor).st_ino == target:
            raise OSError(errno.EIO, "")
        fsync(descriptor)

    os.mkdir(plain_rig.root / "d")
    monkeypatch.setattr(os, "fsync", fail_for_root)
    outcome = plain_rig.commit(
        PublishOctets(path=Path("f"), octets=b"whole"),
        PublishOctets(path=Path("d/f"), octets=b"fine"),
    )
    assert [type(refusal) for refusal in outcome] == [Internal, type(None)]
    assert plain_rig.list_files() == {"f": b"whole", "d/f": b"fine"}


def test_what_is_acknowledged_was_made_durable_in_order(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """File, then rename, then both directories: each before the next, and all before the acknowledgement."""
    steps: list[str] = []
    fsync, rename = os.fsync, calls.rename_if_free
    names = {
        os.stat(plain_rig.root).st_ino: "root",
        os.stat(plain_rig.root / ".ft-store/parts").st_ino: "parts",
    }

    def note_fsync(descriptor: int) -> None:
        status = os.fstat(descriptor)
        steps.append("file" if stat.S_ISREG(status.st_mode) else names[status.st_ino])
        fsync(descriptor)

    def note_rename(*names: bytes, src_dir_fd: int, dst_dir_fd: int) -> bool:
        steps.append("rename")
        return rename(*names, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(calls, "rename_if_free", note_rename)
    plain_rig.put("f", b"f")
    assert steps[:2] == ["file", "rename"]
    assert sorted(steps[2:]) == ["parts", "root"]
    steps.clear()
    commits = [PublishOctets(path=Path(f"f{n}"), octets=b"x") for n in range(20)]
    plain_rig.commit(*commits)
    assert steps[:40] == ["file"] * 20 + ["rename"] * 20
    assert sorted(steps[40:]) == ["parts", "root"]
