"""What the doors of a store promise, for every way the directory store can work."""

import errno
import os
import stat
import threading
from pathlib import Path as LocalPath

import pytest
from rig import Rig, count_descriptors, open_rig

from filetransfer.digests import start_digest
from filetransfer.errors import (
    Exists,
    Internal,
    IsDirectory,
    NameInvalid,
    NotFound,
    NotPermitted,
    RequestRefused,
    ShuttingDown,
)
from filetransfer.names import Path
from filetransfer.store import calls, records
from filetransfer.store.commit import MAX_BATCH
from filetransfer.store.interface import Commit, Publish, PublishOctets, Rename

SIZES = [0, 1, 4096, 1024 * 1024 + 1, 3 * 1024 * 1024]


def digest(octets: bytes) -> bytes:
    running = start_digest()
    running.update(octets)
    return running.digest()


def make_special(path: LocalPath, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("target")
        (path.parent / "target").write_bytes(b"target")
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)


def get_at_once(rig: Rig, path: str) -> bytes | None:
    """Do what a server does that wants to answer without waiting."""
    download = rig.store.open_cached_download(Path(path))
    if download is None:
        return rig.get(path)
    octets = download.read_cached(download.size)
    download.close()
    return octets


SPECIAL = ["directory", "fifo", "link", "socket"]


@pytest.mark.parametrize("size", SIZES)
def test_a_file_comes_back_as_it_was_sent(rig: Rig, size: int) -> None:
    octets = os.urandom(size)
    assert rig.put("small", octets) is None
    assert rig.upload("bulk", octets) is None
    assert rig.get("small") == rig.get("bulk") == octets
    assert rig.list_files() == {"small": octets, "bulk": octets}
    assert rig.list_parts() == []


def test_a_download_tells_of_its_file(rig: Rig) -> None:
    rig.upload("f", b"0123456789")
    download = rig.store.open_download(Path("f"))
    status = os.stat(rig.root / "f")
    assert download.size == 10
    assert download.modified == status.st_mtime_ns
    assert download.mode == 0o640
    assert download.etag == records.compute_etag(status)
    assert download.read(3, 4) == b"3456"
    assert download.read(10, 0) == b""
    assert os.pread(download.fileno(), 2, 8) == b"89"
    assert download.digest == digest(b"0123456789")
    download.close()
    download.close()
    assert download.fileno() == -1


def test_the_mode_does_not_depend_on_the_umask(rig: Rig) -> None:
    before = os.umask(0o077)
    try:
        rig.put("small", b"a")
        rig.upload("bulk", b"b")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(rig.root / "small").st_mode) == 0o640
    assert stat.S_IMODE(os.stat(rig.root / "bulk").st_mode) == 0o640


def test_a_part_is_private_until_it_is_published(plain_rig: Rig) -> None:
    upload = plain_rig.store.open_upload(Path("f"), 3)
    assert stat.S_IMODE(os.fstat(upload.fileno()).st_mode) == 0o600
    assert not os.get_inheritable(upload.fileno())
    assert plain_rig.list_files() == {}
    upload.abort()


def test_a_second_put_replaces_and_the_reader_keeps_what_it_opened(rig: Rig) -> None:
    first = PublishOctets(path=Path("f"), octets=b"first")
    rig.commit(first)
    download = rig.store.open_download(Path("f"))
    second = PublishOctets(path=Path("f"), octets=b"second")
    rig.commit(second)
    assert download.read(0, 5) == b"first"
    assert download.etag == first.etag
    download.close()
    assert rig.get("f") == b"second"
    assert 1 <= len(first.etag) <= 64
    assert first.etag != second.etag
    assert first.etag.isascii()


def test_the_etag_of_a_commit_is_that_of_the_download(rig: Rig) -> None:
    os.mkdir(rig.root / "d")
    changes: list[Commit] = [
        PublishOctets(path=Path("a"), octets=b"a"),
        Rename(path=Path("a"), to=Path("d/b")),
    ]
    assert rig.commit(*changes) == [None, None]
    download = rig.store.open_download(Path("d/b"))
    assert download.etag == changes[1].etag != changes[0].etag
    download.close()


def test_directories_that_exist_may_be_named(rig: Rig) -> None:
    os.makedirs(rig.root / "d/e")
    assert rig.put("d/e/f", b"1") is None
    assert rig.upload("d/g", b"2") is None
    assert rig.change("d/e/f", "f") is None
    assert rig.change("f", "d/e/h") is None
    assert rig.list_files() == {"d/e/h": b"1", "d/g": b"2"}


