"""Copies of files, by every way that the file system may offer."""

import errno
import fcntl
import os
import stat
from collections.abc import Callable
from pathlib import Path as LocalPath
from typing import Any

import pytest
import xxhash
from faults import Faults
from rig import Outcome, Rig, count_descriptors, open_rig

from filetransfer.errors import (
    Busy,
    Cancelled,
    Exists,
    Internal,
    IsDirectory,
    NoSpace,
    NotFound,
    NotPermitted,
    PreconditionFailed,
    RequestRefused,
)
from filetransfer.names import Path
from filetransfer.store import copying, records
from filetransfer.store.interface import Publish
from filetransfer.store.terms import NO_TERMS, Terms

MIB = 1024 * 1024
KEEPING = Terms(replaces=False)


def copy(rig: Rig, path: str, to: str, terms: Terms = NO_TERMS, **others: Any) -> Publish:
    upload = rig.store.open_copy(Path(path), Path(to), terms=terms, **others)
    upload.prepare(terms)
    commit = Publish(upload=upload, terms=terms)
    rig.commit(commit)
    return commit


def try_to_copy(rig: Rig, path: str, to: str, terms: Terms = NO_TERMS, **others: Any) -> Outcome:
    try:
        return copy(rig, path, to, terms, **others).error
    except RequestRefused as refusal:
        return refusal


