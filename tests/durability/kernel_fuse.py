"""The kernel's FUSE protocol, spoken over /dev/fuse: just enough of it for a file system of one's own.

No library is in between: what the kernel asks is what the file system sees, and a rename is a rename. (A library that
works with paths turns the removal of an open file into a rename of its own making.) Needs root, for the mount.

The kernel checks permissions and keeps flock locks; there is no write-back cache, so that each write(2) is told at
once, and closing a file means nothing.

Source: include/uapi/linux/fuse.h, protocol 7.31.
"""

import ctypes
import errno
import os
import select
import struct
from dataclasses import dataclass, field

LOOKUP, FORGET, GETATTR, SETATTR = 1, 2, 3, 4
MKNOD, MKDIR, UNLINK, RMDIR, RENAME, LINK = 8, 9, 10, 11, 12, 13
OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 14, 15, 16, 17, 18, 20
SETXATTR, GETXATTR, LISTXATTR, REMOVEXATTR = 21, 22, 23, 24
INIT, OPENDIR, READDIR, RELEASEDIR, FSYNCDIR = 26, 27, 28, 29, 30
CREATE, INTERRUPT, DESTROY, BATCH_FORGET, FALLOCATE, RENAME2 = 35, 36, 38, 42, 43, 45

# Bits of ``valid`` in a SETATTR.
SET_MODE, SET_UID, SET_GID, SET_SIZE, SET_MTIME, SET_MTIME_NOW = 1, 2, 4, 8, 32, 256

_MAX_WRITE = 1024 * 1024
_WANTED = (1 << 0) | (1 << 5) | (1 << 22)  # ASYNC_READ, BIG_WRITES, MAX_PAGES
_FOREVER = 1 << 30  # seconds that the kernel may believe an entry: nobody else changes anything

_IN_HEADER = struct.Struct("=IIQQIIII")
_OUT_HEADER = struct.Struct("=IiQ")
_ATTRIBUTES = struct.Struct("=QQQQQQIIIIIIIIII")
_ENTRY = struct.Struct("=QQQQII")
_SETATTR = struct.Struct("=IIQQQQQQIIIIIIII")
_READ = struct.Struct("=QQIIQII")

_libc = ctypes.CDLL(None, use_errno=True)
_MS_NOSUID, _MS_NODEV, _MNT_DETACH = 2, 4, 2


@dataclass(slots=True)
class Node:
    """A file or a directory as it is now.

    Attributes:
        number: what the kernel calls it; never used again.
        mode: type and permission bits.
        content: of a file.
        entries: of a directory, name to node.
    """

    number: int
    mode: int
    uid: int = 0
    gid: int = 0
    links: int = 1
    lookups: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0
    content: bytearray = field(default_factory=bytearray)
    entries: dict[bytes, "Node"] = field(default_factory=dict)
    attributes: dict[bytes, bytes] = field(default_factory=dict)


class Refused(Exception):
    """A request is answered with this errno."""

    def __init__(self, number: int) -> None:
        super().__init__(os.strerror(number))
        self.number = number