@pytest.mark.parametrize("path", ["missing/f", "file/f", "link/f"])
def test_a_parent_that_is_no_directory_is_not_found(rig: Rig, path: str) -> None:
    rig.put("file", b"")
    rig.put("g", b"g")
    os.symlink(".", rig.root / "link")
    refusals = [rig.put(path, b"x"), rig.change("g", path), rig.change(path, "h")]
    with pytest.raises(NotFound) as caught:
        rig.store.open_upload(Path(path), 1)
    with pytest.raises(NotFound):
        rig.get(path)
    assert [type(refusal) for refusal in refusals] == [NotFound] * 3
    assert [refusal and refusal.about for refusal in refusals] == ["path", "to", "path"]
    assert caught.value.about == "path"
    assert rig.list_files() == {"file": b"", "g": b"g"}
    assert rig.list_parts() == []


def test_a_file_that_is_not_there(rig: Rig) -> None:
    with pytest.raises(NotFound) as caught:
        rig.get("f")
    assert caught.value.about == "path"


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_read(rig: Rig, kind: str) -> None:
    make_special(rig.root / "s", kind)
    expected = NotFound if kind == "link" else IsDirectory
    with pytest.raises(expected):
        rig.get("s")
    with pytest.raises(expected):
        get_at_once(rig, "s")


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_replaced(rig: Rig, kind: str) -> None:
    make_special(rig.root / "s", kind)
    before = os.lstat(rig.root / "s")
    with pytest.raises(IsDirectory) as caught:
        rig.store.open_upload(Path("s"), 1)
    assert caught.value.about == "path"
    refusal = rig.put("s", b"x")
    assert isinstance(refusal, IsDirectory)
    assert refusal.about == "path"
    assert os.lstat(rig.root / "s").st_ino == before.st_ino
    assert rig.list_parts() == []


@pytest.mark.parametrize("kind", SPECIAL)
def test_only_regular_files_are_renamed_and_never_onto_anything(rig: Rig, kind: str) -> None:
    make_special(rig.root / "s", kind)
    rig.put("f", b"f")
    refusal = rig.change("s", "t")
    assert isinstance(refusal, NotFound if kind == "link" else IsDirectory)
    assert refusal.about == "path"
    refusal = rig.change("f", "s")
    assert isinstance(refusal, Exists)
    assert refusal.about == "to"
    assert rig.get("f") == b"f"


def test_change_never_replaces(rig: Rig) -> None:
    rig.put("a", b"a")
    rig.put("b", b"b")
    for to in ("a", "b"):
        refusal = rig.change("a", to)
        assert isinstance(refusal, Exists)
        assert refusal.about == "to"
    assert rig.list_files() == {"a": b"a", "b": b"b"}


def test_change_looks_at_the_old_name_first(rig: Rig) -> None:
    rig.put("b", b"b")
    for to in ("b", "missing/f", "x" * 256):
        refusal = rig.change("a", to)
        assert isinstance(refusal, NotFound)
        assert refusal.about == "path"


def test_a_component_that_is_too_long_for_the_file_system(rig: Rig) -> None:
    # 255 octets are the protocol's own limit: nothing but the store's independence of it is shown here.
    name = "x" * 256
    rig.put("f", b"f")
    with pytest.raises(NameInvalid):
        rig.get(name)
    with pytest.raises(NameInvalid):
        rig.store.open_upload(Path(name), 1)
    refusal = rig.change("f", name)
    assert isinstance(refusal, NameInvalid)
    assert refusal.about == "to"
    assert isinstance(rig.put(name, b""), NameInvalid)


def test_an_aborted_upload_leaves_nothing(rig: Rig) -> None:
    descriptors = count_descriptors()
    upload = rig.store.open_upload(Path("f"), 6)
    upload.write(b"abc")
    upload.abort()
    upload.abort()
    assert upload.fileno() == -1
    assert rig.list_files() == {}
    assert rig.list_parts() == []
    assert count_descriptors() == descriptors


def test_abort_after_publishing_does_nothing(rig: Rig) -> None:
    upload = rig.store.open_upload(Path("f"), 3)
    upload.write(b"abc")
    rig.commit(Publish(upload=upload))
    upload.abort()
    assert rig.get("f") == b"abc"


def test_write_and_advance_in_any_order_give_one_digest(rig: Rig) -> None:
    octets = os.urandom(3 * 1024 * 1024)
    upload = rig.store.open_upload(Path("f"), len(octets))
    upload.write(octets[:10])
    os.pwrite(upload.fileno(), octets[10:2_000_000], 10)
    upload.advance(2_000_000 - 10)
    upload.write(memoryview(octets)[2_000_000:2_000_001])
    upload.digest_behind()
    upload.write(octets[2_000_001:])
    assert upload.received == len(octets)
    assert upload.digest() == digest(octets)
    upload.prepare()
    upload.prepare()
    assert rig.commit(Publish(upload=upload)) == [None]
    download = rig.store.open_download(Path("f"))
    assert download.digest == digest(octets)
    download.close()


