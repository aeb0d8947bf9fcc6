"""Bit rot: one bit of each of 100 files is flipped on the disk itself, below the file system; the scrub finds 100."""

import socket
import subprocess
import sys
from pathlib import Path
from random import Random

import images
import pytest
from daemons import run_daemon
from uploads import Uploader, encode_put

COUNT = 100
GOOD = 20


@pytest.mark.needs_root("mkfs.ext4", "mount")
def test_a_hundred_flipped_bits_are_found(tmp_path: Path) -> None:
    image, root = tmp_path / "image", tmp_path / "root"
    images.make_image(image, "ext4")
    random = Random(1)
    contents = {f"file{n}": random.randbytes(random.randint(100, 50_000)) for n in range(COUNT)}
    good = {f"good{n}": random.randbytes(random.randint(0, 50_000)) for n in range(GOOD)}
    with images.mount_image(image, root), run_daemon(root) as daemon:
        uploader = Uploader("", 1)
        with socket.create_connection(daemon.address) as connection:
            uploader.ask(
                connection,
                [uploader.plan_put(name, octets) for name, octets in (contents | good).items()],
            )
        assert not uploader.refused
    flip_one_bit_of_each(image, list(contents.values()), random)
    with images.mount_image(image, root):
        scrubbed = scrub(root)
        assert scrubbed.returncode == 1, scrubbed.stderr
        *damaged, _ = scrubbed.stdout.splitlines()
        assert sorted(damaged) == sorted(f"damaged: {name}" for name in contents)
        with run_daemon(root) as daemon, socket.create_connection(daemon.address) as connection:
            for name in contents:
                connection.sendall(bytes([0x20 | len(name)]) + name.encode())
                assert connection.recv(1) == b"\x60", "damage was served as good"
            # Sent again, they are whole again.
            for name, octets in contents.items():
                connection.sendall(encode_put(name, octets))
                assert connection.recv(1) == b"\0"
        assert scrub(root).returncode == 0


def flip_one_bit_of_each(image: Path, contents: list[bytes], random: Random) -> None:
    octets = image.read_bytes()
    with image.open("r+b") as stream:
        for content in contents:
            where = octets.index(content[:4096])
            # Of the first block: where the others lie is the file system's affair.
            which = where + random.randrange(min(len(content), 4096))
            stream.seek(which)
            stream.write(bytes([octets[which] ^ 1 << random.randrange(8)]))


def scrub(root: Path) -> subprocess.CompletedProcess[str]:
    program = "from filetransfer.cli.scrub import main; main()"
    return subprocess.run(
        [sys.executable, "-c", program, str(root)], capture_output=True, text=True, check=False
    )
