"""Nothing is opened outside of a root: the same results from the kernel and from the walk."""

import ctypes
import errno
import os
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as LocalPath

import pytest
from rig import count_descriptors, open_rig

from filetransfer.errors import RequestRefused
from filetransfer.names import Path
from filetransfer.store import beneath, calls
from filetransfer.store.beneath import HeldDirectory, Opener, Root
from filetransfer.store.interface import Commit, PublishOctets, Rename

SWAPS = 20_000


@pytest.fixture
def tree(tmp_path: LocalPath) -> LocalPath:
    """A root full of ways out.

    outside/secret      what nobody may reach
    root/file
    root/d/e/file
    root/d/up           -> ..
    root/out            -> outside, absolute
    root/relative       -> ../outside
    root/inside         -> d
    root/alias          -> file
    """
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/secret").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "d/e").mkdir(parents=True)
    (root / "file").write_bytes(b"file")
    (root / "d/e/file").write_bytes(b"deep")
    (root / "d/up").symlink_to("..")
    (root / "out").symlink_to(tmp_path / "outside")
    (root / "relative").symlink_to("../outside")
    (root / "inside").symlink_to("d")
    (root / "alias").symlink_to("file")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def opened(tree: LocalPath, open_beneath: Opener) -> Iterator[Root]:
    root = Root(tree)
    yield root
    root.close()


def read(root: Root, path: str) -> bytes:
    descriptor = root.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize(("path", "octets"), [("file", b"file"), ("d/e/file", b"deep")])
def test_what_is_inside_is_opened(opened: Root, path: str, octets: bytes) -> None:
    assert read(opened, path) == octets


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("missing", errno.ENOENT),
        ("missing/file", errno.ENOENT),
        ("d/missing", errno.ENOENT),
        ("file/x", errno.ENOTDIR),
        ("fifo/x", errno.ENOTDIR),
        ("alias", errno.ELOOP),
        ("out", errno.ELOOP),
        ("out/secret", errno.ELOOP),
        ("relative/secret", errno.ELOOP),
        ("inside/e/file", errno.ELOOP),
        ("d/up/file", errno.ELOOP),
        ("..", errno.EXDEV),
        ("../outside/secret", errno.EXDEV),
        ("d/../file", errno.EXDEV),
        ("d/../../outside/secret", errno.EXDEV),
        ("/etc/passwd", errno.EXDEV),
        ("/", errno.EXDEV),
        ("d//e", errno.EXDEV),
        ("d/", errno.EXDEV),
        (".", errno.EXDEV),
        ("./file", errno.EXDEV),
        ("file\0", errno.EILSEQ),
        ("file\0/../x", errno.EILSEQ),
        ("\ud800", errno.EILSEQ),
        ("x" * 256, errno.ENAMETOOLONG),
        ("x" * 256 + "/f", errno.ENAMETOOLONG),
    ],
)
def test_what_is_not_inside_is_refused(opened: Root, path: str, number: int) -> None:
    descriptors = count_descriptors()
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        opened.open(path, os.O_RDONLY)
    assert caught.value.errno == number
    assert count_descriptors() == descriptors


def test_the_longest_path_is_opened(opened: Root) -> None:
    """4,096 octets, one more than the kernel takes at once."""
    path = "/".join([*["n" * 255] * 15, "m" * 253, "of"])
    held = os.dup(opened.fileno())
    for name in path.split("/")[:-1]:
        os.mkdir(name, dir_fd=held)
        inner = os.open(name, os.O_DIRECTORY, dir_fd=held)
        os.close(held)
        held = inner
    os.close(os.open("of", os.O_CREAT, dir_fd=held))
    os.close(held)
    assert len(path) == 4096
    descriptors = count_descriptors()
    assert read(opened, path) == b""
    assert opened.open_cached(path, os.O_RDONLY) is None
    with pytest.raises(FileNotFoundError):
        opened.open(path[:-2] + "no", os.O_RDONLY)
    with pytest.raises(OSError, match=re.escape(os.strerror(errno.ENAMETOOLONG))):
        opened.open("x" * 4096, os.O_RDONLY)
    assert count_descriptors() == descriptors


def test_a_link_is_no_directory(opened: Root) -> None:
    with pytest.raises(NotADirectoryError):
        opened.open_directory("inside")


def test_the_root_itself(opened: Root, tree: LocalPath) -> None:
    directory = opened.open_directory("")
    assert os.path.sameopenfile(directory.fileno(), opened.fileno())
    directory.close()
    assert opened.open_directory("d/e").fileno() > 0


def test_a_fifo_hangs_nobody(opened: Root) -> None:
    os.close(opened.open("fifo", os.O_RDONLY))


def test_another_file_system_is_outside(open_beneath: Opener) -> None:
    # /proc is mounted below / wherever there is one.
    root = Root("/")
    for path in ("proc", "proc/self/status"):
        with pytest.raises(OSError, match="cross-device") as caught:
            root.open(path, os.O_RDONLY)
        assert caught.value.errno == errno.EXDEV
    root.close()