class Connection:
    """A mounted file system and the loop that serves it.

    Args:
        mountpoint: an empty directory.
        file_system: has one method for each request, named in :attr:`_REQUESTS`; it raises :class:`Refused`.
    """

    def __init__(self, mountpoint: str, file_system: object) -> None:
        self._mountpoint = os.fsencode(mountpoint)
        self._file_system = file_system
        self._device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other"
        options += ",default_permissions,max_read=1048576"
        if (
            _libc.mount(
                b"forgetful",
                self._mountpoint,
                b"fuse",
                _MS_NOSUID | _MS_NODEV,
                options.encode(),
            )
            != 0
        ):
            number = ctypes.get_errno()
            os.close(self._device)
            raise OSError(number, os.strerror(number), mountpoint)
        self._buffer = bytearray(_MAX_WRITE + 64 * 1024)
        self._is_initialised = False
        table = {opcode: getattr(file_system, name) for opcode, (name, _) in _REQUESTS.items()}
        self._calls = {opcode: (table[opcode], unpack) for opcode, (_, unpack) in _REQUESTS.items()}

    def serve(self, until: int) -> None:
        """Answer the kernel until the descriptor ``until`` can be read, or the file system is unmounted."""
        poll = select.poll()
        poll.register(self._device, select.POLLIN)
        poll.register(until, select.POLLIN)
        while True:
            ready = [descriptor for descriptor, _ in poll.poll()]
            if until in ready:
                return
            if not self._serve_one():
                return

    def initialise(self) -> None:
        """Answer until the kernel has been told what there is."""
        while not self._is_initialised:
            self._serve_one()

    def close(self) -> None:
        """Unmount: whoever still uses it gets ENOTCONN."""
        _libc.umount2(self._mountpoint, _MNT_DETACH)
        os.close(self._device)

    def _serve_one(self) -> bool:
        try:
            size = os.readv(self._device, [self._buffer])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            if error.errno in (errno.ENOENT, errno.EAGAIN, errno.EINTR):
                return True
            raise
        request = memoryview(self._buffer)[:size]
        _, opcode, unique, number, uid, gid, _, _ = _IN_HEADER.unpack_from(request)
        body = request[_IN_HEADER.size :]
        if opcode == FORGET:
            self._file_system.forget(number, struct.unpack_from("=Q", body)[0])
            return True
        if opcode == BATCH_FORGET:
            (count,) = struct.unpack_from("=I", body)
            for which in range(count):
                self._file_system.forget(*struct.unpack_from("=QQ", body, 8 + 16 * which))
            return True
        if opcode == INTERRUPT:
            return True
        if opcode == INIT:
            self._reply(unique, _answer_init(body))
            self._is_initialised = True
            return True
        call, unpack = self._calls.get(opcode, (None, None))
        try:
            if call is None:
                raise Refused(errno.ENOSYS)
            self._reply(unique, call(number, *unpack(body, uid, gid)))
        except Refused as refusal:
            self._reply(unique, b"", -refusal.number)
        return True

    def _reply(self, unique: int, octets: bytes, error: int = 0) -> None:
        try:
            os.write(
                self._device,
                _OUT_HEADER.pack(_OUT_HEADER.size + len(octets), error, unique) + octets,
            )
        except OSError as failure:
            # ENOENT: whoever asked was killed meanwhile.
            if failure.errno != errno.ENOENT:
                raise


