"""One file being written: its part, its digest, and how it becomes visible or vanishes.

:class:`FileUpload` is what both ends need. The server's uploads are :class:`~filetransfer.store.parts.StoreUpload`,
published by the commit queue. The client's downloads are :class:`LocalUpload`: one file, published at once, without the
lock and the sweep of a served directory.

Octets come in two ways, mixed at will: :meth:`FileUpload.write` has them in memory and digests them at once;
:meth:`FileUpload.advance` is told that the kernel moved them, and leaves the digest behind;
:meth:`FileUpload.digest_behind` then reads them from the page cache. It may run in one other thread
while the transfer goes on:

    0            digested          received
    |---------------|------------------|------ ...
     in the digest    in the file only

``write`` digests only when both are equal, and whoever digests moves ``digested`` last: so one writer and one digester
never digest the same octets, without a lock.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass

from filetransfer.digests import Digest, start_digest
from filetransfer.errors import Internal, refusal_from_os_error
from filetransfer.store.beneath import HeldDirectory, close_quietly
from filetransfer.store.stable import Durability, Storage, choose_storage
from filetransfer.store.terms import check_replaceable

WINDOW = 1024 * 1024
"""Octets read at a time to digest what the kernel moved."""

_GO_ON = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a part has come.

    Attributes:
        offset: octets that are in it, and right.
        digest: of them, running.
    """

    offset: int
    digest: Digest