def test_a_closed_directory_has_no_number() -> None:
    directory = HeldDirectory(os.open("/", os.O_PATH))
    directory.close()
    directory.close()
    assert directory.fileno() == -1


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EPERM])
def test_without_openat2_the_walk_is_chosen(
    monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath, number: int
) -> None:
    def refuse(*arguments: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(calls, "_syscall", refuse)
    root = Root(tmp_path)
    assert beneath.choose_opener(root.fileno()) is beneath.open_by_walk
    assert root.open_cached("f", os.O_RDONLY) is None
    root.close()


def test_an_interrupted_call_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath
) -> None:
    syscall, interruptions = calls._syscall, iter([errno.EINTR, errno.EINTR])

    def interrupt(*arguments: object) -> int:
        number = next(interruptions, 0)
        ctypes.set_errno(number)
        return -1 if number else syscall(*arguments)

    monkeypatch.setattr(calls, "_syscall", interrupt)
    descriptor = os.open(tmp_path, os.O_PATH)
    os.close(calls.openat2(descriptor, b".", os.O_PATH, 0))
    os.close(descriptor)


class TestCached:
    def _fail(self, monkeypatch: pytest.MonkeyPatch, number: int) -> list[int]:
        asked: list[int] = []

        def refuse(directory: int, path: bytes, flags: int, resolve: int) -> int:
            asked.append(resolve)
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(calls, "openat2", refuse)
        return asked

    def test_what_would_block_is_left_to_others(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath
    ) -> None:
        root = Root(tmp_path, beneath.open_by_kernel)
        asked = self._fail(monkeypatch, errno.EAGAIN)
        assert [root.open_cached("f", os.O_RDONLY) for _ in range(2)] == [None, None]
        assert [resolve & calls.RESOLVE_CACHED for resolve in asked] == [calls.RESOLVE_CACHED] * 2
        root.close()

    def test_an_older_kernel_is_asked_once(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath
    ) -> None:
        root = Root(tmp_path, beneath.open_by_kernel)
        asked = self._fail(monkeypatch, errno.EINVAL)
        assert [root.open_cached("f", os.O_RDONLY) for _ in range(2)] == [None, None]
        assert len(asked) == 1
        root.close()

    def test_other_errors_are_told(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: LocalPath
    ) -> None:
        root = Root(tmp_path, beneath.open_by_kernel)
        self._fail(monkeypatch, errno.EMFILE)
        with pytest.raises(OSError, match="Too many open files"):
            root.open_cached("f", os.O_RDONLY)
        root.close()


_SWAP = """
import ctypes, os, sys
exchange = ctypes.CDLL(None).renameat2
one, other = map(os.fsencode, sys.argv[1:3])
for line in sys.stdin:
    for _ in range(int(line)):
        assert exchange(-100, one, -100, other, 2) == 0
    print(flush=True)
"""


@contextmanager
def swap_by(one: LocalPath, other: LocalPath) -> Iterator["Swapper"]:
    """Have somebody outside who exchanges two names, back and forth, as often as he is told."""
    command = [sys.executable, "-c", _SWAP, str(one), str(other)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        yield Swapper(process)


class Swapper:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def begin(self, swaps: int) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{swaps}\n")

    def is_over(self) -> bool:
        """Tell whether the swaps begun last are all done."""
        assert self._process.stdout is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 0)
        return bool(readable and self._process.stdout.readline())


def test_a_race_for_a_symbolic_link_never_leads_out(
    tmp_path: LocalPath, open_beneath: Opener
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"secret")
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    (root / "d/file").write_bytes(b"inside")
    # A relative one: an absolute one is already stopped by RESOLVE_NO_XDEV alone.
    (root / "l").symlink_to("../outside")
    reads = refusals = rounds = 0
    with (
        open_rig(root, durability="none") as rig,
        swap_by(root / "d", root / "l") as swapper,
    ):
        # Both sides of the race must be seen, or it was none.
        while rounds < 2 or not (reads and refusals):
            rounds += 1
            swapper.begin(SWAPS)
            while not swapper.is_over():
                batch: list[Commit] = [
                    PublishOctets(path=Path("d/new"), octets=b"new"),
                    Rename(path=Path("d/new"), to=Path("taken")),
                    PublishOctets(path=Path("back"), octets=b"back"),
                    Rename(path=Path("back"), to=Path("d/file2")),
                ]
                rig.store.submit(batch)
                for _ in range(10):
                    try:
                        assert rig.get("d/file") == b"inside"
                        reads += 1
                    except RequestRefused:
                        refusals += 1
                rig.wait(*batch)
    assert [path.name for path in outside.iterdir()] == ["file"]
    assert (outside / "file").read_bytes() == b"secret"
