"""What this machine remembers of transfers that were cut off, so that another run of the program can go on with them.

One small file a transfer, below ``$XDG_STATE_HOME/ft-client/transfers``, named after what is transferred between where.
Nothing in it is believed that can be found out: of an upload the server says how far it came, and what it has must be
the beginning of the local file; of a download the whole is compared with the server's digest before it is published.
An entry older than :data:`MAX_AGE_SECONDS` is removed, for no server keeps a part for longer by itself.

A transfer belongs to one program at a time: whoever wants to go on with it claims it first. Two that wrote to one part
would take the file away from under each other, after it was published, too.

Everything here blocks.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

MAX_AGE_SECONDS = 24 * 3600
"""Source: protocol, section 2, "Resume of an upload"."""

_SUFFIX = ".json"
_CLAIM_SUFFIX = ".claim"


class UploadEntry(msgspec.Struct, frozen=True):
    """An upload that was begun.

    Attributes:
        token: that names it to the server; whoever has it may go on with the upload.
        size: octets of the local file, and what else tells that it is still the same.
    """

    token: bytes
    size: int
    modified: int
    inode: int


class DownloadEntry(msgspec.Struct, frozen=True):
    """A download that was begun.

    Attributes:
        etag: of the file on the server.
        part: path of what has come so far.
    """

    etag: str
    part: str


_Entry = TypeVar("_Entry", UploadEntry, DownloadEntry)


class Claim:
    """A transfer that is nobody else's, until this is released or the program ends.

    Args:
        path: of the file that stands for it.
        descriptor: of that file, locked; the claim closes it.
    """

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    def release(self) -> None:
        """Let others have it."""
        # Removed while it is locked: whoever has opened it in the meantime sees that it is gone.
        with suppress(OSError):
            self._path.unlink()
        os.close(self._descriptor)


class Journal:
    """The transfers of one user.

    Args:
        directory: where they are kept; it is made when there is something to keep.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "transfers"

    def has(self, kind: type[UploadEntry | DownloadEntry], *names: str) -> bool:
        """Tell whether anything is known of a transfer: one look into a directory, cheap enough for small files."""
        return self._find_file(kind, *names).exists()

    def claim(self, kind: type[UploadEntry | DownloadEntry], *names: str) -> Claim | None:
        """Have a transfer to oneself; None when somebody else is at work on it. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _claim(self._find_file(kind, *names))

    def find(self, kind: type[_Entry], *names: str) -> _Entry | None:
        """Give what is known of a transfer; None when that is nothing, or cannot be read."""
        try:
            octets = self._find_file(kind, *names).read_bytes()
            return msgspec.json.decode(octets, type=kind)
        except (OSError, msgspec.MsgspecError, ValueError):
            return None

    def write(self, entry: UploadEntry | DownloadEntry, *names: str) -> None:
        """Remember a transfer, durably. Raises OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.remove_stale()
        path = self._find_file(type(entry), *names)
        beside = path.with_suffix(f".{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, msgspec.json.encode(entry))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(beside, path)
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def remove(self, kind: type[UploadEntry | DownloadEntry], *names: str) -> None:
        """Forget a transfer; what fails is left to :meth:`remove_stale`."""
        with suppress(OSError):
            self._find_file(kind, *names).unlink()

    def remove_stale(self) -> None:
        """Forget what nobody came back for in time, nor is at work on, and remove what came of it."""
        oldest = time.time() - MAX_AGE_SECONDS
        for path in self._directory.iterdir():
            with suppress(OSError):
                if path.stat().st_mtime < oldest and (claim := _claim(path)) is not None:
                    _remove_part(path)
                    path.unlink(missing_ok=True)
                    claim.release()

    def _find_file(self, kind: type[UploadEntry | DownloadEntry], *names: str) -> Path:
        text = "\0".join((kind.__name__, *names))
        name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
        return self._directory / f"{name}{_SUFFIX}"


def _claim(path: Path) -> Claim | None:
    path = path.with_suffix(_CLAIM_SUFFIX)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        if os.fstat(descriptor).st_nlink:
            return Claim(path, descriptor)
        # It was released between the two calls, and removed.
        os.close(descriptor)


def _remove_part(path: Path) -> None:
    with suppress(msgspec.MsgspecError, ValueError, OSError):
        entry = msgspec.json.decode(path.read_bytes(), type=DownloadEntry)
        # Whatever stands in the file, nothing else is removed.
        if os.path.basename(entry.part).startswith(".ft-") and entry.part.endswith(".part"):
            os.unlink(entry.part)
