"""A file copied into an upload, by the least that the file system needs for it.

    FICLONE            the copy shares the source's blocks (btrfs, XFS, bcachefs ...): no octet is moved
    copy_file_range    the kernel moves them, 8 MiB at a time; some file systems share blocks here, too
    pread and pwrite   where there is neither

All run without the interpreter's lock, and in turns, so that they can be stopped.

**The digest of a copy.** Where one is recorded for the source, the copy gets it and is not read: it says what the
octets *ought* to be. If the source has rotted unnoticed, the copy has the same wrong octets under the same right
digest, and whoever reads either finds out: the receiver of a GET, or the scrub. To digest what was copied and to record
that would bless the rot. Only where octets go through our hands they are digested, and compared with the record. Where
there is no record, the copy is read: nobody knows better what it ought to be.

A source that was modified within the clock's grain could be modified again without another modification time, and a
source that is modified while it is copied is no source: the one is digested, the other refused.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable

from filetransfer.errors import Cancelled, Internal, refusal_from_os_error
from filetransfer.store.files import DAMAGED, FileDownload
from filetransfer.store.parts import StoreUpload
from filetransfer.store.records import GRAIN_NANOSECONDS

TURN = 8 * 1024 * 1024
"""Octets copied between two looks at whether to stop."""

_READ = 1024 * 1024

# include/uapi/linux/fs.h: _IOW(0x94, 9, int); the same on all architectures but a few where no write bit is 1.
_FICLONE = 0x40049409
_CANNOT = (
    *(errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EPERM),
    *(errno.ETXTBSY, errno.EBADF),
)


def copy_file(source: FileDownload, upload: StoreUpload, should_stop: Callable[[], bool]) -> None:
    """Copy all of an open file into an upload that is empty.

    Args:
        source: the file.
        upload: for the caller to abort when this raises.
        should_stop: asked about every few milliseconds, in this thread.

    Raises:
        Cancelled: told to stop. Busy: somebody outside the store changes the file. Internal: it is damaged, or shrank.
        NoSpace: there is no room. RequestRefused: another leaf, for a failed system call.
    """
    is_settled = abs(time.time_ns() - source.modified) > GRAIN_NANOSECONDS
    digest = source.digest if is_settled else b""
    move = _take_cloned if _clone(source, upload) else _move_in_kernel
    while upload.received < source.size:
        if should_stop():
            raise Cancelled("stopped")
        try:
            move(source, upload, min(TURN, source.size - upload.received))
        except OSError as error:
            if move is _move_in_kernel and error.errno in _CANNOT:
                move = _write
                continue
            raise refusal_from_os_error(error, about="path") from error
        if not digest:
            # While the octets are in memory, and the next turn is not.
            upload.digest_behind()
    source.check_unchanged()
    if move is _write and digest and upload.digest() != digest:
        raise Internal(DAMAGED, about="path")
    if digest:
        upload.adopt_digest(digest)


def _clone(source: FileDownload, upload: StoreUpload) -> bool:
    """Let the upload have the source's blocks; tell whether that could be done."""
    try:
        fcntl.ioctl(upload.fileno(), _FICLONE, source.fileno())
    except OSError as error:
        if error.errno in _CANNOT:
            return False
        raise refusal_from_os_error(error, about="path") from error
    return True


def _take_cloned(source: FileDownload, upload: StoreUpload, count: int) -> None:
    upload.advance(count)


def _move_in_kernel(source: FileDownload, upload: StoreUpload, count: int) -> None:
    offset = upload.received
    moved = os.copy_file_range(source.fileno(), upload.fileno(), count, offset, offset)
    if not moved:
        raise Internal("the file shrank while it was copied", about="path")
    upload.advance(moved)


def _write(source: FileDownload, upload: StoreUpload, count: int) -> None:
    upload.write(source.read(upload.received, min(count, _READ)))
