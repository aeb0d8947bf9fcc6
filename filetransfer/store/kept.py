"""What the disk holds of uploads that can be resumed; who has them is for ``resume.py``.

In the directory of parts, for each such upload:

    KEY.part       what has arrived
    KEY.sidecar    what it is for, the digest of each window, and what became of it (see ``sidecar.py``)

KEY is made from token and identity, so that nobody finds the upload of somebody else. What is there means:

    sidecar and part       cut off; goes on after the last window that agrees with its record
    sidecar with outcome   published
    anything else          a crash came in between; removed at the next start

A part is made after its sidecar. Publishing renames the part; the outcome is written when the rename is on stable
storage, and synced before the upload is acknowledged: an outcome on the disk is never ahead of the file. A power cut
between the two leaves a file that nobody was told of, and the peer sends it again.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Set
from contextlib import suppress
from dataclasses import dataclass

from filetransfer.digests import Digest, start_digest
from filetransfer.errors import NotFound
from filetransfer.store.beneath import HeldDirectory, close_quietly
from filetransfer.store.sidecar import (
    WINDOW,
    Outcome,
    Purpose,
    Sidecar,
    Window,
    create_sidecar,
    open_sidecar,
)
from filetransfer.store.upload import Progress

_PART = ".part"
_SIDECAR = ".sidecar"
_LOST = "what is known of the upload was lost: start afresh"

_logger = logging.getLogger("filetransfer.store")


@dataclass(frozen=True, slots=True)
class Verified:
    """How far a part has come, octet by octet.

    Attributes:
        progress: of the whole.
        window: running digest of the octets in the last window, which is not full.
    """

    progress: Progress
    window: Digest


@dataclass(frozen=True, slots=True)
class Found:
    """An upload that an earlier run left.

    Attributes:
        purpose: what it is for.
        last_used: seconds since 1970.
        octets: of its part, about.
        is_published: see there.
    """

    purpose: Purpose
    last_used: float
    octets: int
    is_published: bool


class KeptFiles:
    """The files of resumable uploads.

    Args:
        directory: of the parts.
    """

    def __init__(self, directory: HeldDirectory) -> None:
        self._directory = directory

    def create(self, key: str, purpose: Purpose) -> Sidecar:
        """Make the sidecar of a new upload; the part is for the upload to make. Raises OSError."""
        return create_sidecar(self._directory, key + _SIDECAR, purpose)

    def open(self, key: str) -> Sidecar:
        """Open the sidecar. Raises OSError; NotFound when it was torn."""
        sidecar = open_sidecar(self._directory, key + _SIDECAR)
        if sidecar is None:
            raise NotFound(_LOST)
        return sidecar

    def remove(self, key: str) -> None:
        """Remove part and sidecar, if they are there. Raises OSError."""
        for ending in (_PART, _SIDECAR):
            with suppress(FileNotFoundError):
                os.unlink(key + ending, dir_fd=self._directory.fileno())

    def find(self, names: Set[str]) -> dict[str, Found]:
        """Give, by their keys, the uploads among the files ``names`` that can be resumed or asked for."""
        found = {}
        for name in names:
            key, _, ending = name.rpartition(".")
            if f".{ending}" == _SIDECAR:
                upload = self._look_at(key, has_part=name_part(key) in names)
                if upload is not None:
                    found[key] = upload
        return found

    def _look_at(self, key: str, *, has_part: bool) -> Found | None:
        try:
            sidecar = open_sidecar(self._directory, key + _SIDECAR)
            if sidecar is None:
                return None
            try:
                last_used = os.fstat(sidecar.fileno()).st_mtime
                is_published = not has_part and sidecar.read_outcome() is not None
                octets = sum(window.count for window in sidecar.read_windows())
            finally:
                sidecar.close()
        except OSError as error:
            # No reason not to start: the upload begins again.
            _logger.warning("a sidecar could not be read: %s", error.strerror)
            return None
        if not (has_part or is_published):
            return None
        return Found(sidecar.purpose, last_used, octets, is_published)

    def verify(self, key: str) -> Verified:
        """Read a part as far as it agrees with its records. Raises OSError; NotFound when nothing is known of it."""
        sidecar = self.open(key)
        try:
            windows = sidecar.read_windows()
        finally:
            sidecar.close()
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(name_part(key), flags, dir_fd=self._directory.fileno())
        try:
            return _verify_windows(descriptor, windows)
        finally:
            close_quietly(descriptor)

    def read_outcome(self, key: str) -> Outcome:
        """Tell what became of an upload that was published. Raises OSError; NotFound when that is not known."""
        sidecar = self.open(key)
        try:
            outcome = sidecar.read_outcome()
        finally:
            sidecar.close()
        if outcome is None:
            raise NotFound(_LOST)
        return outcome


def make_key(token: bytes, identity: str) -> str:
    """Give what an upload's files are called by, from which nobody learns the token."""
    # hashlib loads OpenSSL: not for those who never resume.
    import hashlib

    return hashlib.sha256(token + identity.encode()).hexdigest()[:40]


def name_part(key: str) -> str:
    """Give the name of an upload's part."""
    return key + _PART


def list_names(key: str) -> set[str]:
    """Give the names of all files of an upload."""
    return {key + _PART, key + _SIDECAR}


def _verify_windows(descriptor: int, windows: list[Window]) -> Verified:
    whole, current = start_digest(), start_digest()
    buffer = memoryview(bytearray(WINDOW))
    offset = 0
    for window in windows:
        octets = buffer[: _read_window(descriptor, buffer[: window.count], offset)]
        running = start_digest()
        running.update(octets)
        if len(octets) < window.count or running.digest() != window.digest:
            break
        whole.update(octets)
        offset += window.count
        if window.count < WINDOW:
            current = running
    return Verified(Progress(offset, whole), current)


def _read_window(descriptor: int, buffer: memoryview, offset: int) -> int:
    """Fill the buffer; give the octets there are, fewer at the end of the file."""
    done = 0
    while done < len(buffer):
        count = os.preadv(descriptor, [buffer[done:]], offset + done)
        if not count:
            break
        done += count
    return done
