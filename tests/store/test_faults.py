"""The n-th system call fails, for every n: one refusal, nothing left over, and the next request works."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path as LocalPath

import pytest
from faults import Faults
from rig import Rig, count_descriptors, open_rig

from filetransfer.errors import RequestRefused, StoreUnavailable
from filetransfer.names import Path
from filetransfer.store import calls
from filetransfer.store.beneath import Opener
from filetransfer.store.interface import Publish, PublishOctets, Rename
from filetransfer.store.terms import Terms
from filetransfer.store.upload import begin_local_upload

ERRORS = [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.ENOMEM, errno.EDQUOT]

# An error of these hurts nobody: what they were to give back is given back at the latest when the store is opened.
HARMLESS = ["close", "ftruncate", "unlink", "getxattr"]


def put(rig: Rig) -> None:
    _raise(rig.put("d/new", b"new" * 1000))


def put_over(rig: Rig) -> None:
    _raise(rig.put("old", b"new" * 1000))


def put_many(rig: Rig) -> None:
    for refusal in rig.commit(
        *(PublishOctets(path=Path(f"d/{n}"), octets=b"new" * 1000) for n in range(3))
    ):
        _raise(refusal)


def upload(rig: Rig) -> None:
    _raise(rig.upload("new", b"new" * 1000))


def give_up(rig: Rig) -> None:
    upload = rig.store.open_upload(Path("new"), 3)
    upload.write(b"new")
    upload.abort()


ALL_TERMS = Terms(if_none_match=True, makes_parents=True, modified=5, mode=0o600)


def put_on_terms(rig: Rig) -> None:
    digests = {"sha256": hashlib.sha256(b"new" * 1000).digest()}
    _raise(rig.put("a/b/new", b"new" * 1000, ALL_TERMS, digests))


def upload_on_terms(rig: Rig) -> None:
    _raise(rig.upload("a/new", b"new" * 1000, ALL_TERMS))


def change_over(rig: Rig) -> None:
    rename = Rename(
        path=Path("old"), to=Path("other"), replaces=True, if_match=rig.read_etag("old")
    )
    _raise(rig.commit(rename)[0])


def digest(rig: Rig) -> None:
    download = rig.store.open_download(Path("old"))
    try:
        download.compute_digest("sha256")
    finally:
        download.close()


def prepare_alone(rig: Rig) -> None:
    upload = rig.store.open_upload(Path("new"), 3000)
    upload.write(b"new" * 1000)
    upload.prepare()
    _raise(rig.commit(Publish(upload=upload))[0])


def change(rig: Rig) -> None:
    _raise(rig.change("old", "d/new"))


def get(rig: Rig) -> None:
    assert rig.get("old") == b"old"


def get_cached(rig: Rig) -> None:
    download = rig.store.open_cached_download(Path("old"))
    if download is not None:
        try:
            assert download.read_cached(100) in (b"old", None)
            assert len(download.digest) in (0, 16)
        finally:
            download.close()


def _raise(refusal: RequestRefused | None) -> None:
    if refusal is not None:
        raise refusal


SCENARIOS = [
    put,
    put_over,
    put_many,
    upload,
    give_up,
    put_on_terms,
    upload_on_terms,
    prepare_alone,
    change,
    change_over,
    digest,
    get,
    get_cached,
]


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_call_of_a_request(
    scenario: Callable[[Rig], None],
    number: int,
    tmp_path: LocalPath,
    faults: Faults,
    open_beneath: Opener,
) -> None:
    at = 0
    while True:
        with open_rig(tmp_path / str(at)) as rig:
            (rig.root / "d").mkdir()
            (rig.root / "old").write_bytes(b"old")
            before = count_descriptors()
            faults.arm(at, number)
            try:
                scenario(rig)
                is_refused = False
            except RequestRefused as refusal:
                is_refused = True
                assert str(tmp_path) not in str(refusal)  # noqa: PT017 - refused or not: both may be
            made = len(faults.names)
            faults.disarm()
            assert is_refused or faults.failed in (None, *HARMLESS)
            assert count_descriptors() == before
            assert faults.failed == "unlink" or rig.list_parts() == []
            if not any(path.startswith("a/") for path in rig.list_files()):
                assert not (rig.root / "a").exists()
            # Whole or not at all, whatever became of the request.
            for path, octets in rig.list_files().items():
                assert octets in (b"new" * 1000, b"old"), path
            assert rig.put("later", b"later") is None
            assert rig.get("later") == b"later"
        if faults.failed is None:
            break
        at += 1
    assert at == made


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.EROFS, errno.EMFILE])
def test_every_call_of_a_start(
    number: int, tmp_path: LocalPath, faults: Faults, open_beneath: Opener
) -> None:
    at = 0
    while True:
        root = tmp_path / str(at) / "root"
        before = count_descriptors()
        faults.arm(at, number)
        try:
            Rig(root).store.close()
            assert faults.failed in (None, "close", "access")
        except StoreUnavailable as error:
            message = str(error)
        else:
            message = repr(str(root))
        assert repr(str(root)) in message
        assert "\n" not in message
        faults.disarm()
        assert count_descriptors() == before
        with open_rig(root) as rig:
            assert rig.put("later", b"later") is None
        if faults.failed is None:
            break
        at += 1


@pytest.mark.parametrize("number", ERRORS, ids=errno.errorcode.get)
def test_every_call_of_a_local_upload(number: int, tmp_path: LocalPath, faults: Faults) -> None:
    at = 0
    while True:
        directory = tmp_path / str(at)
        directory.mkdir()
        (directory / "f").write_bytes(b"old")
        before = count_descriptors()
        faults.arm(at, number)
        try:
            upload = begin_local_upload(directory / "f")
            try:
                upload.write(b"new")
                upload.publish()
            finally:
                upload.abort()
            assert faults.failed in (None, "close")
        except RequestRefused:
            pass
        faults.disarm()
        assert count_descriptors() == before
        assert os.listdir(directory) == ["f"]
        assert (directory / "f").read_bytes() in (b"old", b"new")
        if faults.failed is None:
            break
        at += 1


def test_short_writes_are_continued(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, octets, offset: pwrite(fd, octets[:7], offset))
    octets = bytes(range(256))
    assert plain_rig.put("f", octets) is None
    assert plain_rig.get("f") == octets


def test_short_reads_are_continued(plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    pread = os.pread
    octets = bytes(range(256))
    plain_rig.put("f", octets)
    monkeypatch.setattr(os, "pread", lambda fd, count, offset: pread(fd, min(count, 7), offset))
    assert plain_rig.get("f") == octets


def test_a_source_that_is_taken_away_in_between(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_rig.put("f", b"f")
    rename = calls.rename_no_replace

    def take_away(*names: bytes, src_dir_fd: int, dst_dir_fd: int) -> None:
        os.unlink(plain_rig.root / "f")
        rename(*names, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    monkeypatch.setattr(calls, "rename_no_replace", take_away)
    refusal = plain_rig.change("f", "g")
    assert refusal is not None
    assert (refusal.word, refusal.about) == ("not-found", "path")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_rename_that_is_not_permitted_is_about_neither_name(
    plain_rig: Rig, faults: Faults, number: int
) -> None:
    plain_rig.put("f", b"f")
    faults.arm(0, number, only="renameat2")
    refusal = plain_rig.change("f", "g")
    assert refusal is not None
    assert (refusal.word, refusal.about) == ("not-permitted", "")
