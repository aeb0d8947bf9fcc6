"""System calls that Python's ``os`` does not have, with the same manners: a failure is an :class:`OSError`.

    openat2            Linux 5.6; RESOLVE_CACHED 5.12
    renameat2          Linux 3.15, glibc 2.28; where it or the file system's support is missing, link and unlink
    sync_file_range    only to write out, never to rely on
    syncfs             only for what an earlier run may have left unsynced
    fstatfs            only to recognise what kind of file system it is

All through ctypes, which releases the interpreter's lock during the call.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from functools import cache

# include/uapi/linux/openat2.h
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_CACHED = 0x20

# The number is the same on all architectures but alpha. Elsewhere -1: the kernel answers ENOSYS.
_OPENAT2 = 437 if sys.platform == "linux" and os.uname().machine != "alpha" else -1
_RENAME_NOREPLACE = 1
# EINVAL: the file system does not know the flag (NFS, some FUSE ones).
_NO_FLAG = (errno.ENOSYS, errno.EINVAL)
_SYNC_FILE_RANGE_WRITE = 2
_SYNC_FILE_RANGE_ALL = 7
# include/uapi/linux/magic.h: TMPFS_MAGIC, RAMFS_MAGIC
_MEMORY_FILE_SYSTEMS = (0x01021994, 0x858458F6)
# The same: EXT4, XFS, BTRFS, F2FS, BCACHEFS; and OpenZFS's include/sys/fs/zfs.h
_DISK_FILE_SYSTEMS = (0xEF53, 0x58465342, 0x9123683E, 0xF2F52010, 0xCA451A4E, 0x2FC12FC1)

_libc = ctypes.CDLL(None, use_errno=True)

_sync_file_range = getattr(_libc, "sync_file_range", None)
if _sync_file_range is not None:  # pragma: no branch - as below
    _sync_file_range.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]

_syscall = _libc.syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [
    ctypes.c_long,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_size_t,
]

_renameat2 = getattr(_libc, "renameat2", None)
if _renameat2 is not None:  # pragma: no branch - every C library we test with has it
    _renameat2.argtypes = [
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    ]


def openat2(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """Open ``path`` from an open directory under the rules of ``resolve``.

    Args:
        directory: an open descriptor.
        path: without NUL: the kernel would see only what stands before it.
        flags: as for ``open``.
        resolve: RESOLVE_* or-ed.

    Returns:
        A new descriptor.

    Raises:
        OSError: ENOSYS, or EPERM from a sandbox, where there is no such call; EAGAIN when RESOLVE_CACHED is asked
            for and the answer is not in memory.
    """
    how = _pack_how(flags, resolve)
    while True:
        descriptor: int = _syscall(_OPENAT2, directory, path, how, len(how))
        if descriptor >= 0:
            return descriptor
        error = ctypes.get_errno()
        # Python's own calls are made again after a signal (PEP 475): so is this one.
        if error != errno.EINTR:
            raise OSError(error, os.strerror(error))


@cache
def _pack_how(flags: int, resolve: int) -> bytes:
    """Give a ``struct open_how``: flags, mode, resolve, each 64 bits."""
    return struct.pack("=QQQ", flags, 0, resolve)


def rename_if_free(name: bytes, new_name: bytes, *, src_dir_fd: int, dst_dir_fd: int) -> bool:
    """Rename, where the kernel can say in the same call that nothing is under the new name.

    Args:
        name: the old name, in the directory ``src_dir_fd``.
        new_name: the new one, in the directory ``dst_dir_fd``.
        src_dir_fd: an open directory.
        dst_dir_fd: an open directory.

    Returns:
        Whether it was renamed; False: there is something, or the kernel or the file system cannot do it.

    Raises:
        OSError: as for ``rename``.
    """
    error = _rename_by_kernel(name, new_name, src_dir_fd, dst_dir_fd)
    if error and error not in (errno.EEXIST, *_NO_FLAG):
        raise OSError(error, os.strerror(error))
    return not error


def rename_no_replace(
    name: bytes | str, new_name: bytes | str, *, src_dir_fd: int, dst_dir_fd: int
) -> None:
    """Rename, but never replace.

    Args:
        name: the old name, in the directory ``src_dir_fd``.
        new_name: the new one, in the directory ``dst_dir_fd``.
        src_dir_fd: an open directory.
        dst_dir_fd: an open directory.

    Raises:
        OSError: EEXIST when there is something under the new name, be it the same file; others as for ``rename``.
    """
    old, new = os.fsencode(name), os.fsencode(new_name)
    error = _rename_by_kernel(old, new, src_dir_fd, dst_dir_fd)
    if error in _NO_FLAG:
        _rename_by_link(old, new, src_dir_fd, dst_dir_fd)
    elif error:
        raise OSError(error, os.strerror(error))


def _rename_by_kernel(old: bytes, new: bytes, src_dir_fd: int, dst_dir_fd: int) -> int:
    """Give 0, or the errno."""
    if _renameat2 is None:
        return errno.ENOSYS
    if _renameat2(src_dir_fd, old, dst_dir_fd, new, _RENAME_NOREPLACE) == 0:
        return 0
    return ctypes.get_errno()


def _rename_by_link(old: bytes, new: bytes, src_dir_fd: int, dst_dir_fd: int) -> None:
    # A link never replaces either. A crash between the two calls leaves the file under both names: nothing is lost.
    os.link(old, new, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd, follow_symlinks=False)
    try:
        os.unlink(old, dir_fd=src_dir_fd)
    except OSError:
        os.unlink(new, dir_fd=dst_dir_fd)
        raise


def start_writeback(descriptor: int) -> None:
    """Let the kernel begin to write a file's octets out; does nothing where it cannot.

    Whether they arrive is for ``fsync`` to say: it is told of the errors of this write, too.
    """
    if _sync_file_range is not None:  # pragma: no branch - as above
        _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_WRITE)


def write_out(descriptor: int) -> None:
    """Write a file's octets out and wait for it; does nothing where that cannot be. No flush of the disk, no promise.

    What a program stores into a mapping of the file afterwards has a new modification time.
    """
    if _sync_file_range is not None:  # pragma: no branch - as above
        _sync_file_range(descriptor, 0, 0, _SYNC_FILE_RANGE_ALL)


def sync_file_system(descriptor: int) -> None:
    """Bring all that was changed on a file system to stable storage. Raises OSError."""
    if _libc.syncfs(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def is_in_memory(descriptor: int) -> bool:
    """Tell whether a file lies on tmpfs or ramfs, where reading never waits for a disk."""
    return _find_file_system(descriptor) in _MEMORY_FILE_SYSTEMS


def is_local(descriptor: int) -> bool:
    """Tell whether a file that is in the caches of this machine is opened without waiting for anybody.

    Where the kernel asks a server to open a file (NFS, SMB, FUSE), it asks though the whole path is cached, and
    RESOLVE_CACHED does not keep it from that. What is not known is taken for such.
    """
    return _find_file_system(descriptor) in (*_MEMORY_FILE_SYSTEMS, *_DISK_FILE_SYSTEMS)


def _find_file_system(descriptor: int) -> int | None:
    """Give the kernel's number of a file's kind of file system; None if it cannot be had."""
    # f_type comes first, and is a long on every 64-bit Linux but s390x; the rest of struct statfs is not read.
    block = ctypes.create_string_buffer(512)
    if _libc.fstatfs(descriptor, block) != 0:
        return None
    return ctypes.c_ulong.from_buffer(block).value
