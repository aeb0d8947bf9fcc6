"""On which terms a file is published: preconditions, parents, time, mode, digests; for every way of the store."""

import hashlib
import os
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path as LocalPath

import pytest
import xxhash
from rig import Outcome, Rig, count_descriptors, open_rig

from filetransfer.errors import (
    Busy,
    Cancelled,
    DigestMismatch,
    Exists,
    Internal,
    IsDirectory,
    NotFound,
    PreconditionFailed,
    RequestRefused,
    Unsupported,
)
from filetransfer.names import Path
from filetransfer.store import calls, contents, tree
from filetransfer.store.commit import MAX_BATCH
from filetransfer.store.interface import Publish, PublishOctets, Rename, Resumption
from filetransfer.store.terms import NO_TERMS, Terms

MIB = 1024 * 1024
NEW = Terms(if_none_match=True)
PARENTS = Terms(makes_parents=True)
KEEPING = Terms(replaces=False)
RIGHT = {"xxh3-128": xxhash.xxh3_128_digest(b"abc"), "sha256": hashlib.sha256(b"abc").digest()}


def put(rig: Rig, path: str, octets: bytes, terms: Terms) -> Outcome:
    return rig.put(path, octets, terms)


def upload(rig: Rig, path: str, octets: bytes, terms: Terms) -> Outcome:
    """An upload that is opened before the terms are looked at."""
    upload = rig.store.open_upload(Path(path), len(octets), terms=Terms(makes_parents=True))
    upload.write(octets)
    upload.prepare(terms)
    return rig.commit(Publish(upload=upload, terms=terms))[0]


def upload_as_the_server_does(rig: Rig, path: str, octets: bytes, terms: Terms) -> Outcome:
    try:
        return rig.upload(path, octets, terms)
    except RequestRefused as refusal:
        return refusal


def upload_resumably(rig: Rig, path: str, octets: bytes, terms: Terms) -> Outcome:
    upload = rig.store.open_upload(
        Path(path), len(octets), Resumption(token=os.urandom(16)), Terms(makes_parents=True)
    )
    upload.write(octets)
    return rig.commit(Publish(upload=upload, terms=terms))[0]


Way = Callable[[Rig, str, bytes, Terms], Outcome]


@pytest.fixture(params=[put, upload, upload_as_the_server_does, upload_resumably])
def store_file(request: pytest.FixtureRequest) -> Way:
    """Every way of putting a file under a path."""
    way: Way = request.param
    return way


def check_nothing_is_left(rig: Rig) -> None:
    assert [name for name in rig.list_parts() if not name.endswith(".sidecar")] == []


