"""The files that are moved, and whether they arrived."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import xxhash

from benchmarks.load import Load
from benchmarks.processes import Failed

MEBIBYTE = 1 << 20
SMALL_SIZE = 4096


def make_file(path: Path, size: int, load: Load) -> str:
    """Write the octets that the load client sends, and give their digest."""
    digest = xxhash.xxh3_128()
    with path.open("wb") as file:
        for number in range((size + MEBIBYTE - 1) // MEBIBYTE):
            octets = load.make_octets(number)[: size - number * MEBIBYTE]
            file.write(octets)
            digest.update(octets)
    path.chmod(0o644)
    return digest.hexdigest()


def digest_file(path: Path) -> str:
    """Give the digest of a file."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while octets := file.read(MEBIBYTE):
            digest.update(octets)
    return digest.hexdigest()


def check_file(path: Path, digest: str) -> None:
    """Raise Failed unless the file has this digest."""
    if not path.is_file() or digest_file(path) != digest:
        raise Failed(f"{path} is not what was sent")


def name_small(number: int) -> str:
    """Give the name of a small file: eight octets, so that all responses have one length."""
    return f"f{number:07}"


def make_small(number: int) -> bytes:
    """Give the octets of a small file; no two are alike."""
    return number.to_bytes(8, "big") * (SMALL_SIZE // 8)


def make_small_files(directory: Path, count: int) -> None:
    """Write ``count`` small files."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    for number in range(count):
        path = directory / name_small(number)
        path.write_bytes(make_small(number))


def check_small_files(directory: Path, count: int) -> None:
    """Raise Failed unless the directory holds ``count`` small files, whole."""
    for number in range(count):
        path = directory / name_small(number)
        if not path.is_file() or path.read_bytes() != make_small(number):
            raise Failed(f"{path} is not what was sent")


def remove_files(paths: Iterable[Path]) -> None:
    """Remove files that may be there, so that no run pays for what the one before it wrote."""
    for path in paths:
        path.unlink(missing_ok=True)


def empty_directory(directory: Path) -> None:
    """Make a directory that is empty."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    directory.chmod(0o777)


def flush(directory: Path) -> None:
    """Write out what the file system of a directory holds back, so that no run pays for the one before it."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        ctypes.CDLL(None).syncfs(descriptor)
    finally:
        os.close(descriptor)


def forget(path: Path) -> None:
    """Take a file out of the page cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