@pytest.fixture(params=["cloned", "in the kernel", "written"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What the file system can do; it pretends to clone."""

    def clone(descriptor: int, call: int, source: int) -> int:
        if request.param != "cloned":
            raise OSError(errno.EOPNOTSUPP, "")
        assert call == 0x40049409
        octets = os.pread(source, os.fstat(source).st_size, 0)
        return os.pwrite(descriptor, octets, 0)

    def refuse(*arguments: int) -> int:
        raise OSError(errno.EXDEV, "")

    monkeypatch.setattr(fcntl, "ioctl", clone)
    if request.param == "written":
        monkeypatch.setattr(os, "copy_file_range", refuse)
    monkeypatch.setattr(copying, "TURN", MIB)
    monkeypatch.setattr(copying, "_READ", MIB // 2 + 1)
    chosen: str = request.param
    return chosen


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file was modified long enough ago."""
    monkeypatch.setattr(copying, "GRAIN_NANOSECONDS", -1)


@pytest.mark.parametrize("size", [0, 1, MIB, 3 * MIB + 1])
def test_a_copy_is_what_the_source_is(rig: Rig, way: str, size: int) -> None:
    octets = os.urandom(size)
    rig.upload("f", octets)
    descriptors = count_descriptors()
    commit = copy(rig, "f", "g")
    assert commit.error is None
    assert (commit.size, commit.digest) == (size, xxhash.xxh3_128_digest(octets))
    assert commit.etag == rig.read_etag("g")
    assert rig.list_files() == {"f": octets, "g": octets}
    assert rig.store.stat(Path("g")).digest == xxhash.xxh3_128_digest(octets)
    assert rig.list_parts() == []
    assert count_descriptors() == descriptors


@pytest.mark.usefixtures("settled")
def test_a_source_that_nothing_is_known_of_is_digested(plain_rig: Rig, way: str) -> None:
    octets = os.urandom(2 * MIB + 1)
    (plain_rig.root / "f").write_bytes(octets)
    assert copy(plain_rig, "f", "g").digest == xxhash.xxh3_128_digest(octets)


def test_a_source_that_may_be_modified_again_unnoticed_is_digested(
    plain_rig: Rig, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "GRAIN_NANOSECONDS", 2**63)
    plain_rig.put("f", b"abc")
    rot(plain_rig, "f", b"abd")
    assert copy(plain_rig, "f", "g").digest == xxhash.xxh3_128_digest(b"abd")


def rot(rig: Rig, path: str, octets: bytes) -> None:
    """Change a file as a disk does that forgets."""
    status = os.stat(rig.root / path)
    (rig.root / path).write_bytes(octets)
    os.utime(rig.root / path, ns=(status.st_atime_ns, status.st_mtime_ns))


@pytest.mark.usefixtures("settled")
def test_rot_is_never_blessed(plain_rig: Rig, way: str) -> None:
    """The copy has the digest that it ought to have, or there is none."""
    plain_rig.put("f", b"abc")
    rot(plain_rig, "f", b"abd")
    if way == "written":
        assert isinstance(try_to_copy(plain_rig, "f", "g"), Internal)
        assert plain_rig.list_files() == {"f": b"abd"}
    else:
        assert copy(plain_rig, "f", "g").digest == xxhash.xxh3_128_digest(b"abc")
        assert plain_rig.store.stat(Path("g")).digest == xxhash.xxh3_128_digest(b"abc")
    assert plain_rig.list_parts() == []


def test_what_the_scrub_marked_is_not_copied(plain_rig: Rig) -> None:
    plain_rig.put("f", b"abc")
    with open(plain_rig.root / "f", "rb") as file:
        record = records.Record(bytes(16), is_damaged=True)
        records.write_record(file.fileno(), record, os.fstat(file.fileno()))
    refusal = try_to_copy(plain_rig, "f", "g")
    assert isinstance(refusal, Internal)
    assert refusal.about == "path"


def test_terms_are_those_of_the_copy(rig: Rig) -> None:
    rig.put("f", b"abc", Terms(mode=0o600, modified=7))
    terms = Terms(makes_parents=True, mode=0o644, modified=5)
    assert copy(rig, "f", "d/g", terms).error is None
    status = os.stat(rig.root / "d/g")
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o644, 5)
    assert copy(rig, "f", "h").error is None
    status = os.stat(rig.root / "h")
    assert stat.S_IMODE(status.st_mode) == 0o640
    assert status.st_mtime_ns > 7


def test_it_replaces_only_where_it_may(rig: Rig) -> None:
    rig.put("f", b"f")
    rig.put("g", b"g")
    for to in ("f", "g"):
        refusal = try_to_copy(rig, "f", to, KEEPING)
        assert isinstance(refusal, Exists)
        assert refusal.about == "to"
    assert rig.list_files() == {"f": b"f", "g": b"g"}
    assert try_to_copy(rig, "f", "g") is None
    assert try_to_copy(rig, "f", "f") is None
    assert rig.list_files() == {"f": b"f", "g": b"f"}
    assert try_to_copy(rig, "f", "h", KEEPING) is None


@pytest.mark.parametrize(
    ("path", "to", "expected", "about"),
    [
        ("missing", "g", NotFound, "path"),
        ("link", "g", NotFound, "path"),
        ("d", "g", IsDirectory, "path"),
        ("f", "d", IsDirectory, "to"),
        ("f", "link", IsDirectory, "to"),
        ("f", "missing/g", NotFound, "to"),
        ("f", "f/g", NotFound, "to"),
    ],
)
def test_what_cannot_be(
    rig: Rig, path: str, to: str, expected: type[RequestRefused], about: str
) -> None:
    rig.put("f", b"f")
    (rig.root / "d").mkdir()
    (rig.root / "link").symlink_to("f")
    descriptors = count_descriptors()
    refusal = try_to_copy(rig, path, to)
    assert isinstance(refusal, expected)
    assert refusal.about == about
    assert count_descriptors() == descriptors
    assert rig.list_parts() == []


def test_the_etag_of_the_source(rig: Rig) -> None:
    rig.put("f", b"f")
    refusal = try_to_copy(rig, "f", "g", if_match="x")
    assert isinstance(refusal, PreconditionFailed)
    assert refusal.about == "path"
    assert try_to_copy(rig, "f", "g", if_match=rig.read_etag("f")) is None


def test_a_read_only_store(root: LocalPath) -> None:
    root.mkdir()
    (root / "f").touch()
    with open_rig(root, read_only=True) as rig:
        assert isinstance(try_to_copy(rig, "f", "g"), NotPermitted)


def test_it_is_stopped(plain_rig: Rig, way: str) -> None:
    plain_rig.upload("f", bytes(3 * MIB))
    descriptors = count_descriptors()
    answers = iter([False, False, True])
    refusal = try_to_copy(plain_rig, "f", "g", should_stop=lambda: next(answers))
    assert isinstance(refusal, Cancelled)
    assert next(answers, None) is None
    assert plain_rig.list_parts() == []
    assert count_descriptors() == descriptors


def when_half_done(act: Callable[[], object]) -> Callable[[], bool]:
    """Have something done between the first turn and the second."""
    turns = iter([lambda: None, act])

    def should_stop() -> bool:
        next(turns, lambda: None)()
        return False

    return should_stop


@pytest.mark.usefixtures("settled")
def test_a_source_that_is_changed_meanwhile(plain_rig: Rig, way: str) -> None:
    plain_rig.upload("f", bytes(3 * MIB))
    path = plain_rig.root / "f"
    change = when_half_done(lambda: os.utime(path, ns=(1, 1)))
    assert isinstance(try_to_copy(plain_rig, "f", "g", should_stop=change), Busy)
    grow = when_half_done(lambda: os.truncate(path, 4 * MIB))
    assert isinstance(try_to_copy(plain_rig, "f", "g", should_stop=grow), Busy)
    assert plain_rig.list_parts() == []


def test_a_source_that_shrinks(plain_rig: Rig, way: str) -> None:
    plain_rig.upload("f", bytes(3 * MIB))
    shrink = when_half_done(lambda: os.truncate(plain_rig.root / "f", MIB))
    refusal = try_to_copy(plain_rig, "f", "g", should_stop=shrink)
    assert isinstance(refusal, Busy if way == "cloned" else Internal)
    assert plain_rig.list_parts() == []


def test_there_is_no_room(plain_rig: Rig, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain_rig.upload("f", bytes(3 * MIB))
    space = plain_rig.store._parts.space
    monkeypatch.setattr(space.__class__, "_measure_room", lambda self: 2 * MIB)
    assert isinstance(try_to_copy(plain_rig, "f", "g"), NoSpace)
    assert plain_rig.list_parts() == []


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EOPNOTSUPP])
def test_every_call(
    tmp_path: LocalPath, faults: Faults, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(copying, "TURN", MIB)
    at = 0
    octets = os.urandom(2 * MIB + 1)
    while True:
        with open_rig(tmp_path / str(at)) as rig:
            rig.upload("f", octets)
            before = count_descriptors()
            faults.arm(at, number)
            refusal = try_to_copy(rig, "f", "g")
            faults.disarm()
            assert count_descriptors() == before
            assert rig.list_parts() == [] or faults.failed == "unlink"
            assert rig.get("f") == octets
            if refusal is None:
                assert rig.get("g") == octets
                assert rig.store.stat(Path("g")).digest in (b"", xxhash.xxh3_128_digest(octets))
            assert rig.put("later", b"later") is None
        if faults.failed is None:
            break
        at += 1
