"""What is under a path, and listings in order, page by page; for every way of the store."""

import errno
import os
import random
import stat
import tempfile
from pathlib import Path as LocalPath

import pytest
import xxhash
from faults import Faults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import Rig, count_descriptors, open_rig

from filetransfer.errors import (
    NameInvalid,
    NotDirectory,
    NotFound,
    RequestRefused,
)
from filetransfer.names import MAX_PATH_OCTETS, Path, check_path
from filetransfer.store import listing, records
from filetransfer.store.beneath import Root
from filetransfer.store.interface import Entry
from filetransfer.store.listing import DirectoryListing

names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=2
).filter(lambda name: name not in (".", ".."))
trees = st.recursive(
    st.sampled_from(["file", "link"]), lambda inner: st.dictionaries(names, inner, max_size=8)
)


def read_all(found: DirectoryListing) -> list[Entry]:
    """Give what a listing has, and close it."""
    entries: list[Entry] = []
    while batch := found.read():
        entries += batch
    assert found.read() == []
    found.close()
    return entries


def list_paths(rig: Rig, path: str = "", **terms: object) -> list[str]:
    found = rig.store.list_directory(Path(path), **terms)  # type: ignore[arg-type]
    return [entry.path for entry in read_all(found)]


def list_pages(rig: Rig, path: str, limit: int, *, is_recursive: bool) -> tuple[list[str], int]:
    """Give what is listed page by page, and how many were hidden."""
    paths: list[str] = []
    hidden = 0
    after: Path | None = None
    while True:
        found = rig.store.list_directory(
            Path(path), is_recursive=is_recursive, after=after, limit=limit
        )
        page = read_all(found)
        assert len(page) <= limit
        paths += [entry.path for entry in page]
        hidden += found.hidden
        after = found.more
        if after is None:
            return paths, hidden
        assert page[-1].path == after
        assert len(page) == limit


def walk(root: LocalPath, path: str, *, is_recursive: bool) -> tuple[list[str], int]:
    """Do the same by os.walk and sorting."""
    paths: list[bytes] = []
    hidden = 0
    top = os.fsencode(root)
    for directory, directories, files in os.walk(os.path.join(top, path.encode())):
        prefix = os.path.relpath(directory, top) + b"/"
        prefix = b"" if prefix == b"./" else prefix
        for name in [*directories, *files]:
            try:
                check_path((prefix + name).decode())
            except (UnicodeDecodeError, NameInvalid):
                is_hidden = True
            else:
                is_hidden = os.path.islink(os.path.join(directory, name))
            hidden += is_hidden
            if is_hidden and name in directories:
                directories.remove(name)
            if not is_hidden:
                paths.append(prefix + name)
        if not is_recursive:
            break
    return [path.decode() for path in sorted(paths, key=lambda path: path.split(b"/"))], hidden