def pack_attributes(node: Node) -> bytes:
    """Give a ``struct fuse_attr``."""
    size = len(node.content)
    mtime, mtime_ns = divmod(node.mtime_ns, 10**9)
    ctime, ctime_ns = divmod(node.ctime_ns, 10**9)
    return _ATTRIBUTES.pack(
        node.number,
        size,
        -(-size // 512),
        mtime,
        mtime,
        ctime,
        mtime_ns,
        mtime_ns,
        ctime_ns,
        node.mode,
        node.links,
        node.uid,
        node.gid,
        0,
        4096,
        0,
    )


def pack_entry(node: Node) -> bytes:
    """Give a ``struct fuse_entry_out``; the kernel now knows the node once more."""
    node.lookups += 1
    return _ENTRY.pack(node.number, 0, _FOREVER, _FOREVER, 0, 0) + pack_attributes(node)


def pack_attribute_answer(node: Node) -> bytes:
    """Give a ``struct fuse_attr_out``."""
    return struct.pack("=QII", _FOREVER, 0, 0) + pack_attributes(node)


def pack_open(keeps_cache: bool = True) -> bytes:
    """Give a ``struct fuse_open_out``."""
    return struct.pack("=QIi", 0, 2 if keeps_cache else 0, 0)


def pack_directory(nodes: list[tuple[bytes, Node]], offset: int, limit: int) -> bytes:
    """Give directory entries from the offset-th on, up to ``limit`` octets."""
    octets = b""
    for index, (name, node) in enumerate(nodes[offset:], offset + 1):
        entry = struct.pack("=QQII", node.number, index, len(name), node.mode >> 12) + name
        entry += bytes(-len(entry) % 8)
        if len(octets) + len(entry) > limit:
            break
        octets += entry
    return octets


def pack_sized(octets: bytes, limit: int) -> bytes:
    """Give the answer about an extended attribute: its size, or itself."""
    if limit == 0:
        return struct.pack("=II", len(octets), 0)
    if len(octets) > limit:
        raise Refused(errno.ERANGE)
    return octets


def pack_statfs(total_blocks: int, free_blocks: int) -> bytes:
    """Give a ``struct fuse_kstatfs``, in blocks of 4 KiB."""
    free = (free_blocks, free_blocks)
    return struct.pack("=QQQQQIIII24x", total_blocks, *free, 1 << 20, 1 << 20, 4096, 255, 4096, 0)


def _answer_init(body: memoryview) -> bytes:
    _, _, read_ahead, flags = struct.unpack_from("=IIII", body)
    return struct.pack(
        "=IIIIHHIIHHIIH22x",
        7,
        31,
        read_ahead,
        flags & _WANTED,
        64,
        48,
        _MAX_WRITE,
        1,
        _MAX_WRITE // 4096,
        0,
        0,
        0,
        0,
    )


def _names(body: memoryview) -> list[bytes]:
    return bytes(body).split(b"\0")[:-1]


def _unpack_setattr(body: memoryview, uid: int, gid: int) -> tuple[int, ...]:
    fields = _SETATTR.unpack_from(body)
    valid, size, mtime, mtime_ns = fields[0], fields[3], fields[6], fields[9]
    mode, new_uid, new_gid = fields[11], fields[13], fields[14]
    return valid, size, mtime * 10**9 + mtime_ns, mode, new_uid, new_gid


def _unpack_write(body: memoryview, uid: int, gid: int) -> tuple[int, bytes]:
    _, offset, size, *_ = _READ.unpack_from(body)
    return offset, bytes(body[_READ.size : _READ.size + size])


def _unpack_rename(body: memoryview, uid: int, gid: int) -> tuple[object, ...]:
    old, new = _names(body[8:])
    return old, *struct.unpack_from("=Q", body), new, 0


def _unpack_rename2(body: memoryview, uid: int, gid: int) -> tuple[object, ...]:
    directory, flags, _ = struct.unpack_from("=QII", body)
    old, new = _names(body[16:])
    return old, directory, new, flags


def _unpack_setxattr(body: memoryview, uid: int, gid: int) -> tuple[bytes, bytes]:
    size, _ = struct.unpack_from("=II", body)
    name, value = bytes(body[8:]).split(b"\0", 1)
    return name, value[:size]


def _unpack_make(body: memoryview, uid: int, gid: int, skip: int = 8) -> tuple[object, ...]:
    mode, umask = struct.unpack_from("=II", body)
    return _names(body[skip:])[0], mode & ~umask, uid, gid


def _unpack_create(body: memoryview, uid: int, gid: int) -> tuple[object, ...]:
    _, mode, umask, _ = struct.unpack_from("=IIII", body)
    return _names(body[16:])[0], mode & ~umask, uid, gid


def _unpack_read(body: memoryview, uid: int, gid: int) -> tuple[int, int]:
    _, offset, size, *_ = _READ.unpack_from(body)
    return offset, size


def _unpack_name(body: memoryview, uid: int, gid: int) -> tuple[bytes]:
    return (_names(body)[0],)


def _unpack_nothing(body: memoryview, uid: int, gid: int) -> tuple[()]:
    return ()


_REQUESTS = {
    LOOKUP: ("look_up", _unpack_name),
    GETATTR: ("get_attributes", _unpack_nothing),
    SETATTR: ("set_attributes", _unpack_setattr),
    MKDIR: ("make_directory", _unpack_make),
    UNLINK: ("unlink", _unpack_name),
    RMDIR: ("remove_directory", _unpack_name),
    RENAME: ("rename", _unpack_rename),
    RENAME2: ("rename", _unpack_rename2),
    LINK: ("link", lambda body, *_: (struct.unpack_from("=Q", body)[0], _names(body[8:])[0])),
    OPEN: ("open", _unpack_nothing),
    READ: ("read", _unpack_read),
    WRITE: ("write", _unpack_write),
    STATFS: ("statfs", _unpack_nothing),
    RELEASE: ("release", _unpack_nothing),
    FSYNC: ("sync", _unpack_nothing),
    FSYNCDIR: ("sync", _unpack_nothing),
    SETXATTR: ("set_attribute", _unpack_setxattr),
    GETXATTR: (
        "get_attribute",
        lambda body, *_: (_names(body[8:])[0], struct.unpack_from("=I", body)[0]),
    ),
    LISTXATTR: ("list_attributes", lambda body, *_: struct.unpack_from("=I", body)),
    REMOVEXATTR: ("remove_attribute", _unpack_name),
    OPENDIR: ("open", _unpack_nothing),
    READDIR: ("read_directory", _unpack_read),
    RELEASEDIR: ("release", _unpack_nothing),
    CREATE: ("create", _unpack_create),
}
