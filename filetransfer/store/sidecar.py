"""The sidecar of a resumable upload: what its part must hold, window by window.

    header     magic 8, size i64, length of identity u16, length of path u16, identity, path, check 16
    outcome    digest 16, etag 32, check 16; zeros until the upload is published
    windows    count u32, digest 16, check 8; one record for each window of 1 MiB, in order

Numbers are little-endian. A digest is the xxh3-128 of the window's octets, or of the whole file in the outcome. A check
is the xxh3 of what stands before it, its place, and the header's check, so that neither a torn record, nor one of
another place, nor one of another upload counts. Only the last window may have less than 1 MiB; when the upload goes on
its record is written anew, and a power cut then may cost that window.

Nothing here waits for a disk. A record says what the octets *are*, not that they are there: whoever resumes digests
the windows again and believes the records up to the first that does not agree. So it does not matter in which order
the disk gets the octets and the records, and the upload needs no fsync on its way (one for each window of 1 MiB would
cost it a third of its rate). The size of the part is never looked at: after a power cut it may be right where the
octets are not.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from dataclasses import dataclass

import xxhash

from filetransfer.names import Path
from filetransfer.store.beneath import HeldDirectory, close_quietly

WINDOW = 1024 * 1024
"""Octets of a window. Source: protocol, section 2, "Resume of an upload"; the sidecars on disks rely on it."""

_MAGIC = b"ft-part1"
_HEADER = struct.Struct("<8sqHH")
_OUTCOME = struct.Struct("<16s32s")
_WINDOW = struct.Struct("<I16s")
_CHECK = 16
_WINDOW_CHECK = 8
_RECORD = _WINDOW.size + _WINDOW_CHECK
_OUTCOME_SIZE = _OUTCOME.size + _CHECK
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# Many records at once, but not 28 MB for an upload of 1 TiB.
_READ_RECORDS = 4096


@dataclass(frozen=True, slots=True)
class Purpose:
    """What an upload is for: it belongs to this from its first request on.

    Attributes:
        identity: of the peer, empty for one that has none.
        path: where it will be published.
        size: octets, as claimed.
    """

    identity: str
    path: Path
    size: int


@dataclass(frozen=True, slots=True)
class Window:
    """One record.

    Attributes:
        count: octets, 1 to WINDOW.
        digest: xxh3-128 of them.
    """

    count: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an upload that was published.

    Attributes:
        digest: xxh3-128 of the file.
        etag: that it had then.
    """

    digest: bytes
    etag: str