def test_octets_that_are_not_there_are_refused(rig: Rig) -> None:
    upload = rig.store.open_upload(Path("f"), 6)
    upload.advance(6)
    assert isinstance(rig.commit(Publish(upload=upload))[0], Internal)
    assert rig.list_files() == {}
    assert rig.list_parts() == []


def test_changes_take_effect_in_the_order_of_submission(rig: Rig) -> None:
    commits: list[Commit] = []
    for n in range(MAX_BATCH):
        commits.append(PublishOctets(path=Path("f"), octets=b"%d" % n))
        commits.append(Rename(path=Path("f"), to=Path(f"f{n}")))
    assert rig.commit(*commits) == [None] * len(commits)
    assert rig.list_files() == {f"f{n}": b"%d" % n for n in range(MAX_BATCH)}
    assert max(rig.batches) <= MAX_BATCH


def test_one_that_is_refused_does_not_keep_others_back(rig: Rig) -> None:
    outcome = rig.commit(
        PublishOctets(path=Path("a"), octets=b"a"),
        Rename(path=Path("b"), to=Path("c")),
        PublishOctets(path=Path("d/e"), octets=b"e"),
        Rename(path=Path("a"), to=Path("g")),
    )
    assert [type(refusal) for refusal in outcome] == [type(None), NotFound, NotFound, type(None)]
    assert rig.list_files() == {"g": b"a"}
    assert rig.list_parts() == []


def test_two_uploads_of_a_name_the_last_to_publish_wins_whole(rig: Rig) -> None:
    first, second = (rig.store.open_upload(Path("f"), 2_000_000) for _ in range(2))
    for _ in range(10):
        first.write(b"1" * 200_000)
        second.write(b"2" * 200_000)
    rig.commit(Publish(upload=second), Publish(upload=first))
    assert rig.get("f") == b"1" * 2_000_000


