"""A disk that hangs: whoever needs it waits, and nobody else does.

The disk is an image on a file system that stops answering; ext4 above it is as real as on a disk with a loose cable.
What is in the page cache is served meanwhile, by a reactor that must never have asked the disk for anything.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import forgetful
import images
import pytest
from asking import DONE, Client, connect
from daemons import DaemonProcess, run_daemon
from uploads import encode_change, encode_put

COLD = Random(1).randbytes(8_000_000)
SMALL = b"in memory"


@dataclass
class Scene:
    """A daemon whose disk can hang."""

    root: Path
    daemon: DaemonProcess
    disk: forgetful.Recording

    def connect(self, opened: ExitStack) -> Client:
        return opened.enter_context(connect(self.daemon))

    def forget(self, name: str) -> None:
        """Take a file out of the page cache."""
        descriptor = os.open(self.root / name, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


@contextmanager
def set_scene(directory: Path) -> Iterator[Scene]:
    beneath = directory / "beneath"
    with forgetful.record(beneath, directory / "log") as disk:
        image = beneath / "image"
        images.make_image(image, "ext4")
        with images.mount_image(image, directory / "disk") as mounted:
            root = mounted / "root"
            with run_daemon(root) as daemon:
                yield Scene(root, daemon, disk)


@pytest.mark.needs_root("mkfs.ext4", "mount")
def test_a_disk_that_hangs_stops_only_who_needs_it(tmp_path: Path) -> None:
    with set_scene(tmp_path) as scene, ExitStack() as opened, ThreadPoolExecutor() as threads:
        reader, writer, renamer, bystander = (scene.connect(opened) for _ in range(4))
        assert writer.put("cold", COLD) == DONE
        assert writer.put("small", SMALL) == DONE
        scene.forget("cold")
        assert bystander.get("small") == SMALL
        with scene.disk.hang():
            waiting = [
                threads.submit(reader.get, "cold"),
                threads.submit(writer.put, "new", COLD),
                threads.submit(renamer.put, "other", SMALL),
            ]
            # Each is read anew: should one of them wait for the disk, this would be the end of it.
            for _ in range(200):
                assert bystander.get("small") == SMALL
            assert bystander.ask_help().startswith(b"bye")
            assert not any(request.done() for request in waiting)
        fetched, *answers = (request.result() for request in waiting)
        assert fetched == COLD
        assert answers == [DONE, DONE]
        assert bystander.get("other") == SMALL


@pytest.mark.needs_root("mount")
def test_a_server_of_files_that_hangs_stops_nobody_else(tmp_path: Path) -> None:
    # Here the kernel asks somebody for every open, cached or not, as it does with NFS.
    root = tmp_path / "root"
    with (
        forgetful.record(root, tmp_path / "log") as disk,
        run_daemon(root) as daemon,
        ExitStack() as opened,
    ):
        bystander, *clients = (opened.enter_context(connect(daemon)) for _ in range(5))
        for name in ("small", "old"):
            assert clients[0].put(name, SMALL) == DONE
        # The kernel knows the path now.
        assert clients[0].get("small") == SMALL
        with disk.hang():
            # Sent before the bystander asks, and so begun before he is answered.
            clients[0].begin_get("small")
            clients[1].connection.sendall(encode_put("new", SMALL))
            clients[2].connection.sendall(encode_put("large", COLD[:200_000]))
            clients[3].connection.sendall(encode_change("old", "other"))
            for _ in range(20):
                assert bystander.ask_help().startswith(b"bye")
        assert clients[0].end_get("small") == SMALL
        assert [client.hear() for client in clients[1:]] == [DONE, DONE, DONE]
