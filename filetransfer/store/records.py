"""What is known of a file without reading it: its etag, and the digest recorded beside it.

The digest of an upload is kept in the extended attribute ``user.filetransfer.digest``:

    1 FzTkjTxUwPP7WpnfPc8OTA 1000 1843a1f0c5d2e6b7
    |  |                      |    modification time, nanoseconds since 1970, base 16
    |  |                      size in octets, base 16
    |  xxh3-128, base 64 without padding
    version of this form

It counts only while size and modification time are those of the file: somebody who edits the file does not know of the
attribute. The form is short for a reason: ext4 has room for 52 octets in an inode of 256; a longer value takes a block
of 4 KiB more for every file. Files of up to 1 TiB fit.

File systems without extended attributes are served just as well: the digest is then computed when it is asked for.
"""

from __future__ import annotations

import binascii
import errno
import os
import struct

import xxhash

ATTRIBUTE = "user.filetransfer.digest"

_VERSION = b"1"
_UNSUPPORTED = (errno.ENOTSUP, errno.ENOSYS)
_pack_identity = struct.Struct("=QQQqq").pack


def compute_etag(status: os.stat_result) -> str:
    """Give the etag of a file.

    Args:
        status: of the open descriptor, read *after* the rename that published the file: inodes are used again at once,
            and the rename sets the change time.

    Returns:
        32 hexadecimal digits that differ whenever the content may have changed.

    Source: protocol, section 2, "etag".
    """
    identity = _pack_identity(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )
    return xxhash.xxh3_128_hexdigest(identity)


class DigestRecords:
    """The recorded digests of one file system."""

    __slots__ = ("_is_supported",)

    def __init__(self) -> None:
        self._is_supported = True

    def write(self, descriptor: int, digest: bytes, status: os.stat_result) -> None:
        """Record the xxh3-128 of an open file; does nothing where there are no extended attributes.

        Args:
            descriptor: the open file.
            digest: 16 octets.
            status: of the descriptor, after the last octet was written.

        Raises:
            OSError: a failed system call.
        """
        if not self._is_supported:
            return
        try:
            os.setxattr(descriptor, ATTRIBUTE, _pack_record(digest, status))
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            self._is_supported = False


def read_digest(descriptor: int, status: os.stat_result) -> bytes | None:
    """Give the recorded xxh3-128 of an open file.

    Args:
        descriptor: the open file.
        status: of the descriptor.

    Returns:
        16 octets; None when none is recorded, or when the file was changed since.
    """
    try:
        value = os.getxattr(descriptor, ATTRIBUTE)
    except OSError:
        return None
    fields = value.split(b" ")
    if len(fields) != 4 or fields[0] != _VERSION:
        return None
    try:
        digest = binascii.a2b_base64(fields[1] + b"==")
    except binascii.Error:
        return None
    # Packing again and comparing is the whole check of the form.
    return digest if value == _pack_record(digest, status) else None


def _pack_record(digest: bytes, status: os.stat_result) -> bytes:
    text = binascii.b2a_base64(digest, newline=False).rstrip(b"=")
    return b"%b %b %x %x" % (_VERSION, text, status.st_size, status.st_mtime_ns)
