"""Bits that flip on the disk itself, behind the back of everybody: file system, daemon and page cache."""

import os
from pathlib import Path

import pytest
from images import make_image, mount_image

from filetransfer.errors import Internal
from filetransfer.names import Path as Name
from filetransfer.store.directory import DirectoryStore
from filetransfer.store.interface import Commit, PublishOctets
from filetransfer.store.scrub import Finding, Outcome, Scrub

FILES = 120
DAMAGED = 100


def make_body(n: int) -> bytes:
    # Octets that occur nowhere else on the image, in files of one to forty blocks.
    return os.urandom(1000 + n * 1361)


def put_all(root: Path, bodies: dict[str, bytes]) -> None:
    told: list[Commit] = []
    store = DirectoryStore(root, on_committed=told.extend)
    store.submit([PublishOctets(path=Name(name), octets=octets) for name, octets in bodies.items()])
    store.close()
    assert [commit.error for commit in told] == [None] * len(bodies)


def flip_bits(image: Path, bodies: list[bytes]) -> None:
    """Flip one bit in the middle of each body, where the image holds it."""
    octets = bytearray(image.read_bytes())
    for body in bodies:
        # A body lies in one piece or in several, but never in pieces smaller than a block.
        offset = len(body) // 2 // 4096 * 4096
        place = octets.find(body[offset : offset + 512])
        assert place >= 0
        octets[place + 100] ^= 0x08
    image.write_bytes(octets)


def scrub(root: Path, *, is_accept: bool = False) -> dict[str, Finding]:
    outcomes: list[Outcome] = []
    run = Scrub(root, is_accept=is_accept, threads=2, on_outcome=outcomes.append)
    run.start()
    assert run.wait()
    run.close()
    return {os.fsdecode(outcome.path): outcome.finding for outcome in outcomes}


@pytest.mark.needs_root("mkfs.ext4", "mount")
@pytest.mark.parametrize("file_system", ["ext4", "xfs"])
def test_of_a_hundred_bits_on_the_disk_a_hundred_are_found(
    tmp_path: Path, file_system: str
) -> None:
    image = tmp_path / "image"
    make_image(image, file_system)
    bodies = {f"f{n}": make_body(n) for n in range(FILES)}
    damaged = {f"f{n}" for n in range(DAMAGED)}
    with mount_image(image, tmp_path / "mounted") as mounted:
        put_all(mounted / "root", bodies)
    flip_bits(image, [bodies[name] for name in damaged])
    with mount_image(image, tmp_path / "mounted") as mounted:
        root = mounted / "root"
        expected = {name: Finding.DAMAGED if name in damaged else Finding.GOOD for name in bodies}
        assert scrub(root) == expected
    # The marks are as durable as what they mark.
    with mount_image(image, tmp_path / "mounted") as mounted:
        root = mounted / "root"
        store = DirectoryStore(root, on_committed=lambda batch: None)
        for name, body in bodies.items():
            if name in damaged:
                with pytest.raises(Internal):
                    store.open_download(Name(name))
            else:
                download = store.open_download(Name(name))
                assert download.read(0, download.size) == body
                download.close()
        store.close()
        assert set(scrub(root, is_accept=True).values()) == {Finding.GOOD, Finding.ACCEPTED}
        assert set(scrub(root).values()) == {Finding.GOOD}