class FileUpload:
    """A part that octets are appended to. One thread at a time, but for :meth:`digest_behind`.

    Args:
        directory: where the part is made; it must stay open as long as the upload.
        name: of the part.
        mode: permission bits of the part.
        progress: how far the part has come; None: there is none yet.

    Attributes:
        received: octets in it so far, >= 0.

    Raises:
        RequestRefused: the leaf for the failed system call; nothing is left.
    """

    __slots__ = ("_descriptor", "_digest", "_digested", "_directory", "_name", "received")

    def __init__(
        self, directory: HeldDirectory, name: str, mode: int, progress: Progress | None = None
    ) -> None:
        self._directory = directory
        self._name = name
        flags = _CREATE if progress is None else _GO_ON
        try:
            self._descriptor = os.open(name, flags, mode, dir_fd=directory.fileno())
        except OSError as error:
            raise refusal_from_os_error(error) from error
        self._digest = start_digest() if progress is None else progress.digest
        self.received = self._digested = 0 if progress is None else progress.offset

    def fileno(self) -> int:
        """Give the open descriptor: octets go to offset ``received``, then :meth:`advance`. -1 when it is over."""
        return self._descriptor

    @property
    def undigested(self) -> int:
        """How many octets :meth:`digest_behind` has before it, >= 0."""
        return self.received - self._digested

    def write(self, octets: bytes | bytearray | memoryview) -> None:
        """Append octets.

        Raises:
            RequestRefused: the leaf for the failed system call; the upload is aborted.
        """
        try:
            written = os.pwrite(self._descriptor, octets, self.received)
            if written < len(octets):
                self._write_rest(octets, written)
            if self._digested == self.received:
                self._take(octets)
        except OSError as error:
            self.abort()
            raise refusal_from_os_error(error) from error
        self.received += len(octets)

    def _write_rest(self, octets: bytes | bytearray | memoryview, written: int) -> None:
        # Short writes are rare (a disk that is nearly full): no view is made for the others.
        while written < len(octets):
            rest = memoryview(octets)[written:]
            written += os.pwrite(self._descriptor, rest, self.received + written)

    def advance(self, count: int) -> None:
        """Take note that ``count`` octets were moved into :meth:`fileno` at offset ``received``."""
        self.received += count

    def digest_behind(self) -> None:
        """Digest what :meth:`advance` left behind, from the page cache.

        May run in one other thread while octets are still coming. It must have ended before the upload is aborted or
        submitted.

        Raises:
            RequestRefused: a failed read, or octets that are not there; the caller aborts the upload.
        """
        behind = self.undigested
        if behind <= 0:
            return
        buffer = memoryview(bytearray(min(WINDOW, behind)))
        while behind > 0:
            try:
                count = os.preadv(self._descriptor, [buffer[:behind]], self._digested)
                self._take(buffer[:count])
            except OSError as error:
                raise refusal_from_os_error(error) from error
            if count == 0:
                raise Internal("the server lost octets of the file")
            behind = self.undigested

    def _take(self, octets: bytes | bytearray | memoryview) -> None:
        """Digest the next octets."""
        self._digest.update(octets)
        self._digested += len(octets)

    def digest(self) -> bytes:
        """Give the xxh3-128 of everything received. Raises as :meth:`digest_behind`."""
        if self._digested < self.received:
            self.digest_behind()
        return self._digest.digest()

    def abort(self) -> None:
        """Remove every trace of it; a second call, or one after it was published, does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        # Truncated first: blocks that were allocated beyond the end are given back even if somebody else still has
        # the part open. What fails here can only be left to the next sweep.
        with suppress(OSError):
            os.ftruncate(descriptor, 0)
        with suppress(OSError):
            os.unlink(self._name, dir_fd=self._directory.fileno())
        close_quietly(descriptor)

    def close(self) -> None:
        """Close the descriptor of an upload that has been published."""
        descriptor, self._descriptor = self._descriptor, -1
        close_quietly(descriptor)


class LocalUpload(FileUpload):
    """A file that this program writes for itself: a part beside the destination, then one rename.

    Args:
        directory: of the destination; the upload closes it.
        name: the destination's name in it.
        storage: how it becomes durable.
        part: the name of a part that was kept, to go on with; None for a new one.
        progress: how far that part has come.

    Attributes:
        part: the name of the part.

    Raises:
        RequestRefused: the leaf for the failed system call; nothing is left that was not there.
    """

    __slots__ = ("_final_name", "_storage", "part")

    def __init__(
        self,
        directory: HeldDirectory,
        name: str,
        storage: Storage,
        *,
        part: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._final_name = name
        self._storage = storage
        self.part = f".ft-{secrets.token_hex(8)}.part" if part is None else part
        try:
            # 0666: the kernel takes the umask, or the directory's default list, off.
            super().__init__(directory, self.part, 0o666, progress)
        except BaseException:
            directory.close()
            raise

    def publish(self) -> None:
        """Make the file visible under its name, replacing the one that may be there; blocks.

        Raises:
            RequestRefused: the leaf for the failed system call; the upload is aborted. When only the directory could
                not be made durable, the file is visible all the same.
        """
        directory = self._directory.fileno()
        try:
            self._storage.sync(self._descriptor)
            os.rename(self._name, self._final_name, src_dir_fd=directory, dst_dir_fd=directory)
            self.close()
            self._storage.sync(directory)
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        finally:
            self.abort()

    def keep(self) -> None:
        """End it, and leave the part where it is; nothing happens when it is over."""
        self.close()
        self._directory.close()

    def abort(self) -> None:
        """See :meth:`FileUpload.abort`."""
        super().abort()
        self._directory.close()


def begin_local_upload(
    destination: str | os.PathLike[str], *, durability: Durability = "full"
) -> LocalUpload:
    """Begin to write a file of this machine, outside any served directory.

    Args:
        destination: where it will be published; its directory must exist. A symbolic link is followed first, so that
            the link stays and what it points to is replaced.
        durability: ``none`` leaves the fsyncs out.

    Returns:
        The upload, to be ended by ``publish`` or ``abort``.

    Raises:
        NotFound: the directory is missing.
        IsDirectory: the destination is a directory or a special file: a rename would replace, say, /dev/null.
        RequestRefused: another leaf, for another failed system call.
    """
    parent, name = os.path.split(os.path.realpath(destination))
    try:
        descriptor = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise refusal_from_os_error(error, about="path") from error
    directory = HeldDirectory(descriptor)
    try:
        # The root directory of the machine has no name.
        check_replaceable(name or ".", directory.fileno())
    except BaseException:
        directory.close()
        raise
    return LocalUpload(directory, name, choose_storage(durability))
