"""The scrub: reads every file below a root again, and finds what rotted.

A served directory is scrubbed beside the daemon that serves it: no lock is taken, nothing is written but extended
attributes, and those through the descriptor that was read. For each regular file:

    1. fstat; what is recorded of that state (see ``records.py``)
    2. read all of it, in windows, and digest it. Never mapped: a file that shrinks would end the process (SIGBUS)
    3. fstat again. Not the same: somebody writes, replaces or renames it now; begin again, after three times let it be
    4. compare

    recorded    digest    the file is
    good        same      good
    good        other     damaged; marked, and the daemon refuses to serve it
    damaged     same      good again (somebody put the octets and the time back); the mark is cleared
    damaged     other     damaged still
    nothing               new: written or edited from outside; its digest is recorded

Damage is believed when a second reading, with the page cache put aside, finds the same octets again. Memory that
flips a bit for a moment is no damage of the disk.

Two things make a new record sound. A file that was modified within the clock's grain (10 ms at most) could be modified
again without another modification time: the scrub waits until that is over before it reads. And a program that has
mapped the file may store into it without another modification time until the page is written out, so the file is
written out first; then the next store is seen.

Nothing outside the root is read and no symbolic link is followed (see ``beneath.py``); what lies on another file
system is left out, because it is not served either. The store's own directory is left out.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from filetransfer.digests import start_digest
from filetransfer.store import calls
from filetransfer.store.beneath import Root, close_quietly
from filetransfer.store.directory import STORE_DIRECTORY
from filetransfer.store.records import (
    GRAIN_NANOSECONDS,
    UNSUPPORTED,
    Record,
    parse_record,
    read_attribute,
    write_record,
)

WINDOW = 512 * 1024
"""Octets read at a time: 12 GB/s a core from 256 KiB to 4 MiB, and smaller is stopped sooner."""

_MAX_TRIES = 3

# include/uapi/linux/fs.h, since Linux 6.14: what a read brings into the page cache leaves it again, and what was there
# stays, so that a scrub does not push out what the daemon serves.
_DONTCACHE = 0x80

_STORE_DIRECTORY = os.fsencode(STORE_DIRECTORY)

_BROKEN = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)
"""Reading says so of octets that are lost: EIO by the disk, the others by file systems with digests of their own."""

_LEFT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EXDEV, errno.ENXIO)
"""Opening says so of what was removed, replaced or mounted over since its directory was read: it is left out."""


class Finding(Enum):
    """What the scrub finds a file to be."""

    GOOD = "good"
    DAMAGED = "damaged"
    REPAIRED = "repaired"
    ACCEPTED = "accepted"
    NEW = "new"
    UNVERIFIABLE = "not verifiable"
    CHANGING = "changing"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file.

    Attributes:
        path: below the root, as the file system has it; a directory's when it could not be read.
        finding: see there.
        note: what could not be done, in words; empty when all was.
    """

    path: bytes
    finding: Finding
    note: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """What a walk came upon: a file, or a directory that cannot be read.

    Attributes:
        path: below the root.
        entry: of a file, while its directory is being read; None for one that was named.
        error: why the directory cannot be read; None for a file.
    """

    path: bytes
    entry: os.DirEntry[str] | None = None
    error: OSError | None = None