class TestStat:
    def test_a_file(self, rig: Rig) -> None:
        rig.put("f", b"abc")
        status = os.stat(rig.root / "f")
        assert rig.store.stat(Path("f")) == Entry(
            *(Path("f"), "file", 3, status.st_mtime_ns, 0o640, records.compute_etag(status)),
            xxhash.xxh3_128_digest(b"abc"),
        )

    @pytest.mark.parametrize("path", ["", "d"])
    def test_a_directory(self, rig: Rig, path: str) -> None:
        (rig.root / "d").mkdir(mode=0o700)
        entry = rig.store.stat(Path(path))
        status = os.stat(rig.root / path)
        assert (entry.path, entry.kind, entry.size) == (path, "directory", 0)
        assert entry.mode == stat.S_IMODE(status.st_mode)
        assert entry.etag == records.compute_etag(status)
        (rig.root / path / "new").touch()
        assert rig.store.stat(Path(path)).etag != entry.etag

    def test_a_fifo_is_not_opened(self, rig: Rig) -> None:
        os.mkfifo(rig.root / "s", 0o600)
        entry = rig.store.stat(Path("s"))
        assert (entry.kind, entry.size, entry.mode) == ("other", 0, 0o600)

    @pytest.mark.parametrize("path", ["missing", "link", "dangling", "link/f", "f/f"])
    def test_what_is_not_there(self, rig: Rig, path: str) -> None:
        rig.put("f", b"")
        (rig.root / "d").mkdir()
        (rig.root / "d/f").touch()
        (rig.root / "link").symlink_to("d")
        (rig.root / "dangling").symlink_to("nowhere")
        with pytest.raises(NotFound) as caught:
            rig.store.stat(Path(path))
        assert caught.value.about == "path"

    def test_a_digest_that_is_not_that_of_the_content_is_not_told(self, rig: Rig) -> None:
        rig.put("f", b"abc")
        with open(rig.root / "f", "rb") as file:
            status = os.fstat(file.fileno())
            record = records.Record(bytes(16), is_damaged=True)
            records.write_record(file.fileno(), record, status)
        assert rig.store.stat(Path("f")).digest == b""
        os.utime(rig.root / "f", ns=(1, 1))
        assert rig.store.stat(Path("f")).digest == b""
        (rig.root / "g").touch()
        assert rig.store.stat(Path("g")).digest == b""

    @pytest.mark.parametrize("call", ["open", "fstat", "getxattr"])
    def test_a_file_that_cannot_be_read_has_a_size(
        self, root: LocalPath, faults: Faults, monkeypatch: pytest.MonkeyPatch, call: str
    ) -> None:
        from filetransfer.store import beneath

        monkeypatch.setattr(beneath, "choose_opener", lambda directory: beneath.open_by_walk)
        with open_rig(root) as rig:
            rig.put("f", b"abc")
            descriptors = count_descriptors()
            # The walk opens once, and looks twice at what it opened, before the file is opened for reading.
            at = {"open": 1, "fstat": 3, "getxattr": 0}[call]
            faults.arm(at, errno.EACCES, only=call)
            entry = rig.store.stat(Path("f"))
            assert faults.failed == call
            assert (entry.size, entry.digest) == (3, b"")
            assert count_descriptors() == descriptors

    def test_a_file_that_is_replaced_meanwhile(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plain_rig.put(
            "f",
            b"abc",
        )
        plain_rig.put("g", b"def")
        for name in "fg":
            os.utime(plain_rig.root / name, ns=(1, 1))
        opened = []
        open_beneath = Root.open

        def replace(self: Root, path: str, flags: int) -> int:
            opened.append(flags)
            if opened:
                os.rename(plain_rig.root / "g", plain_rig.root / "f")
                # Of the same size and time, with a record that counts.
                record = records.Record(bytes(16), is_damaged=False)
                with open(plain_rig.root / "f", "rb") as file:
                    records.write_record(file.fileno(), record, os.fstat(file.fileno()))
            return open_beneath(self, path, flags)

        monkeypatch.setattr(Root, "open", replace)
        assert plain_rig.store.stat(Path("f")).digest == b""


class TestOrder:
    @pytest.fixture
    def tree(self, rig: Rig) -> Rig:
        (rig.root / "x").mkdir()
        for name in ("a", "a/b", "z", "d", "d/e", "x/y"):
            (rig.root / name).mkdir(exist_ok=True)
        for name in ("a!", "a/b/c", "a/bb", "a-", "aa", "b", "é", "ﬀ", "😀", "d/f", "x/y/f"):
            (rig.root / name).touch()
        return rig

    def test_a_directory_comes_directly_before_what_is_in_it(self, tree: Rig) -> None:
        assert list_paths(tree, is_recursive=True) == [
            *("a", "a/b", "a/b/c", "a/bb", "a!", "a-", "aa", "b", "d", "d/e", "d/f"),
            *("x", "x/y", "x/y/f", "z", "é", "ﬀ", "😀"),
        ]

    def test_one_level(self, tree: Rig) -> None:
        assert list_paths(tree, "a") == ["a/b", "a/bb"]
        assert list_paths(tree, "z") == []

    @pytest.mark.parametrize(
        ("after", "first"),
        [
            ("a", "a/b"),
            ("a/", "a/b"),
            ("a/b", "a/b/c"),
            ("a/b/a", "a/b/c"),
            ("a/b/c/gone", "a/bb"),
            ("a/b/zz", "a/bb"),
            ("a/ba/gone/long/since", "a/bb"),
            ("a/z", "a!"),
            ("B", "a"),
            ("zz", "é"),
            ("😀", None),
            ("d/f", "x"),
            ("a//b", "a/b"),
            ("a/../a", "a/b"),
            ("a/b\0c", "a/bb"),
            ("\ud800", "ﬀ"),
        ],
    )
    def test_it_goes_on_behind_what_need_not_be_there(
        self, tree: Rig, after: str, first: str | None
    ) -> None:
        after = after.rstrip("/")
        paths = list_paths(tree, is_recursive=True, after=Path(after))
        assert (paths[0] if paths else None) == first

    @pytest.mark.parametrize(
        ("after", "expected"),
        [
            ("x", ["x/y", "x/y/f"]),
            ("b", ["x/y", "x/y/f"]),
            ("x!", []),
            ("z", []),
            ("x/y", ["x/y/f"]),
            ("x/y/z", []),
            ("x/z", []),
        ],
    )
    def test_behind_a_path_that_lies_elsewhere(
        self, tree: Rig, after: str, expected: list[str]
    ) -> None:
        assert list_paths(tree, "x", is_recursive=True, after=Path(after)) == expected

    def test_behind_a_path_deeper_than_what_is_listed(self, tree: Rig) -> None:
        assert list_paths(tree, "a", after=Path("a/b/c")) == ["a/bb"]

    @pytest.mark.parametrize("is_recursive", [False, True])
    def test_pages_of_every_limit_are_the_whole(self, tree: Rig, *, is_recursive: bool) -> None:
        expected = walk(tree.root, "", is_recursive=is_recursive)
        for limit in range(1, len(expected[0]) + 3):
            assert list_pages(tree, "", limit, is_recursive=is_recursive) == expected

    def test_more_is_told_only_when_there_is_more(self, tree: Rig) -> None:
        for limit, more in [(1, "a/b"), (2, None), (3, None)]:
            found = tree.store.list_directory(Path("a"), limit=limit)
            read_all(found)
            assert found.more == more

    def test_entries_are_what_stat_tells(self, tree: Rig) -> None:
        os.mkfifo(tree.root / "s")
        tree.put("f", b"abc")
        entries = read_all(tree.store.list_directory(Path(""), is_recursive=True))
        for entry in entries:
            told = tree.store.stat(entry.path)
            assert Entry(*(getattr(told, name) for name in Entry.__slots__[:-1])) == entry
        kinds = {entry.path: entry.kind for entry in entries}
        assert kinds["s"] == "other"
        assert kinds["a/b"] == "directory"
        assert kinds["f"] == "file"


class TestHidden:
    def test_what_a_peer_must_not_know_is_counted(self, rig: Rig, tmp_path: LocalPath) -> None:
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/secret").touch()
        top = os.fsencode(rig.root)
        (rig.root / "d").mkdir()
        for name in (b"a\nb", b"\xff", b"x\xe2\x80\xaey", b".FT-x", b"d/\x7f"):
            with open(os.path.join(top, name), "w"):
                pass
        os.mkdir(os.path.join(top, b"dir\xff"))
        (rig.root / "link").symlink_to(tmp_path / "outside")
        (rig.root / "f").touch()
        found = rig.store.list_directory(Path(""), is_recursive=True)
        assert [entry.path for entry in read_all(found)] == ["d", "f"]
        # And .ft-store.
        assert found.hidden == 8
        for limit in (1, 2, 3):
            assert list_pages(rig, "", limit, is_recursive=True) == (["d", "f"], 8)

    def test_the_stores_own_directory_is_no_cursor(self, rig: Rig) -> None:
        rig.put("f", b"")
        after = Path(".ft-store/")
        assert list_paths(rig, is_recursive=True, after=after) == ["f"]

    def test_paths_that_are_too_long(self, plain_rig: Rig) -> None:
        names = ["x" * 255] * 15 + ["y" * 254]
        held = os.open(plain_rig.root, os.O_RDONLY)
        for name in names:
            os.mkdir(name, dir_fd=held)
            inner = os.open(name, os.O_RDONLY, dir_fd=held)
            os.close(held)
            held = inner
        os.mkdir("z", dir_fd=held)
        os.close(os.open("zz", os.O_CREAT, dir_fd=held))
        os.close(held)
        found = plain_rig.store.list_directory(Path(""), is_recursive=True)
        paths = [entry.path for entry in read_all(found)]
        # 15 * 256 + 255 = 4,095 octets with the slash behind: one more is the limit.
        assert len(paths) == 17
        assert len(paths[-1]) == MAX_PATH_OCTETS
        assert found.hidden == 2
        assert list_paths(plain_rig, is_recursive=True, after=Path(paths[-2])) == paths[-1:]
        assert list_paths(plain_rig, is_recursive=True, after=Path(paths[-1])) == []

    def test_a_directory_that_must_not_be_read_is_counted(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (plain_rig.root / "d").mkdir()
        (plain_rig.root / "d/f").touch()
        (plain_rig.root / "e").mkdir()

        def refuse(self: Root, directory: object, name: bytes) -> None:
            raise OSError(errno.EACCES if name == b"d" else errno.EXDEV, "")

        monkeypatch.setattr(Root, "open_directory_in", refuse)
        found = plain_rig.store.list_directory(Path(""), is_recursive=True)
        assert [entry.path for entry in read_all(found)] == ["d", "e"]
        assert found.hidden == 3

    def test_another_file_system(self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        (plain_rig.root / "d").mkdir()
        (plain_rig.root / "d/f").touch()
        look = os.stat

        def pretend(path: bytes, *, dir_fd: int, follow_symlinks: bool) -> os.stat_result:
            status = look(path, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
            if path != b"d":
                return status
            return os.stat_result((*status[:2], status.st_dev + 1, *status[3:]))

        monkeypatch.setattr(os, "stat", pretend)
        found = plain_rig.store.list_directory(Path(""), is_recursive=True)
        assert read_all(found) == []
        assert found.hidden == 2


class TestFailures:
    @pytest.mark.parametrize(
        ("path", "expected"),
        [("f", NotDirectory), ("missing", NotFound), ("link", NotFound), ("f/d", NotFound)],
    )
    def test_what_is_no_directory(
        self, rig: Rig, path: str, expected: type[RequestRefused]
    ) -> None:
        rig.put("f", b"")
        (rig.root / "link").symlink_to(".")
        descriptors = count_descriptors()
        with pytest.raises(expected) as caught:
            rig.store.list_directory(Path(path))
        assert caught.value.about == "path"
        assert count_descriptors() == descriptors

    def test_it_is_closed_at_any_time(self, rig: Rig) -> None:
        os.makedirs(rig.root / "a/b/c")
        descriptors = count_descriptors()
        for limit in range(1, 5):
            found = rig.store.list_directory(Path(""), is_recursive=True, limit=limit)
            found.read()
            found.close()
            found.close()
            assert found.read() == []
        rig.store.list_directory(Path("a"), is_recursive=True, after=Path("a/b/c")).close()
        assert count_descriptors() == descriptors

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOENT, errno.EMFILE, errno.EACCES])
    def test_every_call(self, root: LocalPath, faults: Faults, number: int) -> None:
        """It is refused, or what could be listed is: never half of it without a word."""
        with open_rig(root, read_only=False) as rig:
            os.makedirs(root / "a/b")
            for path in ("a/b/c", "a/d", "e"):
                (root / path).touch()
            whole = list_paths(rig, is_recursive=True)
            descriptors = count_descriptors()
            at = 0
            while True:
                faults.arm(at, number)
                found = None
                try:
                    found = rig.store.list_directory(Path(""), is_recursive=True, after=Path("a/a"))
                    paths = [entry.path for entry in read_all(found)]
                except RequestRefused:
                    is_refused = True
                else:
                    is_refused = False
                    if number == errno.EACCES and faults.failed not in (None, "close"):
                        assert found.hidden or paths == whole[1:]
                    elif number != errno.ENOENT:
                        assert faults.failed in (None, "close")
                        assert paths == whole[1:]
                finally:
                    faults.disarm()
                    if found is not None:
                        found.close()
                assert count_descriptors() == descriptors
                if faults.failed is None:
                    assert not is_refused
                    break
                at += 1


class TestChanges:
    """Somebody changes what is being listed."""

    def test_what_vanishes_is_passed_over(self, rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listing, "_ENTRIES_AT_ONCE", 1)
        monkeypatch.setattr(listing, "MAX_OPEN", 1)
        os.makedirs(rig.root / "a/b")
        for name in ("a/b/f", "a/c", "d", "e"):
            (rig.root / name).touch()
        found = rig.store.list_directory(Path(""), is_recursive=True)
        assert [entry.path for entry in found.read()] == ["a"]
        assert [entry.path for entry in found.read()] == ["a/b"]
        os.unlink(rig.root / "a/b/f")
        os.unlink(rig.root / "a/c")
        os.rmdir(rig.root / "a/b")
        os.rmdir(rig.root / "a")
        os.unlink(rig.root / "d")
        assert [entry.path for entry in read_all(found)] == ["e"]
        assert found.hidden == 1

    def test_a_link_in_the_place_of_a_directory_is_not_followed(
        self, rig: Rig, tmp_path: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing, "_ENTRIES_AT_ONCE", 1)
        monkeypatch.setattr(listing, "MAX_OPEN", 1)
        (tmp_path / "outside").mkdir()
        (tmp_path / "outside/secret").touch()
        (tmp_path / "outside/c").mkdir()
        os.makedirs(rig.root / "a/c")
        os.makedirs(rig.root / "b")
        (rig.root / "a/d").touch()
        make_entry = listing._make_entry

        def swap(path: Path, status: os.stat_result, digest: bytes = b"") -> Entry:
            # After it was looked at, before it is opened.
            if path in ("b", "a/c"):
                os.rename(rig.root / "a", rig.root / "was") if path == "a/c" else os.rmdir(
                    rig.root / "b"
                )
                os.symlink(tmp_path / "outside", rig.root / path[0])
            return make_entry(path, status, digest)

        monkeypatch.setattr(listing, "_make_entry", swap)
        paths = list_paths(rig, is_recursive=True)
        assert not any("secret" in path for path in paths)
        assert paths[:3] == ["a", "a/c", "b"]


class TestAnySize:
    """With limits that are reached by a few names."""

    @pytest.fixture(autouse=True)
    def narrow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(listing, "MAX_NAMES", 5)
        monkeypatch.setattr(listing, "MAX_KEPT_NAMES", 8)
        monkeypatch.setattr(listing, "MAX_OPEN", 2)
        monkeypatch.setattr(listing, "_SORTED_AT_ONCE", 3)
        monkeypatch.setattr(listing, "_ENTRIES_AT_ONCE", 2)

    @pytest.mark.parametrize("count", [4, 5, 6, 9, 10, 11, 50])
    def test_a_directory_that_is_read_more_than_once(self, rig: Rig, count: int) -> None:
        names = [f"{n:03}" for n in range(count)]
        random.Random(count).shuffle(names)
        for name in names:
            (rig.root / name).touch()
        assert list_paths(rig) == sorted(names)

    def test_a_deep_one(self, rig: Rig) -> None:
        path = rig.root
        for n in range(40):
            for name in "abcz":
                (path / f"{name}{n}").touch()
            path = path / "m"
            path.mkdir()
        descriptors = count_descriptors()
        found = rig.store.list_directory(Path(""), is_recursive=True)
        most = 0
        paths = []
        while entries := found.read():
            paths += [entry.path for entry in entries]
            most = max(most, count_descriptors())
            assert sum(len(level.names) for level in found._levels) <= 8
        assert most - descriptors <= 2
        assert paths == walk(rig.root, "", is_recursive=True)[0]
        assert len(paths) == 200

    @given(tree=st.dictionaries(names, trees, max_size=8), data=st.data())
    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    def test_any_tree_is_what_os_walk_and_sorting_give(
        self, tree: dict[str, object], data: st.DataObject
    ) -> None:
        with tempfile.TemporaryDirectory() as place:
            root = LocalPath(place)
            _make(root, tree)
            with open_rig(root, read_only=True) as rig:
                for is_recursive in (False, True):
                    expected = walk(root, "", is_recursive=is_recursive)
                    limit = data.draw(st.integers(1, len(expected[0]) + 2))
                    assert list_pages(rig, "", limit, is_recursive=is_recursive) == expected
                for path in expected[0]:
                    if (root / path).is_dir():
                        inner = walk(root, path, is_recursive=True)
                        assert list_pages(rig, path, 3, is_recursive=True) == inner


def _make(directory: LocalPath, tree: dict[str, object]) -> None:
    for name, kind in tree.items():
        path = os.path.join(os.fsencode(directory), name.encode())
        if isinstance(kind, dict):
            os.mkdir(path)
            _make(directory / name, kind)
        elif kind == "link":
            os.symlink("/", path)
        else:
            with open(path, "w"):
                pass