class Sidecar:
    """An open sidecar.

    Args:
        descriptor: of the file; the sidecar closes it.
        purpose: that its header holds.
        key: the header's check.
        start: where the outcome stands.
    """

    __slots__ = ("_descriptor", "_key", "_start", "purpose")

    def __init__(self, descriptor: int, purpose: Purpose, key: bytes, start: int) -> None:
        self._descriptor = descriptor
        self._key = key
        self._start = start
        self.purpose = purpose

    def fileno(self) -> int:
        """Give the open descriptor."""
        return self._descriptor

    def write_window(self, index: int, window: Window) -> None:
        """Record a window. Raises OSError."""
        record = _WINDOW.pack(window.count, window.digest)
        offset = self._find_window(index)
        _write_all(self._descriptor, record + self._check(record, offset)[:_WINDOW_CHECK], offset)

    def read_windows(self) -> list[Window]:
        """Give the windows recorded, from the first to the last that counts. Raises OSError."""
        windows: list[Window] = []
        while True:
            offset = self._find_window(len(windows))
            octets = _read_all(self._descriptor, _READ_RECORDS * _RECORD, offset)
            for place in range(0, len(octets), _RECORD):
                window = self._parse_window(octets[place : place + _RECORD], offset + place)
                if window is None:
                    return windows
                windows.append(window)
                if window.count < WINDOW:
                    return windows
            if len(octets) < _READ_RECORDS * _RECORD:
                return windows

    def write_outcome(self, outcome: Outcome) -> None:
        """Record that the upload was published, and forget its windows. Raises OSError."""
        record = _OUTCOME.pack(outcome.digest, outcome.etag.encode())
        _write_all(self._descriptor, record + self._check(record, self._start), self._start)
        os.ftruncate(self._descriptor, self._find_window(0))

    def read_outcome(self) -> Outcome | None:
        """Give the outcome; None when the upload was not published. Raises OSError."""
        octets = _read_all(self._descriptor, _OUTCOME_SIZE, self._start)
        record, check = octets[: _OUTCOME.size], octets[_OUTCOME.size :]
        if len(octets) < _OUTCOME_SIZE or check != self._check(record, self._start):
            return None
        digest, etag = _OUTCOME.unpack(record)
        return Outcome(digest, etag.decode())

    def close(self) -> None:
        """Close it; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_quietly(descriptor)

    def _find_window(self, index: int) -> int:
        return self._start + _OUTCOME_SIZE + index * _RECORD

    def _parse_window(self, octets: bytes, offset: int) -> Window | None:
        record, check = octets[: _WINDOW.size], octets[_WINDOW.size :]
        if len(octets) < _RECORD or check != self._check(record, offset)[:_WINDOW_CHECK]:
            return None
        return Window(*_WINDOW.unpack(record))

    def _check(self, record: bytes, offset: int) -> bytes:
        return xxhash.xxh3_128_digest(record + offset.to_bytes(8, "little") + self._key)


def create_sidecar(directory: HeldDirectory, name: str, purpose: Purpose) -> Sidecar:
    """Make the sidecar of a new upload. Raises OSError; nothing is left then."""
    identity, path = purpose.identity.encode(), purpose.path.encode()
    header = _HEADER.pack(_MAGIC, purpose.size, len(identity), len(path)) + identity + path
    key = xxhash.xxh3_128_digest(header)
    descriptor = os.open(name, _CREATE, 0o600, dir_fd=directory.fileno())
    try:
        _write_all(descriptor, header + key + bytes(_OUTCOME_SIZE), 0)
    except OSError:
        close_quietly(descriptor)
        # What fails here can only be left to the next start.
        with suppress(OSError):
            os.unlink(name, dir_fd=directory.fileno())
        raise
    return Sidecar(descriptor, purpose, key, len(header) + _CHECK)


def open_sidecar(directory: HeldDirectory, name: str) -> Sidecar | None:
    """Open a sidecar; None when its header was torn. Raises OSError."""
    descriptor = os.open(name, _OPEN, dir_fd=directory.fileno())
    try:
        sidecar = _parse_header(descriptor)
    except OSError:
        close_quietly(descriptor)
        raise
    if sidecar is None:
        close_quietly(descriptor)
    return sidecar


def _parse_header(descriptor: int) -> Sidecar | None:
    fixed = _read_all(descriptor, _HEADER.size, 0)
    if len(fixed) < _HEADER.size:
        return None
    magic, size, identity_length, path_length = _HEADER.unpack(fixed)
    if magic != _MAGIC:
        return None
    length = _HEADER.size + identity_length + path_length
    header = _read_all(descriptor, length + _CHECK, 0)
    key = header[length:]
    if key != xxhash.xxh3_128_digest(header[:length]):
        return None
    identity = header[_HEADER.size : _HEADER.size + identity_length].decode()
    path = header[_HEADER.size + identity_length : length].decode()
    return Sidecar(descriptor, Purpose(identity, Path(path), size), key, length + _CHECK)


def _write_all(descriptor: int, octets: bytes, offset: int) -> None:
    while octets:
        written = os.pwrite(descriptor, octets, offset)
        octets = octets[written:]
        offset += written


def _read_all(descriptor: int, count: int, offset: int) -> bytes:
    """Give ``count`` octets, or fewer at the end of the file."""
    pieces = b""
    while len(pieces) < count:
        piece = os.pread(descriptor, count - len(pieces), offset + len(pieces))
        if not piece:
            break
        pieces += piece
    return pieces