def walk(root: Root, paths: Sequence[bytes]) -> Generator[Found, None, None]:
    """Find the files below a root.

    Args:
        root: see :class:`~filetransfer.store.beneath.Root`.
        paths: below it, ``b""`` for itself; files, or directories with all that is in them.

    Yields:
        What was found; what is in ``paths`` and no directory counts as a file.
    """
    pending = [*reversed(paths)]
    while pending:
        path = pending.pop()
        try:
            descriptor = root.open_octets(path or b".", os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            yield Found(path, error=None if error.errno == errno.ENOTDIR else error)
            continue
        try:
            with os.scandir(descriptor) as entries:
                for entry in entries:
                    name = os.fsencode(entry.name)
                    inner = path + b"/" + name if path else name
                    if entry.is_file(follow_symlinks=False):
                        yield Found(inner, entry)
                    elif entry.is_dir(follow_symlinks=False) and inner != _STORE_DIRECTORY:
                        pending.append(inner)
        except OSError as error:
            yield Found(path, error=error)
        finally:
            close_quietly(descriptor)


def measure(root: str | os.PathLike[str], paths: Sequence[bytes]) -> Iterator[int]:
    """Give the size, in octets, of each file that a scrub of these paths comes upon. Raises OSError."""
    held = Root(root)
    try:
        for found in walk(held, paths):
            if found.entry is not None:
                yield found.entry.stat(follow_symlinks=False).st_size
    finally:
        held.close()


class Scrub:
    """One scrub of one root.

    Args:
        root: the directory.
        paths: below it, ``b""`` for itself; files, or directories with all that is in them.
        is_check: mark and record nothing.
        is_accept: take what is found damaged for the truth from now on.
        is_cold: read from the disk what the page cache holds as well.
        threads: at work, >= 1.
        on_outcome: called with each outcome, by one thread at a time.

    Attributes:
        octets: read so far.
        is_stopping: set it, from any thread, and the scrub ends soon.

    Raises:
        OSError: the root cannot be opened.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        paths: Sequence[bytes] = (b"",),
        *,
        is_check: bool = False,
        is_accept: bool = False,
        is_cold: bool = False,
        threads: int = 1,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self.octets = 0
        self.is_stopping = False
        self._is_check = is_check
        self._is_accept = is_accept
        self._is_cold = is_cold
        self._on_outcome = on_outcome
        self._error: Exception | None = None
        self._read_flags = _DONTCACHE
        self._root = Root(root)
        self._named = frozenset(paths)
        self._found = walk(self._root, paths)
        self._lock = threading.Lock()
        self._workers = [
            threading.Thread(target=self._work, name="filetransfer-scrub", daemon=True)
            for _ in range(threads)
        ]

    def start(self) -> None:
        """Begin."""
        for worker in self._workers:
            worker.start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the scrub has ended, or so long for each thread; tell whether it has.

        Raises:
            Exception: what ``on_outcome`` raised; the scrub has ended then.
        """
        for worker in self._workers:
            worker.join(seconds)
        if any(worker.is_alive() for worker in self._workers):
            return False
        if self._error is not None:
            raise self._error
        return True

    def close(self) -> None:
        """Give the root up; after the scrub has ended."""
        self._found.close()
        self._root.close()

    def _work(self) -> None:
        try:
            self._scrub_all()
        except Exception as error:  # noqa: BLE001 - a thread that ended early must not look like one that is done
            self._error = error
            self.is_stopping = True

    def _scrub_all(self) -> None:
        """Scrub one file after the other; several threads do, and none of them waits for a large file."""
        window = memoryview(bytearray(WINDOW))
        while not self.is_stopping:
            with self._lock:
                found = next(self._found, None)
            if found is None:
                return
            outcome = self._scrub(found, window)
            if outcome is not None:
                with self._lock:
                    self._on_outcome(outcome)

    def _scrub(self, found: Found, window: memoryview) -> Outcome | None:
        path = found.path
        try:
            if found.error is not None:
                raise found.error
            descriptor = self._open(path)
        except OSError as error:
            if error.errno in _LEFT and path not in self._named:
                return None
            return Outcome(path, Finding.UNREADABLE, f"cannot be opened: {error.strerror}")
        try:
            finding, note = self._judge(descriptor, window)
        except _Stopped:
            return None
        except OSError as error:
            finding = Finding.DAMAGED if error.errno in _BROKEN else Finding.UNREADABLE
            note = f"cannot be read: {error.strerror}"
        finally:
            close_quietly(descriptor)
        return Outcome(path, finding, note)

    def _open(self, path: bytes) -> int:
        try:
            # Otherwise a scrub of a million files is a million inodes written for their access times.
            descriptor = self._root.open_octets(path, os.O_RDONLY | os.O_NOATIME)
        except PermissionError:
            # Only the owner may ask for that.
            descriptor = self._root.open_octets(path, os.O_RDONLY)
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.ENXIO, "not a regular file")
        except OSError:
            close_quietly(descriptor)
            raise
        return descriptor

    def _judge(self, descriptor: int, window: memoryview) -> tuple[Finding, str]:
        """Give the finding and its note. Raises OSError when the file cannot be read."""
        for _ in range(_MAX_TRIES):
            status = _settle(descriptor)
            value = _read_attribute(descriptor)
            record = None if value is None else parse_record(value, status)
            if value is not None and record is None and not self._is_check:
                calls.write_out(descriptor)
            if self._is_cold:
                _forget_cached(descriptor)
            digest = self._digest(descriptor, window)
            if not _is_as_before(descriptor, status):
                continue
            if value is None:
                return Finding.UNVERIFIABLE, ""
            if record is None:
                return self._record_new(descriptor, digest, status)
            if record.digest == digest:
                return self._confirm_good(descriptor, record, status)
            _forget_cached(descriptor)
            again = self._digest(descriptor, window)
            if not _is_as_before(descriptor, status):
                continue
            if again != digest:
                return Finding.UNREADABLE, "two readings differ: look at memory and cables"
            return self._mark(descriptor, record, digest, status)
        return Finding.CHANGING, ""

    def _digest(self, descriptor: int, window: memoryview) -> bytes:
        """Give the xxh3-128 of all octets."""
        running = start_digest()
        offset = 0
        while count := self._read(descriptor, window, offset):
            running.update(window[:count])
            offset += count
            # Threads may lose each other's octets here: it is for a progress bar.
            self.octets += count
            if self.is_stopping:
                raise _Stopped
        return running.digest()

    def _read(self, descriptor: int, window: memoryview, offset: int) -> int:
        try:
            return os.preadv(descriptor, [window], offset, self._read_flags)
        except OSError as error:
            if not self._read_flags or error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
        self._read_flags = 0
        return os.preadv(descriptor, [window], offset)

    def _record_new(
        self, descriptor: int, digest: bytes, status: os.stat_result
    ) -> tuple[Finding, str]:
        if self._is_check:
            return Finding.NEW, ""
        return Finding.NEW, _write(descriptor, Record(digest, is_damaged=False), status)

    def _confirm_good(
        self, descriptor: int, record: Record, status: os.stat_result
    ) -> tuple[Finding, str]:
        if not record.is_damaged:
            return Finding.GOOD, ""
        if self._is_check:
            return Finding.REPAIRED, ""
        return Finding.REPAIRED, _write(descriptor, replace(record, is_damaged=False), status)

    def _mark(
        self, descriptor: int, record: Record, digest: bytes, status: os.stat_result
    ) -> tuple[Finding, str]:
        if self._is_accept:
            note = _write(descriptor, Record(digest, is_damaged=False), status)
            return (Finding.DAMAGED if note else Finding.ACCEPTED), note
        if self._is_check or record.is_damaged:
            return Finding.DAMAGED, ""
        return Finding.DAMAGED, _write(descriptor, replace(record, is_damaged=True), status)


