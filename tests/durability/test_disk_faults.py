"""A full disk, no inodes, a read-only disk, a quota: one refusal each, nothing left, others unharmed."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import images
import pytest
from asking import DONE, REFUSED, Client, connect
from daemons import DaemonProcess, run_daemon
from images import MEBIBYTE
from injection import Place, inject, list_threads
from uploads import encode_put

PARTS = ".ft-store/parts"


class Bystander:
    """A client with a connection of its own that must not feel anything."""

    def __init__(self, daemon: DaemonProcess, opened: ExitStack) -> None:
        self._client = opened.enter_context(connect(daemon))
        assert self._client.put("bystander", b"unharmed") == DONE

    def check(self) -> None:
        assert self._client.get("bystander") == b"unharmed"


@dataclass
class Scene:
    """A daemon on a disk of its own, a client that will be refused, and a bystander."""

    root: Path
    daemon: DaemonProcess
    client: Client
    bystander: Bystander
    descriptors: int

    def check_refused(self, ask: Callable[[], bytes], answer: bytes = REFUSED) -> None:
        """One refusal, no part, no descriptor, nobody else harmed."""
        before = sorted(path.name for path in self.root.iterdir())
        assert ask() == answer
        assert sorted(path.name for path in self.root.iterdir()) == before
        self.bystander.check()
        self.check_nothing_left()

    def check_nothing_left(self) -> None:
        end = time.monotonic() + 60
        while list((self.root / PARTS).iterdir()) or (
            self.daemon.count_descriptors() > self.descriptors
        ):
            assert time.monotonic() < end, "\n".join(self.daemon.list_descriptors())


@contextmanager
def set_scene(root: Path, *options: str) -> Iterator[Scene]:
    with ExitStack() as opened:
        daemon = opened.enter_context(run_daemon(root, *options))
        client = opened.enter_context(connect(daemon))
        bystander = Bystander(daemon, opened)
        assert client.put("warm", bytes(100_000)) == DONE
        yield Scene(root, daemon, client, bystander, daemon.count_descriptors())


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Makes and mounts an image."""
    with ExitStack() as opened:

        def mount(file_system: str, *options: str, size: int | None = None) -> Path:
            image = tmp_path / "image"
            images.make_image(image, file_system, *options, size=size)
            return opened.enter_context(images.mount_image(image, tmp_path / "mounted"))

        yield mount


def fill(root: Path) -> Path:
    """Take all the space there is."""
    filler = root / "filler"
    with filler.open("wb", buffering=0) as stream:
        for size in (MEBIBYTE, 4096, 1):
            try:
                while stream.write(bytes(size)) == size:
                    pass
            except OSError:
                continue
    return filler


@pytest.mark.needs_root("mkfs.ext4", "mount")
def test_full_disk(mounted: Callable[..., Path]) -> None:
    # Without a reserve for root, who would not notice.
    root = mounted("ext4", "-m", "0", size=32 * MEBIBYTE)
    with set_scene(root) as scene:
        filler = fill(root)
        for size in (5000, 100_000, 5_000_000):
            scene.check_refused(lambda size=size: scene.client.put("new", bytes(size)))
            scene.check_refused(lambda size=size: scene.client.put("warm", bytes(size)))
        assert scene.client.get("warm") == bytes(100_000)
        filler.unlink()
        for size in (5000, 5_000_000):
            assert scene.client.put("new", bytes(size)) == DONE
            assert scene.client.get("new") == bytes(size)


@pytest.mark.needs_root("mkfs.ext4", "mount")
def test_disk_that_becomes_full_in_mid_upload(mounted: Callable[..., Path]) -> None:
    root = mounted("ext4", "-m", "0", size=64 * MEBIBYTE)
    with set_scene(root) as scene:
        octets = encode_put("new", bytes(20_000_000))
        half = len(octets) // 2
        scene.client.connection.sendall(octets[:half])
        while not list((root / PARTS).iterdir()):
            scene.bystander.check()
        filler = fill(root)
        before = len(list(root.iterdir()))
        scene.client.connection.sendall(octets[half:])
        assert scene.client.connection.recv(2) == REFUSED
        assert len(list(root.iterdir())) == before
        scene.bystander.check()
        scene.check_nothing_left()
        filler.unlink()
        assert scene.client.put("new", bytes(20_000_000)) == DONE


