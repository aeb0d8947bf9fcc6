"""What the benchmark runs on: facts about it, and a network and a file system of its own.

As root it takes network and mounts of its own (``unshare``): there it may choose the congestion control for every
server alike, and what it mounts is gone when it ends. BBR, for one, paces loopback to a third of what is possible.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Failed

_CLONE_NEWNS = 0x20000
_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFF_UP = 1
_MS_REC_PRIVATE = 0x4000 | 0x40000

_CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")


@dataclass(frozen=True, slots=True)
class Area:
    """A directory to measure in.

    Attributes:
        name: of its file system, for the tables.
        path: the directory.
        backing: the file that the file system is in, if it is in one.
    """

    name: str
    path: Path
    backing: Path | None = None


def isolate() -> str | None:
    """Take a network and mounts of our own; must be called before there are threads.

    Returns:
        Why not, or None.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0:
        return "not root"
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        return os.strerror(ctypes.get_errno())
    libc.mount(None, b"/", None, _MS_REC_PRIVATE, None)
    with socket.socket() as control:
        request = struct.pack("16sh14x", b"lo", 0)
        name, flags = struct.unpack("16sh14x", fcntl.ioctl(control, _SIOCGIFFLAGS, request))
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", name, flags | _IFF_UP))
    return None


def set_congestion_control(name: str) -> None:
    """Choose what every connection in this network uses; raises Failed when the kernel does not allow it.

    A network namespace may use reno, and whatever else ``net.ipv4.tcp_allowed_congestion_control`` of the system names.
    """
    try:
        _CONGESTION_CONTROL.write_text(name)
    except OSError as error:
        raise Failed(f"congestion control {name}: {error.strerror}") from error


@contextlib.contextmanager
def mount_ext4(directory: Path, mebibytes: int) -> Iterator[Area]:
    """Make an image with a journaled ext4 in ``directory``, mount it, and remove it at the end."""
    image, place = directory / "ext4.image", directory / "ext4"
    with image.open("wb") as file:
        # Allocated now: otherwise the first write to each block would pay for it.
        os.posix_fallocate(file.fileno(), 0, mebibytes << 20)
    options = "lazy_itable_init=0,lazy_journal_init=0"
    _run("mkfs.ext4", "-q", "-F", "-O", "has_journal", "-E", options, os.fspath(image))
    place.mkdir()
    attach = ("losetup", "--find", "--show")
    try:
        # Past the page cache of the file system below: what is written is on the disk, and nothing in memory twice.
        loop = _run(*attach, "--direct-io=on", os.fspath(image)).strip()
    except Failed:
        loop = _run(*attach, os.fspath(image)).strip()
    try:
        _run("mount", loop, os.fspath(place))
        try:
            yield Area("ext4", place, image)
        finally:
            _run("umount", os.fspath(place))
    finally:
        _run("losetup", "--detach", loop)
        image.unlink()


def _run(*command: str) -> str:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    try:
        done = subprocess.run(
            command, check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
        )
        return done.stdout
    except FileNotFoundError as error:
        raise Failed(f"{command[0]} is missing: install e2fsprogs and mount") from error
    except subprocess.CalledProcessError as error:
        raise Failed(f"{' '.join(command)}: {error.stderr}") from error


def find_file_system(path: Path) -> str:
    """Give the type of the file system that a path is on."""
    path = path.resolve()
    best, kind = Path(), ""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        mounted, this_kind = line.split()[1:3]
        if path.is_relative_to(mounted) and len(mounted) >= len(os.fspath(best)):
            best, kind = Path(mounted), this_kind
    return kind


def describe(*, is_isolated: bool, processors: str) -> list[tuple[str, str]]:
    """Give the facts that stand above the tables."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    network = "a network namespace of its own" if is_isolated else "the system's network"
    return [
        ("Processors", f"{os.cpu_count()} of {model}; {processors}"),
        ("Memory", f"{memory:.0f} GiB"),
        ("Kernel", f"{platform.system()} {platform.release()}"),
        ("Python", platform.python_version()),
        (
            "Network",
            f"loopback, in {network}; congestion control {_CONGESTION_CONTROL.read_text().strip()}",
        ),
        ("Load before", " ".join(f"{load:.2f}" for load in os.getloadavg())),
    ]
