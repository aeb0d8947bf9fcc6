"""File systems on images: made, mounted by a loop device, and unmounted whatever happens."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEBIBYTE = 1 << 20
SIZES = {"ext4": 96 * MEBIBYTE, "xfs": 320 * MEBIBYTE, "btrfs": 160 * MEBIBYTE}
"""Octets of an image: mkfs.xfs refuses less than 300 MiB, mkfs.btrfs less than 109."""

_QUIET = {"ext4": ["-q", "-F"], "xfs": ["-q", "-f"], "btrfs": ["-q", "-f"]}


def make_image(image: Path, file_system: str, *options: str, size: int | None = None) -> None:
    """Make a file that holds a file system with its default options, or with these."""
    with image.open("wb") as stream:
        stream.truncate(size or SIZES[file_system])
    run(f"mkfs.{file_system}", *_QUIET[file_system], *options, str(image))


@contextmanager
def mount_image(image: Path, mountpoint: Path, *options: str) -> Iterator[Path]:
    """Mount an image. The loop device goes when the last user does, even if this process is killed."""
    mountpoint.mkdir(exist_ok=True)
    try:
        run("mount", "-o", ",".join(["loop", *options]), str(image), str(mountpoint))
    except AssertionError as error:
        # mount itself only says where to look.
        error.add_note("\n".join(run("dmesg").splitlines()[-20:]))
        raise
    try:
        yield mountpoint
    finally:
        # Lazy only if somebody is still in there: nothing that this test made may stay mounted.
        if subprocess.run(["umount", str(mountpoint)], capture_output=True, check=False).returncode:
            run("umount", "--lazy", str(mountpoint))


def run(*command: str) -> str:
    """Run a program; its output, or AssertionError with what it said."""
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, f"{' '.join(command)}: {process.stderr}{process.stdout}"
    return process.stdout
