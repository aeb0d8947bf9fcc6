"""A file system in memory that notes, in order, all that it is asked: what a power cut leaves is worked out later.

Run as a program, ``python forgetful.py MOUNTPOINT LOG``: it mounts itself, prints ``ready``, serves until its standard
input ends, unmounts, and leaves the log, a pickled list of events. An event begins with its moment (seconds of
CLOCK_MONOTONIC, the same for every process of this machine) and its kind:

    moment "create" number is_directory          moment "write"    number offset octets
    moment "enter"  directory name number        moment "truncate" number size
    moment "leave"  directory name               moment "sync"     number
    moment "rename" directory name directory name

The moment is taken before the kernel has its answer. So whoever got an acknowledgement earlier than an event's moment
got it when the event had not happened. Modes, owners, times and extended attributes are served but not noted: nobody
loses a file by them.
"""

import errno
import os
import pickle
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import kernel_fuse
from kernel_fuse import Node, Refused

ROOT = 1
_TOTAL_BLOCKS = 1 << 20
_NO_REPLACE = 1

Event = tuple[object, ...]


class ForgetfulFileSystem:
    """Serves what :class:`kernel_fuse.Connection` is asked.

    Attributes:
        events: all that has changed something.
    """

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._nodes = {ROOT: Node(ROOT, stat.S_IFDIR | 0o755, links=2)}
        self._next_number = ROOT + 1
        self._used_blocks = 0

    def forget(self, number: int, count: int) -> None:
        node = self._nodes.get(number)
        if node is not None:
            node.lookups -= count
            self._free(node)

    def look_up(self, number: int, name: bytes) -> bytes:
        return kernel_fuse.pack_entry(self._find(number, name))

    def get_attributes(self, number: int) -> bytes:
        return kernel_fuse.pack_attribute_answer(self._nodes[number])

    def set_attributes(
        self, number: int, valid: int, size: int, mtime_ns: int, mode: int, uid: int, gid: int
    ) -> bytes:
        node = self._nodes[number]
        node.ctime_ns = time.time_ns()
        if valid & kernel_fuse.SET_SIZE:
            self._note("truncate", number, size)
            del node.content[size:]
            node.content.extend(bytes(size - len(node.content)))
            node.mtime_ns = node.ctime_ns
        if valid & kernel_fuse.SET_MODE:
            node.mode = stat.S_IFMT(node.mode) | mode & 0o7777
        if valid & kernel_fuse.SET_UID:
            node.uid = uid
        if valid & kernel_fuse.SET_GID:
            node.gid = gid
        if valid & kernel_fuse.SET_MTIME_NOW:
            node.mtime_ns = node.ctime_ns
        elif valid & kernel_fuse.SET_MTIME:
            node.mtime_ns = mtime_ns
        return kernel_fuse.pack_attribute_answer(node)

    def make_directory(self, number: int, name: bytes, mode: int, uid: int, gid: int) -> bytes:
        self._nodes[number].links += 1
        return kernel_fuse.pack_entry(
            self._make(number, name, stat.S_IFDIR | mode & 0o7777, uid, gid)
        )

    def create(self, number: int, name: bytes, mode: int, uid: int, gid: int) -> bytes:
        node = self._make(number, name, stat.S_IFREG | mode & 0o7777, uid, gid)
        return kernel_fuse.pack_entry(node) + kernel_fuse.pack_open()

    def unlink(self, number: int, name: bytes) -> bytes:
        node = self._find(number, name)
        self._note("leave", number, name)
        del self._nodes[number].entries[name]
        self._drop_link(node)
        return b""

    def remove_directory(self, number: int, name: bytes) -> bytes:
        if self._find(number, name).entries:
            raise Refused(errno.ENOTEMPTY)
        self._nodes[number].links -= 1
        return self.unlink(number, name)

    def rename(self, number: int, name: bytes, to: int, to_name: bytes, flags: int) -> bytes:
        if flags & ~_NO_REPLACE:
            raise Refused(errno.EINVAL)
        node = self._find(number, name)
        replaced = self._nodes[to].entries.get(to_name)
        if replaced is not None:
            if flags & _NO_REPLACE:
                raise Refused(errno.EEXIST)
            if replaced is node:
                return b""
        self._note("rename", number, name, to, to_name)
        del self._nodes[number].entries[name]
        self._nodes[to].entries[to_name] = node
        node.ctime_ns = time.time_ns()
        if stat.S_ISDIR(node.mode):
            # Its "..".
            self._nodes[number].links -= 1
            self._nodes[to].links += 1
        if replaced is not None:
            self._drop_link(replaced)
        return b""

    def link(self, number: int, of: int, name: bytes) -> bytes:
        if name in self._nodes[number].entries:
            raise Refused(errno.EEXIST)
        self._note("enter", number, name, of)
        node = self._nodes[number].entries[name] = self._nodes[of]
        node.links += 1
        return kernel_fuse.pack_entry(node)

    def open(self, number: int) -> bytes:
        return kernel_fuse.pack_open()

    def release(self, number: int) -> bytes:
        return b""

    def read(self, number: int, offset: int, size: int) -> bytes:
        return bytes(self._nodes[number].content[offset : offset + size])

    def write(self, number: int, offset: int, octets: bytes) -> bytes:
        self._note("write", number, offset, octets)
        node = self._nodes[number]
        if offset > len(node.content):
            node.content.extend(bytes(offset - len(node.content)))
        node.content[offset : offset + len(octets)] = octets
        node.mtime_ns = node.ctime_ns = time.time_ns()
        return len(octets).to_bytes(4, sys.byteorder) + bytes(4)

    def sync(self, number: int) -> bytes:
        self._note("sync", number)
        return b""

    def statfs(self, number: int) -> bytes:
        return kernel_fuse.pack_statfs(_TOTAL_BLOCKS, _TOTAL_BLOCKS)

    def set_attribute(self, number: int, name: bytes, value: bytes) -> bytes:
        self._nodes[number].attributes[name] = value
        return b""

    def get_attribute(self, number: int, name: bytes, limit: int) -> bytes:
        try:
            return kernel_fuse.pack_sized(self._nodes[number].attributes[name], limit)
        except KeyError:
            raise Refused(errno.ENODATA) from None

    def list_attributes(self, number: int, limit: int) -> bytes:
        names = b"".join(name + b"\0" for name in self._nodes[number].attributes)
        return kernel_fuse.pack_sized(names, limit)

    def remove_attribute(self, number: int, name: bytes) -> bytes:
        if self._nodes[number].attributes.pop(name, None) is None:
            raise Refused(errno.ENODATA)
        return b""

    def read_directory(self, number: int, offset: int, limit: int) -> bytes:
        node = self._nodes[number]
        entries = [(b".", node), (b"..", node), *node.entries.items()]
        return kernel_fuse.pack_directory(entries, offset, limit)

    def _note(self, kind: str, *details: object) -> None:
        self.events.append((time.monotonic(), kind, *details))

    def _find(self, number: int, name: bytes) -> Node:
        try:
            return self._nodes[number].entries[name]
        except KeyError:
            raise Refused(errno.ENOENT) from None

    def _make(self, number: int, name: bytes, mode: int, uid: int, gid: int) -> Node:
        if name in self._nodes[number].entries:
            raise Refused(errno.EEXIST)
        node = Node(self._next_number, mode, uid, gid)
        self._next_number += 1
        node.mtime_ns = node.ctime_ns = time.time_ns()
        self._note("create", node.number, stat.S_ISDIR(mode))
        self._note("enter", number, name, node.number)
        self._nodes[node.number] = node
        self._nodes[number].entries[name] = node
        return node

    def _drop_link(self, node: Node) -> None:
        node.links -= 1
        node.ctime_ns = time.time_ns()
        self._free(node)

    def _free(self, node: Node) -> None:
        fewest = 1 if stat.S_ISDIR(node.mode) else 0
        if node.links <= fewest and node.lookups <= 0:
            self._nodes.pop(node.number, None)


