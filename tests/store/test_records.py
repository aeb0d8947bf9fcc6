"""Etags, and digests in extended attributes."""

import errno
import os
from pathlib import Path as LocalPath

import pytest
from faults import Faults
from rig import Rig

from filetransfer.names import Path
from filetransfer.store import records

DIGEST = bytes(range(16))


def read(descriptor: int) -> records.Record | None:
    return records.parse_record(records.read_attribute(descriptor), os.fstat(descriptor))


def test_an_etag_differs_whenever_the_content_may_have_changed(tmp_path: LocalPath) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a")
    status = os.stat(path)
    etags = {records.compute_etag(status)}
    fields = {
        name: getattr(status, name)
        for name in ("st_dev", "st_ino", "st_size", "st_mtime_ns", "st_ctime_ns")
    }

    class Status:
        pass

    for name, value in fields.items():
        other = Status()
        vars(other).update(fields, **{name: value + 1})
        etags.add(records.compute_etag(other))  # type: ignore[arg-type]
    assert len(etags) == 6
    assert all(len(etag) == 32 and etag.isascii() for etag in etags)


def test_a_time_before_1970(tmp_path: LocalPath) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a")
    os.utime(path, ns=(-5, -5))
    assert records.compute_etag(os.stat(path))
    with open(path, "rb") as file:
        records.DigestRecords().write(file.fileno(), DIGEST, os.fstat(file.fileno()))
        assert read(file.fileno()) == records.Record(DIGEST, is_damaged=False)


class TestDigest:
    @pytest.fixture
    def file(self, tmp_path: LocalPath) -> LocalPath:
        path = tmp_path / "f"
        path.write_bytes(b"content")
        with open(path, "rb") as file:
            records.DigestRecords().write(file.fileno(), DIGEST, os.fstat(file.fileno()))
        return path

    def read(self, path: LocalPath) -> bytes | None:
        with open(path, "rb") as file:
            record = read(file.fileno())
            return record and record.digest

    def test_it_is_read_back(self, file: LocalPath) -> None:
        assert self.read(file) == DIGEST

    def test_it_fits_into_the_inode(self, file: LocalPath) -> None:
        # 52 octets are what ext4 has room for; a file of 1 TiB less one octet has a size of ten digits.
        value = os.getxattr(file, records.ATTRIBUTE)
        assert value.isascii()
        assert len(value) - len(b"7") + 10 <= 52

    def test_another_size(self, file: LocalPath) -> None:
        status = os.stat(file)
        os.truncate(file, 3)
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert self.read(file) is None

    def test_another_time(self, file: LocalPath) -> None:
        os.utime(file, ns=(1, 1))
        assert self.read(file) is None

    def test_none(self, tmp_path: LocalPath) -> None:
        (tmp_path / "g").write_bytes(b"")
        assert self.read(tmp_path / "g") is None

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"2 AAECAwQFBgcICQoLDA0ODw 7 0",
            b"1 AAECAwQFBgcICQoLDA0ODw 7",
            b"1 A 7 0",
            b"1 \xff\xff 7 0",
            b"1  7 0",
            b"!",
            b"! AAECAwQFBgcICQoLDA0ODw 7 0",
        ],
    )
    def test_nonsense(self, file: LocalPath, value: bytes) -> None:
        os.setxattr(file, records.ATTRIBUTE, value)
        assert self.read(file) is None
        assert not records.is_marked(value, os.stat(file))

    def test_a_mark(self, file: LocalPath) -> None:
        record = records.Record(DIGEST, is_damaged=True)
        with open(file, "rb") as opened:
            records.write_record(opened.fileno(), record, os.fstat(opened.fileno()))
            assert read(opened.fileno()) == record
            assert records.is_marked(records.read_attribute(opened.fileno()), os.stat(file))

    def test_of_an_upload(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"")
        value = os.getxattr(plain_rig.root / "f", records.ATTRIBUTE)
        # XXH3-128 of nothing, as its specification has it.
        assert value.startswith(b"1 maoG0wFHmNhgAcMkRo1Jfw 0 ")


def test_without_attributes_uploads_work_and_are_not_asked_again(
    plain_rig: Rig, faults: Faults
) -> None:
    faults.arm(0, errno.ENOTSUP, only="setxattr")
    assert plain_rig.put("f", b"f") is None
    assert plain_rig.put("g", b"g") is None
    assert faults.names == ["setxattr"]
    download = plain_rig.store.open_download(Path("f"))
    assert download.digest == b""
    download.close()