@pytest.mark.needs_root("mkfs.ext4", "mount")
def test_no_inodes(mounted: Callable[..., Path]) -> None:
    root = mounted("ext4", "-N", "64")
    with set_scene(root) as scene:
        fillers = []
        while True:
            path = root / f"filler{len(fillers)}"
            try:
                path.touch()
            except OSError:
                break
            fillers.append(path)
        for size in (0, 5000, 100_000):
            scene.check_refused(lambda size=size: scene.client.put("new", bytes(size)))
        # What needs no inode goes on.
        assert scene.client.change("warm", "new") == DONE
        fillers[0].unlink()
        assert scene.client.put("newer", bytes(5000)) == DONE


@pytest.mark.needs_root("mkfs.ext4", "mount")
def test_disk_that_turns_read_only(mounted: Callable[..., Path]) -> None:
    root = mounted("ext4")
    with set_scene(root) as scene:
        # What ext4 does by itself (errors=remount-ro) when it finds itself damaged.
        images.run("mount", "-o", "remount,abort", str(root))
        for size in (0, 5000, 100_000):
            scene.check_refused(lambda size=size: scene.client.put("new", bytes(size)))
        # Of CHANGE's two names the old one is not to blame.
        scene.check_refused(lambda: scene.client.change("warm", "new"))
        assert scene.client.get("warm") == bytes(100_000)


@pytest.mark.needs_root("mkfs.btrfs", "btrfs", "mount")
def test_quota(mounted: Callable[..., Path]) -> None:
    root = mounted("btrfs")
    served = root / "served"
    images.run("btrfs", "quota", "enable", str(root))
    images.run("btrfs", "subvolume", "create", str(served))
    images.run("btrfs", "qgroup", "limit", str(4 * MEBIBYTE), str(served))
    with set_scene(served) as scene:
        for size in (6_000_000, 20_000_000):
            scene.check_refused(lambda size=size: scene.client.put("new", bytes(size)))
        assert scene.client.put("new", bytes(50_000)) == DONE
        assert scene.client.get("new") == bytes(50_000)


def put_on_failing_disk(scene: Scene, tmp_path: Path) -> bytes:
    """Upload while the next fsync of one thread fails, of each in turn until one did; gives that one's answer."""
    process = scene.daemon.process.pid
    # The thread of the commit queue is among them: it syncs a file that is alone in its batch.
    for thread in range(len(list_threads(process))):
        place = Place(thread, "fsync", 1)
        with inject(process, place, "error=EIO", tmp_path / "strace") as watched:
            answer = scene.client.put("newer", b"newer")
        if watched.has_injected:
            return answer
    raise AssertionError("no thread called fsync")


@pytest.mark.needs_root("strace")
def test_exit_when_told_to(tmp_path: Path) -> None:
    with set_scene(tmp_path / "root", "--exit-on-disk-failure") as scene:
        assert put_on_failing_disk(scene, tmp_path) == REFUSED
        assert scene.client.put("new", b"new") == DONE
        # The answer may be lost with the connection.
        with suppress(OSError, EOFError):
            put_on_failing_disk(scene, tmp_path)
        assert scene.daemon.process.wait(60) == 1
        assert "--exit-on-disk-failure" in scene.daemon.log


@pytest.mark.needs_root("strace")
def test_read_only_after_the_second_failed_fsync(tmp_path: Path) -> None:
    root = tmp_path / "root"
    with set_scene(root) as scene:
        for failures in range(2):
            assert scene.client.put("new", b"new") == DONE
            assert put_on_failing_disk(scene, tmp_path) == REFUSED, failures
            scene.check_nothing_left()
        for size in (3, 100_000):
            scene.check_refused(lambda size=size: scene.client.put("newest", bytes(size)))
        scene.check_refused(lambda: scene.client.change("new", "newest"))
        assert scene.client.get("new") == b"new"
        assert "the store is read-only" in scene.daemon.log
