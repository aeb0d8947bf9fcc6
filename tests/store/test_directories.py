"""Making directories, and removing files and directories; for every way of the store."""

import errno
import os
import stat
import subprocess
import threading
from contextlib import suppress
from pathlib import Path as LocalPath
from typing import Any

import pytest
from faults import Faults
from rig import Rig, count_descriptors, open_rig

from filetransfer.errors import (
    Exists,
    Internal,
    IsDirectory,
    NameInvalid,
    NotEmpty,
    NotFound,
    NotPermitted,
    PreconditionFailed,
    RequestRefused,
)
from filetransfer.names import Path
from filetransfer.store import calls, renamer, trash
from filetransfer.store.beneath import Root
from filetransfer.store.interface import Commit, Delete, MakeDirectory, PublishOctets
from filetransfer.store.terms import Terms

PARENTS = Terms(makes_parents=True)


def make_special(path: LocalPath, kind: str) -> None:
    if kind == "fifo":
        os.mkfifo(path)
    else:
        os.mknod(path, stat.S_IFSOCK | 0o600)


class TestMakeDirectory:
    def test_it_is_made(self, rig: Rig) -> None:
        assert rig.make_directory("d") is None
        assert rig.make_directory("d/e") is None
        assert stat.S_IMODE(os.stat(rig.root / "d/e").st_mode) == 0o750
        assert rig.put("d/e/f", b"f") is None

    def test_parents_are_made(self, rig: Rig) -> None:
        assert rig.make_directory("a/b/c", makes_parents=True) is None
        assert rig.make_directory("a/b/c", makes_parents=True) is None
        assert rig.make_directory("a", makes_parents=True) is None
        assert (rig.root / "a/b/c").is_dir()

    def test_a_parent_is_missing(self, rig: Rig) -> None:
        assert isinstance(rig.make_directory("a/b"), NotFound)
        assert os.listdir(rig.root) == [".ft-store"]

    @pytest.mark.parametrize("makes_parents", [False, True])
    @pytest.mark.parametrize("path", ["f", "link"])
    def test_there_is_something(self, rig: Rig, path: str, *, makes_parents: bool) -> None:
        rig.put("f", b"f")
        (rig.root / "d").mkdir()
        (rig.root / "link").symlink_to("d")
        refusal = rig.make_directory(path, makes_parents=makes_parents)
        assert isinstance(refusal, Exists)
        assert refusal.about == "path"

    def test_there_is_a_directory(self, rig: Rig) -> None:
        rig.make_directory("d")
        assert isinstance(rig.make_directory("d"), Exists)

    @pytest.mark.parametrize("path", ["f/d", "f/d/e", "link/e"])
    def test_something_is_in_the_way(self, rig: Rig, path: str) -> None:
        rig.put("f", b"f")
        (rig.root / "d").mkdir()
        (rig.root / "link").symlink_to("d")
        assert isinstance(rig.make_directory(path, makes_parents=True), NotFound)

    def test_in_one_batch(self, rig: Rig) -> None:
        outcome = rig.commit(
            MakeDirectory(path=Path("d")),
            PublishOctets(path=Path("d/f"), octets=b"f"),
            MakeDirectory(path=Path("d/e/g"), makes_parents=True),
            MakeDirectory(path=Path("d/e/g"), makes_parents=True),
            PublishOctets(path=Path("d/e/g/h"), octets=b"h"),
        )
        assert outcome == [None] * 5
        assert rig.list_files() == {"d/f": b"f", "d/e/g/h": b"h"}

    def test_many_at_once_one_wins(self, rig: Rig) -> None:
        commits = [MakeDirectory(path=Path("d")) for _ in range(8)]
        outcome = rig.commit(*commits)
        assert outcome.count(None) == 1

    def test_a_failed_one_leaves_none(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(self: Root, directory: object, name: bytes) -> None:
            if name == b"c":
                raise OSError(errno.EMFILE, "")
            return open_in(self, directory, name)

        open_in: Any = Root.open_directory_in
        monkeypatch.setattr(Root, "open_directory_in", refuse)
        assert plain_rig.make_directory("a/b/c", makes_parents=True) is not None
        assert os.listdir(plain_rig.root) == [".ft-store"]


@pytest.mark.parametrize("change", [Delete, MakeDirectory])
@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", NotPermitted),
        (".ft-store", NameInvalid),
        (".FT-store/parts", NameInvalid),
        ("..", NameInvalid),
        ("d/../f", NameInvalid),
        ("/f", NameInvalid),
    ],
)
def test_what_is_never_reached(
    rig: Rig, change: type[Delete | MakeDirectory], path: str, expected: type[RequestRefused]
) -> None:
    (refusal,) = rig.commit(change(path=Path(path)))
    assert isinstance(refusal, expected)
    assert refusal.about == "path"
    assert os.listdir(rig.root) == [".ft-store"]