class _Stopped(Exception):
    """Somebody wants the scrub to end."""


def _settle(descriptor: int) -> os.stat_result:
    """Give the state of a file; what is modified from now on has another modification time."""
    status = os.fstat(descriptor)
    if 0 <= time.time_ns() - status.st_mtime_ns < GRAIN_NANOSECONDS:
        time.sleep(GRAIN_NANOSECONDS / 1e9)
        status = os.fstat(descriptor)
    return status


def _is_as_before(descriptor: int, before: os.stat_result) -> bool:
    now = os.fstat(descriptor)
    return (now.st_size, now.st_mtime_ns, now.st_ctime_ns) == (
        before.st_size,
        before.st_mtime_ns,
        before.st_ctime_ns,
    )


def _read_attribute(descriptor: int) -> bytes | None:
    """Give the attribute; empty where there is none, None where there can be none."""
    try:
        return read_attribute(descriptor)
    except OSError as error:
        if error.errno in UNSUPPORTED:
            return None
        raise


def _write(descriptor: int, record: Record, status: os.stat_result) -> str:
    """Write a record durably; give in words why it could not be done, empty when it was."""
    try:
        write_record(descriptor, record, status)
        if record.is_damaged:
            os.fsync(descriptor)
    except OSError as error:
        return f"{'not marked' if record.is_damaged else 'not recorded'}: {error.strerror}"
    return ""


def _forget_cached(descriptor: int) -> None:
    """Have the next reading ask the disk. What is not written out yet stays: it is not on the disk."""
    # A file system that does not know the call is one that caches nothing.
    with suppress(OSError):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