class Recording:
    """A forgetful file system that is mounted.

    Args:
        process: that serves it.

    Attributes:
        events: what it was asked; there once it has been unmounted.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.events: list[Event] = []
        self._process = process

    @contextmanager
    def hang(self) -> Iterator[None]:
        """Answer nothing for a while, as a disk does whose cable has come loose."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def record(mountpoint: Path, log: Path) -> Iterator[Recording]:
    """Mount a forgetful file system in a process of its own."""
    mountpoint.mkdir()
    with subprocess.Popen(
        [sys.executable, __file__, str(mountpoint), str(log)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            if process.stdout.readline() != b"ready\n":
                raise OSError("the forgetful file system could not be mounted")
            recording = Recording(process)
            yield recording
        finally:
            process.stdin.close()
            if process.wait() != 0:
                # It has died: what it had mounted is still there.
                subprocess.run(["umount", "--lazy", str(mountpoint)], check=False)
    with log.open("rb") as stream:
        recording.events = pickle.load(stream)
    log.unlink()


def _main(mountpoint: str, log: str) -> None:
    file_system = ForgetfulFileSystem()
    connection = kernel_fuse.Connection(mountpoint, file_system)
    try:
        connection.initialise()
        os.write(1, b"ready\n")
        connection.serve(until=0)
    finally:
        connection.close()
    with open(log, "wb") as stream:
        pickle.dump(file_system.events, stream, pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    _main(*sys.argv[1:])