def test_a_read_only_store_refuses(root: LocalPath) -> None:
    root.mkdir()
    (root / "f").touch()
    with open_rig(root, read_only=True) as rig:
        outcome = rig.commit(Delete(path=Path("f")), MakeDirectory(path=Path("d")))
    assert [type(refusal) for refusal in outcome] == [NotPermitted, NotPermitted]
    assert os.listdir(root) == ["f"]


class TestDelete:
    def test_a_file(self, rig: Rig) -> None:
        rig.put("f", b"f")
        rig.put("g", b"g")
        download = rig.store.open_download(Path("f"))
        assert rig.delete("f") is None
        assert download.read(0, 1) == b"f"
        download.close()
        assert isinstance(rig.delete("f"), NotFound)
        assert rig.delete("g", is_recursive=True) is None
        assert rig.list_files() == {}

    def test_an_empty_directory(self, rig: Rig) -> None:
        rig.make_directory("d/e", makes_parents=True)
        assert isinstance(rig.delete("d"), NotEmpty)
        assert rig.delete("d/e") is None
        assert rig.delete("d") is None
        assert os.listdir(rig.root) == [".ft-store"]

    @pytest.mark.parametrize("path", ["missing", "missing/f", "f/f", "link", "dangling", "link/g"])
    @pytest.mark.parametrize("is_recursive", [False, True])
    def test_what_is_not_there(self, rig: Rig, path: str, *, is_recursive: bool) -> None:
        rig.put("f", b"f")
        rig.put("d/g", b"g", PARENTS)
        (rig.root / "link").symlink_to("d")
        (rig.root / "dangling").symlink_to("nowhere")
        refusal = rig.delete(path, is_recursive=is_recursive)
        assert isinstance(refusal, NotFound)
        assert refusal.about == "path"
        assert sorted(os.listdir(rig.root)) == [".ft-store", "d", "dangling", "f", "link"]
        assert rig.get("d/g") == b"g"

    @pytest.mark.parametrize("kind", ["fifo", "socket"])
    @pytest.mark.parametrize("is_recursive", [False, True])
    def test_special_files_stay(self, rig: Rig, kind: str, *, is_recursive: bool) -> None:
        make_special(rig.root / "s", kind)
        assert isinstance(rig.delete("s", is_recursive=is_recursive), IsDirectory)
        assert os.path.lexists(rig.root / "s")

    def test_the_etag_that_was_read(self, rig: Rig) -> None:
        rig.put("f", b"f")
        rig.put("d/g", b"g", PARENTS)
        for path in ("f", "d"):
            etag = rig.store.stat(Path(path)).etag
            refusal = rig.delete(path, if_match="x", is_recursive=True)
            assert isinstance(refusal, PreconditionFailed)
            assert rig.delete(path, if_match=etag, is_recursive=True) is None
        assert rig.list_files() == {}

    def test_another_file_system_stays(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain_rig.make_directory("d")
        look_at = renamer.look_at

        def pretend(name: bytes, directory: int) -> os.stat_result:
            status = look_at(name, directory)
            assert status is not None
            return os.stat_result((*status[:2], status.st_dev + 1, *status[3:]))

        monkeypatch.setattr(renamer, "look_at", pretend)
        assert isinstance(plain_rig.delete("d", is_recursive=True), NotFound)
        assert (plain_rig.root / "d").is_dir()

    @pytest.mark.parametrize("is_recursive", [False, True])
    def test_what_is_mounted_on_stays(
        self, plain_rig: Rig, faults: Faults, *, is_recursive: bool
    ) -> None:
        plain_rig.make_directory("d")
        faults.arm(0, errno.EBUSY, only="rename" if is_recursive else "rmdir")
        assert isinstance(plain_rig.delete("d", is_recursive=is_recursive), NotPermitted)
        assert (plain_rig.root / "d").is_dir()
        assert plain_rig.list_trash() == []

    def test_in_one_batch(self, rig: Rig) -> None:
        """What is deleted is not there for who comes later, although its directory is open."""
        outcome = rig.commit(
            PublishOctets(path=Path("d/e/f"), octets=b"f", terms=PARENTS),
            Delete(path=Path("d"), is_recursive=True),
            PublishOctets(path=Path("d/e/g"), octets=b"g"),
            PublishOctets(path=Path("d/e/h"), octets=b"h", terms=PARENTS),
            MakeDirectory(path=Path("i")),
            Delete(path=Path("i")),
            PublishOctets(path=Path("i/j"), octets=b"j"),
        )
        assert [type(refusal) for refusal in outcome] == [
            *(type(None), type(None), NotFound, type(None), type(None), type(None), NotFound),
        ]
        assert rig.list_files() == {"d/e/h": b"h"}
        assert rig.list_trash() == []

    def test_an_outsider_puts_a_link_in_its_place(
        self, rig: Rig, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "f").touch()
        look_at = renamer.look_at

        def swap(name: bytes, directory: int) -> os.stat_result | None:
            status = look_at(name, directory)
            path = rig.root / name.decode()
            if path.is_dir():
                path.rmdir()
            else:
                path.unlink()
            path.symlink_to(outside)
            return status

        monkeypatch.setattr(renamer, "look_at", swap)
        for is_recursive in (False, True):
            for kind in ("file", "directory"):
                if kind == "file":
                    (rig.root / "x").touch()
                else:
                    (rig.root / "x").mkdir()
                rig.delete("x", is_recursive=is_recursive)
                assert os.listdir(outside) == ["f"]
                if os.path.lexists(rig.root / "x"):
                    os.unlink(rig.root / "x")
        assert rig.list_trash() == []


class TestRecursively:
    def make(self, rig: Rig) -> None:
        for path in ("d/f", "d/e/f", "d/e/g", "d/h/i/j/k"):
            assert rig.put(path, b"x", PARENTS) is None
        (rig.root / "d/link").symlink_to("/")
        os.mkfifo(rig.root / "d/e/fifo")
        with open(os.path.join(os.fsencode(rig.root), b"d/e/\xff"), "w"):
            pass
        os.mkdir(os.path.join(os.fsencode(rig.root), b"d/\xff"))

    def test_a_tree(self, rig: Rig) -> None:
        self.make(rig)
        rig.put("other", b"x")
        assert rig.delete("d", is_recursive=True) is None
        assert os.listdir(rig.root).count("d") == 0
        assert rig.list_trash() == []
        assert rig.list_files() == {"other": b"x"}

    def test_what_it_points_to_stays(self, rig: Rig, tmp_path: LocalPath) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/f").touch()
        rig.make_directory("d")
        (rig.root / "d/link").symlink_to(tmp_path / "outside")
        os.link(tmp_path / "outside/f", rig.root / "d/hard")
        assert rig.delete("d", is_recursive=True) is None
        assert rig.list_trash() == []
        assert os.listdir(tmp_path / "outside") == ["f"]

    def test_the_deepest(self, root: LocalPath) -> None:
        with open_rig(root, durability="none") as rig:
            assert rig.make_directory("/".join(["a"] * 2047), makes_parents=True) is None
            before = count_descriptors()
            assert rig.delete("a", is_recursive=True) is None
            assert rig.list_trash() == []
            assert count_descriptors() == before

    def test_more_than_are_looked_at_at_a_time(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(trash, "_AT_ONCE", 2)
        for n in range(20):
            os.makedirs(plain_rig.root / f"d/{n}/e")
        assert plain_rig.delete("d", is_recursive=True) is None
        assert plain_rig.list_trash() == []

    def test_it_is_not_emptied_before_it_is_durable(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A power cut might bring it back: then with all its files."""
        self.make(plain_rig)
        fsync = os.fsync
        inode = os.stat(plain_rig.root).st_ino

        def fail(descriptor: int) -> None:
            if os.fstat(descriptor).st_ino == inode:
                raise OSError(errno.EIO, "")
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", fail)
        assert isinstance(plain_rig.delete("d", is_recursive=True), Internal)
        monkeypatch.setattr(os, "fsync", fsync)
        plain_rig.make_directory("other")
        assert plain_rig.delete("other", is_recursive=True) is None
        (left,) = plain_rig.list_trash()
        assert sorted(os.listdir(plain_rig.root / ".ft-store/trash" / left)) == sorted(
            ["e", "f", "h", "link", "\udcff"]
        )

    def test_a_start_goes_on(self, root: LocalPath, durability: str) -> None:
        with open_rig(root, durability=durability) as rig:
            self.make(rig)
            # As a kill leaves it: renamed, and half of it moved up; and what no run of ours makes.
            os.rename(root / "d/h", root / ".ft-store/trash/0")
            os.rename(root / "d", root / ".ft-store/trash/1")
            (root / ".ft-store/trash/file").touch()
            (root / ".ft-store/trash/link").symlink_to("/")
        with open_rig(root, durability=durability) as rig:
            assert rig.list_trash() == []
            rig.put("d/f", b"f", PARENTS)
            assert rig.delete("d", is_recursive=True) is None
            assert rig.list_trash() == []

    def test_what_an_earlier_run_left_is_settled_first(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        with open_rig(root):
            (root / ".ft-store/trash/0").mkdir()

        def fail(descriptor: int) -> None:
            raise OSError(errno.EIO, "no")

        with monkeypatch.context() as patch:
            patch.setattr(calls, "sync_file_system", fail)
            with open_rig(root) as rig:
                assert rig.list_trash() == ["0"]
        assert "could not be emptied: no" in caplog.text
        with open_rig(root) as rig:
            assert rig.list_trash() == []

    def test_what_cannot_be_removed_is_told_of_and_left(
        self, plain_rig: Rig, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        self.make(plain_rig)
        faults.arm(0, errno.EACCES, only="unlink", times=1000)
        assert plain_rig.delete("d", is_recursive=True) is None
        assert plain_rig.list_trash() != []
        faults.disarm()
        assert "stays in the trash" in caplog.text
        plain_rig.make_directory("other")
        assert plain_rig.delete("other", is_recursive=True) is None
        assert plain_rig.list_trash() != []

    def test_a_disk_that_failed_is_left_alone(self, plain_rig: Rig) -> None:
        self.make(plain_rig)
        plain_rig.store._storage.is_read_only = True
        (plain_rig.root / ".ft-store/trash/0").mkdir()
        plain_rig.store._trash._wake()
        assert plain_rig.list_trash() == ["0"]

    def test_close_does_not_wait_for_the_end(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        has_begun, may_go_on = threading.Event(), threading.Event()
        take_one_out = trash.Trash._take_one_out

        def wait(self: trash.Trash, directory: Any, entry: Any) -> None:
            has_begun.set()
            assert may_go_on.wait(60)
            take_one_out(self, directory, entry)

        monkeypatch.setattr(trash.Trash, "_take_one_out", wait)
        with open_rig(root) as rig:
            for n in range(20):
                rig.put(f"d/{n}/f", b"x", PARENTS)
            assert rig.delete("d", is_recursive=True) is None
            assert has_begun.wait(60)
            closer = threading.Thread(target=rig.store.close)
            closer.start()
            while not rig.store._trash._is_closed:
                os.sched_yield()
            may_go_on.set()
            closer.join()
        left = sum(len(names) for _, names, _ in os.walk(root / ".ft-store/trash"))
        assert left >= 19
        monkeypatch.undo()
        with open_rig(root) as rig:
            assert rig.list_trash() == []

    def test_an_outsider_swaps_directories_for_links(
        self, plain_rig: Rig, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        outside = tmp_path / "outside"
        (outside / "inner").mkdir(parents=True)
        (outside / "inner/f").touch()
        rename = os.rename

        def swap(name: Any, to: Any, *, src_dir_fd: int, dst_dir_fd: int) -> None:
            status = os.stat(name, dir_fd=src_dir_fd, follow_symlinks=False)
            if name != "d" and stat.S_ISDIR(status.st_mode):
                rename(name, "was", src_dir_fd=src_dir_fd, dst_dir_fd=src_dir_fd)
                os.symlink(outside, name, dir_fd=src_dir_fd)
                monkeypatch.setattr(os, "rename", rename)
            rename(name, to, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

        self.make(plain_rig)
        held = os.open(plain_rig.root / "d", os.O_RDONLY)
        monkeypatch.setattr(os, "rename", swap)
        assert plain_rig.delete("d", is_recursive=True) is None
        assert plain_rig.list_trash() == []
        os.close(held)
        assert os.listdir(outside / "inner") == ["f"]


def test_an_outsider_swaps_a_directory_for_a_link_all_the_time(
    rig: Rig, tmp_path: LocalPath
) -> None:
    """Whatever is asked meanwhile is done in the root, or refused."""
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    (outside / "e/f").write_bytes(b"his")
    place, aside = rig.root / "d", rig.root / "aside"
    has_ended = threading.Event()

    def swap() -> None:
        while not has_ended.is_set():
            with suppress(OSError):
                place.rename(aside)
            with suppress(OSError):
                place.symlink_to(outside)
            with suppress(OSError):
                place.unlink()
            with suppress(OSError):
                aside.rename(place)

    outsider = threading.Thread(target=swap)
    outsider.start()
    try:
        for n in range(60):
            rig.commit(
                MakeDirectory(path=Path(f"d/e/m{n}"), makes_parents=True),
                PublishOctets(path=Path(f"d/e/g/f{n}"), octets=b"ours", terms=PARENTS),
                Delete(path=Path("d/e/f")),
                Delete(path=Path("d/e"), is_recursive=bool(n % 2)),
                Delete(path=Path("d"), is_recursive=bool(n % 3)),
            )
            found = rig.store.list_directory(Path(""), is_recursive=True)
            with suppress(RequestRefused):
                while entries := found.read():
                    assert not {"d/e/f", "aside/e/f"} & {entry.path for entry in entries}
            found.close()
    finally:
        has_ended.set()
        outsider.join()
    rig.list_trash()
    assert os.listdir(outside) == ["e"]
    assert os.listdir(outside / "e") == ["f"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE, errno.ENOSPC])
@pytest.mark.parametrize(
    "commit",
    [
        Delete(path=Path("d"), is_recursive=True),
        Delete(path=Path("d/e/g")),
        Delete(path=Path("d/h")),
        MakeDirectory(path=Path("a/b/c"), makes_parents=True),
    ],
    ids=["tree", "file", "directory", "make"],
)
def test_every_call(tmp_path: LocalPath, faults: Faults, commit: Commit, number: int) -> None:
    """Done or refused, whole or not at all; and the next start finds nothing amiss."""
    at = 0
    while True:
        root = tmp_path / str(at)
        with open_rig(root) as rig:
            rig.put("d/e/g", b"x", PARENTS)
            rig.make_directory("d/h")
            before = count_descriptors()
            commit.error = None
            faults.arm(at, number)
            (refusal,) = rig.commit(commit)
            rig.list_trash()
            faults.disarm()
            assert count_descriptors() == before
            if isinstance(commit, Delete) and not (root / commit.path).exists():
                assert refusal is None or faults.failed == "fsync"
            elif isinstance(commit, MakeDirectory) and refusal is not None:
                assert faults.failed in ("fsync", "fchmod") or not (root / "a").exists()
            else:
                assert (refusal is None) == isinstance(commit, MakeDirectory)
            assert rig.put("later", b"later") is None
        with open_rig(root) as rig:
            assert rig.list_trash() == []
            assert rig.put("later", b"later") is None
        if faults.failed is None:
            break
        at += 1


@pytest.mark.needs_root("mount")
def test_a_mount_in_a_deleted_tree_stays(tmp_path: LocalPath) -> None:
    """What is mounted deep in it is neither emptied nor entered."""
    with open_rig(tmp_path / "root") as rig:
        rig.make_directory("d/e", makes_parents=True)
        rig.put("d/f", b"f")
        mount = ["mount", "-t", "tmpfs", "tmpfs", rig.root / "d/e"]
        subprocess.run(mount, check=True)
        try:
            (rig.root / "d/e/his").touch()
            assert isinstance(rig.delete("d/e", is_recursive=True), NotFound)
            assert isinstance(rig.delete("d/e/his"), NotFound)
            assert rig.delete("d", is_recursive=True) is None
            (left,) = rig.list_trash()
            where = rig.root / ".ft-store/trash" / left / "e"
            assert os.listdir(where) == ["his"]
        finally:
            for place in ("d/e", f".ft-store/trash/{left}/e"):
                if os.path.ismount(rig.root / place):
                    subprocess.run(["umount", rig.root / place], check=True)