class TestPreconditions:
    def test_the_etag_that_was_read(self, rig: Rig, store_file: Way) -> None:
        rig.put("f", b"old")
        etag = rig.read_etag("f")
        assert store_file(rig, "f", b"new", Terms(if_match=etag)) is None
        assert rig.get("f") == b"new"
        assert isinstance(store_file(rig, "f", b"newer", Terms(if_match=etag)), PreconditionFailed)
        assert rig.get("f") == b"new"
        check_nothing_is_left(rig)

    def test_no_file_has_any_etag(self, rig: Rig, store_file: Way) -> None:
        refusal = store_file(rig, "f", b"new", Terms(if_match="x"))
        assert isinstance(refusal, PreconditionFailed)
        assert rig.list_files() == {}

    def test_nothing_may_be_there(self, rig: Rig, store_file: Way) -> None:
        assert store_file(rig, "f", b"new", NEW) is None
        assert isinstance(store_file(rig, "f", b"newer", NEW), PreconditionFailed)
        assert rig.list_files() == {"f": b"new"}
        check_nothing_is_left(rig)

    def test_nothing_is_replaced(self, rig: Rig, store_file: Way) -> None:
        assert store_file(rig, "f", b"new", KEEPING) is None
        assert isinstance(store_file(rig, "f", b"newer", KEEPING), Exists)
        assert rig.list_files() == {"f": b"new"}
        check_nothing_is_left(rig)

    @pytest.mark.parametrize(
        ("terms", "expected"),
        [
            (NO_TERMS, IsDirectory),
            (NEW, PreconditionFailed),
            (KEEPING, Exists),
            (Terms(if_match="x"), IsDirectory),
        ],
    )
    def test_a_directory(self, rig: Rig, terms: Terms, expected: type[RequestRefused]) -> None:
        (rig.root / "d").mkdir()
        with pytest.raises(expected) as caught:
            rig.store.open_upload(Path("d"), 1, terms=terms)
        assert caught.value.about == "path"
        assert isinstance(rig.put("d", b"x", terms), expected)

    @pytest.mark.parametrize(("terms", "expected"), [(NEW, PreconditionFailed), (KEEPING, Exists)])
    @pytest.mark.parametrize("can_tell", [True, False], ids=["kernel tells", "looked before"])
    def test_an_outsider_is_quicker_than_the_rename(
        self,
        plain_rig: Rig,
        monkeypatch: pytest.MonkeyPatch,
        terms: Terms,
        expected: type[RequestRefused],
        can_tell: bool,
    ) -> None:
        name = "rename_if_free" if can_tell else "rename_no_replace"
        rename = getattr(calls, name)

        def come_before(*names: bytes, src_dir_fd: int, dst_dir_fd: int) -> object:
            (plain_rig.root / "f").write_bytes(b"his")
            return rename(*names, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        monkeypatch.setattr(calls, name, come_before)
        if not can_tell:
            monkeypatch.setattr(calls, "_renameat2", None)
        assert isinstance(plain_rig.put("f", b"ours", terms), expected)
        assert plain_rig.list_files() == {"f": b"his"}
        assert plain_rig.list_parts() == []

    def test_a_kernel_that_cannot_tell_what_is_there(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch, store_file: Way
    ) -> None:
        monkeypatch.setattr(calls, "_renameat2", None)
        assert store_file(plain_rig, "f", b"old", NO_TERMS) is None
        assert store_file(plain_rig, "f", b"new", NO_TERMS) is None
        assert store_file(plain_rig, "g", b"g", NEW) is None
        assert store_file(plain_rig, "h", b"h", KEEPING) is None
        assert isinstance(store_file(plain_rig, "f", b"newer", NEW), PreconditionFailed)
        assert isinstance(store_file(plain_rig, "f", b"newer", KEEPING), Exists)
        (plain_rig.root / "link").symlink_to("f")
        assert isinstance(plain_rig.put("link", b"l"), IsDirectory)
        assert plain_rig.list_files() == {"f": b"new", "g": b"g", "h": b"h"}
        assert (plain_rig.root / "link").is_symlink()
        check_nothing_is_left(plain_rig)

    def test_of_many_who_read_one_etag_exactly_one_wins(self, rig: Rig) -> None:
        rig.put("f", b"old")
        terms = Terms(if_match=rig.read_etag("f"))
        commits = [PublishOctets(path=Path("f"), octets=b"%d" % n, terms=terms) for n in range(32)]
        barrier = threading.Barrier(len(commits))

        def submit(commit: PublishOctets) -> None:
            barrier.wait()
            rig.store.submit([commit])

        threads = [threading.Thread(target=submit, args=(commit,)) for commit in commits]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        outcome = rig.wait(*commits)
        assert outcome.count(None) == 1
        winner = commits[outcome.index(None)]
        assert rig.get("f") == winner.octets
        assert winner.etag == rig.read_etag("f") != terms.if_match
        losers = [refusal for refusal in outcome if refusal is not None]
        assert {type(refusal) for refusal in losers} == {PreconditionFailed}


class TestRename:
    def test_the_etag_that_was_read(self, rig: Rig) -> None:
        rig.put("a", b"a")
        etag = rig.read_etag("a")
        outcome = rig.commit(
            Rename(path=Path("a"), to=Path("b"), if_match="x"),
            Rename(path=Path("a"), to=Path("c"), if_match=etag),
        )
        assert isinstance(outcome[0], PreconditionFailed)
        assert outcome[0].about == "path"
        assert outcome[1] is None
        assert rig.list_files() == {"c": b"a"}

    def test_it_replaces_a_file(self, rig: Rig) -> None:
        rig.put("a", b"a")
        rig.put("b", b"b")
        rename = Rename(path=Path("a"), to=Path("b"), replaces=True)
        assert rig.commit(rename) == [None]
        assert rig.list_files() == {"b": b"a"}
        assert rename.etag == rig.read_etag("b")
        assert rig.commit(Rename(path=Path("b"), to=Path("c"), replaces=True)) == [None]
        assert rig.list_files() == {"c": b"a"}

    def test_it_replaces_nothing_else(self, rig: Rig) -> None:
        rig.put("a", b"a")
        (rig.root / "d").mkdir()
        (rig.root / "link").symlink_to("a")
        for to in ("d", "link"):
            (refusal,) = rig.commit(Rename(path=Path("a"), to=Path(to), replaces=True))
            assert isinstance(refusal, IsDirectory)
            assert refusal.about == "to"
        assert (rig.root / "link").is_symlink()

    def test_onto_itself(self, rig: Rig) -> None:
        rig.put("a", b"a")
        assert rig.commit(Rename(path=Path("a"), to=Path("a"), replaces=True)) == [None]
        assert rig.list_files() == {"a": b"a"}

    def test_two_names_of_one_file_do_not_become_one_unnoticed(self, rig: Rig) -> None:
        rig.put("a", b"a")
        os.link(rig.root / "a", rig.root / "b")
        (refusal,) = rig.commit(Rename(path=Path("a"), to=Path("b"), replaces=True))
        assert isinstance(refusal, Exists)
        assert refusal.about == "to"
        assert rig.list_files() == {"a": b"a", "b": b"a"}


class TestParents:
    def test_they_are_made(self, rig: Rig, store_file: Way) -> None:
        descriptors = count_descriptors()
        before = os.umask(0o077)
        try:
            assert store_file(rig, "a/b/f", b"f", PARENTS) is None
            assert store_file(rig, "a/c/g", b"g", PARENTS) is None
        finally:
            os.umask(before)
        assert rig.list_files() == {"a/b/f": b"f", "a/c/g": b"g"}
        for made in ("a", "a/b", "a/c"):
            assert stat.S_IMODE(os.stat(rig.root / made).st_mode) == 0o750
        assert count_descriptors() == descriptors

    def test_the_group_that_is_handed_down_stays(self, root: LocalPath) -> None:
        root.mkdir()
        root.chmod(0o2755)
        with open_rig(root, directory_mode=0o770) as rig:
            assert rig.put("a/f", b"f", PARENTS) is None
        assert stat.S_IMODE(os.stat(root / "a").st_mode) == 0o2770

    def test_later_commits_of_the_batch_find_them(self, rig: Rig) -> None:
        outcome = rig.commit(
            PublishOctets(path=Path("a/b/f"), octets=b"f"),
            PublishOctets(path=Path("a/b/g"), octets=b"g", terms=PARENTS),
            PublishOctets(path=Path("a/h"), octets=b"h"),
            Rename(path=Path("a/h"), to=Path("a/b/i")),
        )
        assert isinstance(outcome[0], NotFound)
        assert outcome[1:] == [None] * 3
        assert rig.list_files() == {"a/b/g": b"g", "a/b/i": b"h"}

    @pytest.mark.parametrize("path", ["file/f", "link/f", "a/b/file/f"])
    def test_something_else_is_in_the_way(self, rig: Rig, store_file: Way, path: str) -> None:
        os.makedirs(rig.root / "a/b")
        rig.put("file", b"")
        rig.put("a/b/file", b"")
        os.symlink("a", rig.root / "link")
        try:
            refusal = store_file(rig, path, b"x", PARENTS)
        except NotFound as error:
            refusal = error
        assert isinstance(refusal, NotFound)
        check_nothing_is_left(rig)

    @pytest.mark.parametrize("terms", [PARENTS, Terms(makes_parents=True, if_match="x")])
    def test_a_refused_publish_makes_none(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch, terms: Terms
    ) -> None:
        def refuse(*names: object, **directories: int) -> None:
            raise OSError(28, "")

        monkeypatch.setattr(calls, "rename_if_free", refuse)
        assert plain_rig.put("a/b/f", b"f", terms) is not None
        assert sorted(os.listdir(plain_rig.root)) == [".ft-store"]

    def test_a_refused_publish_leaves_what_others_use(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rename = calls.rename_if_free

        def refuse(*names: bytes, src_dir_fd: int, dst_dir_fd: int) -> None:
            monkeypatch.setattr(calls, "rename_if_free", rename)
            (plain_rig.root / "a/his").write_bytes(b"his")
            raise OSError(28, "")

        monkeypatch.setattr(calls, "rename_if_free", refuse)
        outcome = plain_rig.commit(
            PublishOctets(path=Path("a/b/f"), octets=b"f", terms=PARENTS),
            PublishOctets(path=Path("a/g"), octets=b"g"),
        )
        assert outcome[0] is not None
        assert outcome[1] is None
        assert plain_rig.list_files() == {"a/his": b"his", "a/g": b"g"}
        assert sorted(os.listdir(plain_rig.root / "a")) == ["g", "his"]

    def test_no_file_has_any_etag(self, rig: Rig) -> None:
        terms = Terms(makes_parents=True, if_match="x")
        with pytest.raises(PreconditionFailed):
            rig.store.open_upload(Path("a/f"), 1, terms=terms)
        assert isinstance(rig.put("a/f", b"f", terms), PreconditionFailed)
        assert sorted(os.listdir(rig.root)) == [".ft-store"]

    def test_an_outsider_makes_one_at_the_same_time(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mkdir = os.mkdir

        def come_before(name: str, mode: int, *, dir_fd: int) -> None:
            mkdir(name, mode, dir_fd=dir_fd)
            mkdir(name, mode, dir_fd=dir_fd)

        monkeypatch.setattr(os, "mkdir", come_before)
        assert plain_rig.put("a/b/f", b"f", PARENTS) is None
        assert plain_rig.list_files() == {"a/b/f": b"f"}

    def test_an_outsider_puts_a_link_in_the_place_of_one(
        self, rig: Rig, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        mkdir = os.mkdir

        def swap(name: str, mode: int, *, dir_fd: int) -> None:
            mkdir(name, mode, dir_fd=dir_fd)
            os.rmdir(name, dir_fd=dir_fd)
            os.symlink(outside, name, dir_fd=dir_fd)

        monkeypatch.setattr(os, "mkdir", swap)
        assert isinstance(rig.put("a/b/f", b"f", PARENTS), NotFound)
        assert os.listdir(outside) == []

    def test_their_syncs_are_those_of_whoever_uses_them(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file in a directory whose entry is not durable is not durable."""
        fsync = os.fsync
        inode = os.stat(plain_rig.root).st_ino

        def fail(descriptor: int) -> None:
            if os.fstat(descriptor).st_ino == inode:
                raise OSError(5, "")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        outcome = plain_rig.commit(
            PublishOctets(path=Path("a/b/f"), octets=b"f", terms=PARENTS),
            PublishOctets(path=Path("a/b/g"), octets=b"g"),
        )
        assert [type(refusal) for refusal in outcome] == [Internal, Internal]

    def test_the_longest_path_that_has_the_most(self, root: LocalPath) -> None:
        deep = "/".join(["a"] * 2047) + "/f"
        with open_rig(root, durability="none") as rig:
            assert rig.put(deep, b"f", PARENTS) is None
            assert rig.get(deep) == b"f"
        # So deep that shutil, and with it pytest, cannot.
        subprocess.run(["rm", "-r", root / "a"], check=True)

    def test_many_directories_are_not_open_at_a_time(
        self, rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tree, "MAX_OPEN", 4)
        most = 0
        release = tree.Tree.release

        def count(self: tree.Tree) -> None:
            nonlocal most
            most = max(most, count_descriptors())
            release(self)

        monkeypatch.setattr(tree.Tree, "release", count)
        before = count_descriptors()
        paths = [f"{n}/{m}/f" for n in range(MAX_BATCH // 8) for m in range(2)]
        commits = [PublishOctets(path=Path(path), octets=b"f", terms=PARENTS) for path in paths]
        assert rig.commit(*commits) == [None] * len(paths)
        assert rig.list_files() == dict.fromkeys(paths, b"f")
        assert most - before < len(paths) + 16
        assert count_descriptors() == before


class TestTimeAndMode:
    @pytest.mark.parametrize("modified", [0, -1, 1_700_000_000_123_456_789, 2**32 * 10**9])
    def test_the_time(self, rig: Rig, store_file: Way, modified: int) -> None:
        assert store_file(rig, "f", b"abc", Terms(modified=modified)) is None
        download = rig.store.open_download(Path("f"))
        assert download.modified == os.stat(rig.root / "f").st_mtime_ns == modified
        assert download.digest == xxhash.xxh3_128_digest(b"abc")
        download.close()

    @pytest.mark.parametrize("mode", [0, 0o400, 0o755, 0o7777])
    def test_the_mode(self, rig: Rig, store_file: Way, mode: int) -> None:
        assert store_file(rig, "f", b"abc", Terms(mode=mode)) is None
        assert stat.S_IMODE(os.stat(rig.root / "f").st_mode) == mode & 0o777


class TestDigests:
    def test_the_answer(self, rig: Rig) -> None:
        octets = os.urandom(3 * MIB + 1)
        small = PublishOctets(path=Path("small"), octets=octets)
        upload = rig.store.open_upload(Path("bulk"), len(octets))
        upload.write(octets)
        bulk = Publish(upload=upload)
        assert rig.commit(small, bulk) == [None, None]
        for commit in (small, bulk):
            assert commit.size == len(octets)
            assert commit.digest == xxhash.xxh3_128_digest(octets)
        assert small.etag == rig.read_etag("small")

    @pytest.mark.parametrize("algorithms", [["xxh3-128"], ["sha256"], ["sha256", "xxh3-128"], []])
    def test_right_ones(self, rig: Rig, algorithms: list[str]) -> None:
        digests = {name: RIGHT[name] for name in algorithms} | {"md7": b"unknown"}
        assert rig.put("small", b"abc", digests=digests) is None
        assert rig.upload("bulk", b"abc", digests=digests) is None
        upload = rig.store.open_upload(Path("prepared"), 3)
        upload.write(b"abc")
        upload.prepare(NO_TERMS, digests)
        assert rig.commit(Publish(upload=upload, digests=digests)) == [None]

    @pytest.mark.parametrize("algorithm", ["xxh3-128", "sha256"])
    def test_a_wrong_one(self, rig: Rig, algorithm: str) -> None:
        rig.put("f", b"old")
        wrong = bytearray(RIGHT[algorithm])
        wrong[-1] ^= 1
        digests = RIGHT | {algorithm: bytes(wrong)}
        assert isinstance(rig.put("f", b"abc", digests=digests), DigestMismatch)
        assert isinstance(rig.upload("f", b"abc", digests=digests), DigestMismatch)
        upload = rig.store.open_upload(Path("f"), 3)
        upload.write(b"abc")
        with pytest.raises(DigestMismatch):
            upload.prepare(NO_TERMS, digests)
        assert upload.fileno() == -1
        assert rig.list_files() == {"f": b"old"}
        assert rig.list_parts() == []

    def test_one_that_was_not_compared_when_it_was_prepared(self, rig: Rig) -> None:
        upload = rig.store.open_upload(Path("f"), 3)
        upload.write(b"abc")
        upload.prepare()
        (refusal,) = rig.commit(Publish(upload=upload, digests={"xxh3-128": bytes(16)}))
        assert isinstance(refusal, DigestMismatch)
        assert rig.list_parts() == []

    @pytest.mark.parametrize("length", [0, 15, 17])
    def test_one_that_is_shorter_or_longer(self, rig: Rig, length: int) -> None:
        digests = {"xxh3-128": (RIGHT["xxh3-128"] * 2)[:length]}
        assert isinstance(rig.put("f", b"abc", digests=digests), DigestMismatch)

    def test_of_a_resumable_upload_nothing_is_left(self, rig: Rig) -> None:
        token = bytes(16)
        upload = rig.store.open_upload(Path("f"), 3, Resumption(token=token))
        upload.write(b"abc")
        (refusal,) = rig.commit(Publish(upload=upload, digests={"sha256": b""}))
        assert isinstance(refusal, DigestMismatch)
        assert rig.list_parts() == []
        with pytest.raises(NotFound):
            rig.store.stat_upload(token, "")


class TestOfADownload:
    @pytest.mark.parametrize("size", [0, 1, 2 * MIB + 1])
    def test_it_is_computed(self, rig: Rig, size: int) -> None:
        octets = os.urandom(size)
        (rig.root / "f").write_bytes(octets)
        download = rig.store.open_download(Path("f"))
        assert download.digest == b""
        assert download.compute_digest() == xxhash.xxh3_128_digest(octets)
        assert download.compute_digest("sha256") == hashlib.sha256(octets).digest()
        with pytest.raises(Unsupported):
            download.compute_digest("md7")
        assert download.etag == rig.read_etag("f")
        download.close()

    def test_it_is_stopped(self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contents, "WINDOW", 10)
        plain_rig.put("f", b"x" * 100)
        download = plain_rig.store.open_download(Path("f"))
        answers = iter([False, False, True])
        with pytest.raises(Cancelled):
            download.compute_digest(should_stop=lambda: next(answers))
        assert next(answers, None) is None
        download.close()

    def test_a_file_that_shrinks(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"x" * 100)
        download = plain_rig.store.open_download(Path("f"))
        os.truncate(plain_rig.root / "f", 50)
        with pytest.raises(Internal):
            download.compute_digest()
        download.close()

    def test_a_file_that_is_changed_meanwhile(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"x" * 100)
        download = plain_rig.store.open_download(Path("f"))

        def change() -> bool:
            os.utime(plain_rig.root / "f", ns=(1, 1))
            return False

        with pytest.raises(Busy):
            download.compute_digest(should_stop=change)
        download.close()

    def test_a_file_that_gets_another_name_meanwhile(self, plain_rig: Rig) -> None:
        plain_rig.put("f", b"x" * 100)
        download = plain_rig.store.open_download(Path("f"))

        def change() -> bool:
            return plain_rig.change("f", "g") is not None

        assert download.compute_digest(should_stop=change) == xxhash.xxh3_128_digest(b"x" * 100)
        download.close()