def test_of_many_changes_to_one_name_exactly_one_wins(rig: Rig) -> None:
    names = [f"f{n}" for n in range(32)]
    rig.commit(*(PublishOctets(path=Path(name), octets=name.encode()) for name in names))
    changes = [Rename(path=Path(name), to=Path("won")) for name in names]
    barrier = threading.Barrier(len(changes))

    def submit(change: Rename) -> None:
        barrier.wait()
        rig.store.submit([change])

    threads = [threading.Thread(target=submit, args=(change,)) for change in changes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    outcome = rig.wait(*changes)
    assert outcome.count(None) == 1
    winner = changes[outcome.index(None)].path
    assert rig.get("won") == winner.encode()
    assert set(rig.list_files()) == {"won", *names} - {winner}


def test_threads_may_upload_at_the_same_time(rig: Rig) -> None:
    outcome: dict[int, RequestRefused | None] = {}

    def act(n: int) -> None:
        for turn in range(10):
            outcome[n] = rig.upload(f"own{n}", b"%d" % turn) or rig.upload(
                "common", b"%d" % n * 1000
            )

    threads = [threading.Thread(target=act, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcome == dict.fromkeys(range(8))
    common = rig.get("common")
    assert common in [b"%d" % n * 1000 for n in range(8)]
    assert all(rig.get(f"own{n}") == b"9" for n in range(8))


def test_close_finishes_what_was_submitted(root: LocalPath, durability: str) -> None:
    descriptors = count_descriptors()
    rig = Rig(root, durability=durability)
    commits = [PublishOctets(path=Path(f"f{n}"), octets=b"x") for n in range(1000)]
    rig.store.submit(commits)
    rig.store.submit([])
    rig.store.close()
    rig.store.close()
    assert rig.wait(*commits) == [None] * 1000
    assert len(rig.list_files()) == 1000
    assert count_descriptors() == descriptors


def test_after_close_everything_is_refused(root: LocalPath) -> None:
    rig = Rig(root)
    upload = rig.store.open_upload(Path("f"), 1)
    forgotten = rig.store.open_upload(Path("g"), 1)
    rig.store.close()
    outcome = rig.commit(Publish(upload=upload), PublishOctets(path=Path("h"), octets=b""))
    assert [type(refusal) for refusal in outcome] == [ShuttingDown, ShuttingDown]
    assert upload.fileno() == -1
    forgotten.abort()
    assert rig.list_files() == {}


def test_whoever_is_told_cannot_stop_the_queue(
    root: LocalPath, caplog: pytest.LogCaptureFixture
) -> None:
    with open_rig(root) as rig:
        note, rig.store._queue._on_committed = rig.store._queue._on_committed, lambda batch: 1 / 0
        first = PublishOctets(path=Path("a"), octets=b"a")
        rig.store.submit([first])
        while not caplog.records:
            os.sched_yield()
        rig.store._queue._on_committed = note
        assert rig.put("b", b"b") is None
        assert rig.list_files() == {"a": b"a", "b": b"b"}
    assert "ZeroDivisionError" in caplog.text


def test_a_bug_refuses_one_commit(
    plain_rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    octets: bytes = None  # type: ignore[assignment]
    plain_rig.put("a", b"a")
    monkeypatch.setattr(calls, "rename_no_replace", lambda *names, **directories: 1 / 0)
    outcome = plain_rig.commit(
        PublishOctets(path=Path("b"), octets=octets),
        Rename(path=Path("a"), to=Path("b")),
        PublishOctets(path=Path("c"), octets=b"c"),
    )
    assert [type(refusal) for refusal in outcome] == [Internal, Internal, type(None)]
    assert plain_rig.list_files() == {"a": b"a", "c": b"c"}
    assert "ZeroDivisionError" in caplog.text


def test_it_tells_how_durable_it_is(rig: Rig, durability: str) -> None:
    assert rig.store.durability == durability


class TestReadOnly:
    def test_it_serves_and_writes_nothing(self, root: LocalPath, durability: str) -> None:
        root.mkdir()
        (root / "f").write_bytes(b"f")
        os.mkfifo(root / "s")
        with (
            open_rig(root, read_only=True, durability=durability) as rig,
            open_rig(root, read_only=True),
        ):
            assert rig.store.is_read_only
            assert rig.get("f") == b"f"
            for begin in (lambda: rig.store.open_upload(Path("g"), 1), rig.store.check_writable):
                with pytest.raises(NotPermitted) as caught:
                    begin()
                assert caught.value.about == ""
            outcome = rig.commit(
                PublishOctets(path=Path("g"), octets=b""),
                Rename(path=Path("f"), to=Path("f")),
                Rename(path=Path("f"), to=Path("missing/f")),
                Rename(path=Path("missing"), to=Path("g")),
                Rename(path=Path("s"), to=Path("g")),
            )
        assert [(type(refusal), refusal and refusal.about) for refusal in outcome] == [
            (NotPermitted, ""),
            (NotPermitted, ""),
            (NotPermitted, ""),
            (NotFound, "path"),
            (IsDirectory, "path"),
        ]
        assert sorted(os.listdir(root)) == ["f", "s"]


class TestCached:
    def test_a_cached_small_file_is_read_at_once(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"0123456789")
        download = plain_rig.store.open_cached_download(Path("f"))
        assert download is not None
        assert download.read_cached(10) == b"0123456789"
        assert download.read_cached(9) is None
        download.close()

    def test_an_empty_file(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"")
        download = plain_rig.store.open_download(Path("f"))
        assert download.read_cached(0) == b""
        download.close()

    def test_a_missing_file_is_refused_or_left_to_a_thread(self, plain_rig: Rig) -> None:
        with pytest.raises(NotFound):
            get_at_once(plain_rig, "f")

    @pytest.mark.parametrize("number", [errno.EAGAIN, errno.EOPNOTSUPP])
    def test_what_is_not_in_memory_is_left_to_a_thread(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        plain_rig.put("f", b"f")
        download = plain_rig.store.open_download(Path("f"))

        def refuse(descriptor: int, buffers: list[bytearray], offset: int, flags: int) -> int:
            assert flags == os.RWF_NOWAIT
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "preadv", refuse)
        assert download.read_cached(10) is None
        download.close()

    def test_a_file_system_in_memory_need_not_be_asked(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root.mkdir()
        (root / "f").write_bytes(b"f")
        monkeypatch.setattr(calls, "is_in_memory", lambda descriptor: True)
        # On ext4 or tmpfs, whatever the tests run on: nobody asks whether it would wait.
        monkeypatch.setattr(os, "preadv", lambda *arguments: 1 / 0)
        with open_rig(root, read_only=True) as rig:
            download = rig.store.open_download(Path("f"))
            assert download.read_cached(10) == b"f"
            download.close()

    def test_a_file_that_shrank(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"0123456789")
        download = plain_rig.store.open_download(Path("f"))
        os.truncate(plain_rig.root / "f", 5)
        assert download.read_cached(10) is None
        with pytest.raises(Internal):
            download.read(0, 10)
        download.close()

    def test_the_walk_cannot_tell(self, rig: Rig, open_beneath: object) -> None:
        from filetransfer.store.beneath import open_by_walk

        rig.put("f", b"f")
        if open_beneath is open_by_walk:
            assert rig.store.open_cached_download(Path("f")) is None
