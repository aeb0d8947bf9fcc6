"""A served directory of this machine.

    ROOT/
        .ft-store/          0700; no request can name it
            lock            held (flock) as long as the store is open: two daemons never share a root
            parts/          uploads that are not visible yet; at start all go but those that can be resumed
            trash/          directories that were deleted, until they are emptied
        what is served

A read-only store writes nothing, not even this: it can lie on a read-only file system, needs no lock, and as many as
you like may serve one root.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress

from filetransfer.errors import RequestRefused, StoreUnavailable, refusal_from_os_error
from filetransfer.names import RESERVED_PREFIX, Path, split_path
from filetransfer.store import calls
from filetransfer.store.beneath import HeldDirectory, Root, close_quietly
from filetransfer.store.commit import CommitQueue
from filetransfer.store.contents import go_on
from filetransfer.store.copying import copy_file
from filetransfer.store.files import FileDownload
from filetransfer.store.interface import (
    Commit,
    Entry,
    PublishedUpload,
    Resumption,
    UnfinishedUpload,
)
from filetransfer.store.listing import MAX_ENTRIES, DirectoryListing, stat_path
from filetransfer.store.parts import Parts, StoreUpload
from filetransfer.store.resume import KEEP_SECONDS, Resumables
from filetransfer.store.space import Space
from filetransfer.store.stable import Durability, Storage, check_writable, choose_storage
from filetransfer.store.terms import NO_TERMS, Terms, check_etag, check_terms, look_at
from filetransfer.store.trash import Trash

STORE_DIRECTORY = f"{RESERVED_PREFIX}store"
_PARTS = "parts"
_TRASH = "trash"
_LOCK = "lock"
_PRIVATE_DIRECTORY = 0o700


class DirectoryStore:
    """See :class:`~filetransfer.store.interface.Store`.

    Args:
        root: the directory; made, with its parents, when it is missing and the store is not read-only.
        read_only: refuse every change, and write nothing.
        file_mode: permission bits of published files, whatever the umask takes from others. It must leave the owner's
            bits alone: a user who is not root could not open what the store makes.
        directory_mode: permission bits of directories that the store makes; the same.
        durability: ``full``, or ``none``: a power cut may lose what was acknowledged.
        keep_seconds: how long an upload that was cut off, or was published, can be asked for by its token.
        reserve_fraction: of the file system, never given to uploads; 0 <= reserve_fraction < 1.
        on_committed: called, in a thread of the store, with each batch of finished commits.

    Raises:
        StoreUnavailable: the root is missing, cannot be written, or is held by another daemon.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        read_only: bool = False,
        file_mode: int = 0o640,
        directory_mode: int = 0o750,
        durability: Durability = "full",
        keep_seconds: float = KEEP_SECONDS,
        reserve_fraction: float = 0.01,
        on_committed: Callable[[list[Commit]], None],
    ) -> None:
        self._storage = choose_storage(durability, read_only=read_only)
        with ExitStack() as opened:
            try:
                if not read_only:
                    _make_root(os.path.abspath(root), directory_mode, self._storage)
                self._root = Root(root)
                opened.callback(self._root.close)
                parts = trash = HeldDirectory(-1)
                if not read_only:
                    parts, trash = _open_store_directory(self._root, self._storage, opened)
                space = Space(self._root, reserve_fraction)
                self._parts = Parts(parts, self._storage, space, file_mode)
                self._resumables = Resumables(self._parts, keep_seconds)
                self._trash = Trash(self._root, trash, self._storage)
                if not read_only:
                    self._parts.sweep(self._resumables.load())
                    self._trash.start()
            except OSError as error:
                raise _explain(root, error) from error
            except RequestRefused as refusal:
                raise StoreUnavailable(f"{os.fspath(root)!r}: {refusal}") from refusal
            self._is_in_memory = calls.is_in_memory(self._root.fileno())
            self._queue = CommitQueue(
                self._root,
                self._parts,
                self._trash,
                self._storage,
                directory_mode,
                on_committed,
            )
            self._opened = opened.pop_all()

    @property
    def durability(self) -> Durability:
        """``full``: what was acknowledged survives a power cut. ``none``: it may be lost."""
        return "full" if self._storage.waits else "none"

    @property
    def is_read_only(self) -> bool:
        """Whether every change is refused: by the setting, or since the disk failed twice."""
        return self._storage.is_read_only

    def open_download(self, path: Path) -> FileDownload:
        """See :meth:`Store.open_download <filetransfer.store.interface.Store.open_download>`."""
        try:
            descriptor = self._root.open(path, os.O_RDONLY)
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        return FileDownload(descriptor, is_in_memory=self._is_in_memory)

    def open_cached_download(self, path: Path) -> FileDownload | None:
        """See :meth:`Store.open_cached_download <filetransfer.store.interface.Store.open_cached_download>`."""
        try:
            descriptor = self._root.open_cached(path, os.O_RDONLY)
        except OSError as error:
            raise refusal_from_os_error(error, about="path") from error
        if descriptor is None:
            return None
        return FileDownload(descriptor, is_in_memory=self._is_in_memory)

    def stat(self, path: Path) -> Entry:
        """See :meth:`Store.stat <filetransfer.store.interface.Store.stat>`."""
        return stat_path(self._root, path)

    def list_directory(
        self,
        path: Path,
        *,
        is_recursive: bool = False,
        after: Path | None = None,
        limit: int = MAX_ENTRIES,
    ) -> DirectoryListing:
        """See :meth:`Store.list_directory <filetransfer.store.interface.Store.list_directory>`."""
        return DirectoryListing(
            self._root, path, is_recursive=is_recursive, after=after, limit=limit
        )

    def open_upload(
        self,
        path: Path,
        size: int,
        resumption: Resumption | None = None,
        terms: Terms = NO_TERMS,
    ) -> StoreUpload:
        """See :meth:`Store.open_upload <filetransfer.store.interface.Store.open_upload>`."""
        check_writable(self._storage)
        self._check_target(path, terms)
        if resumption is None:
            return self._parts.create(path, size)
        return self._resumables.begin(path, size, resumption)

    def open_copy(
        self,
        path: Path,
        to: Path,
        *,
        if_match: str | None = None,
        terms: Terms = NO_TERMS,
        should_stop: Callable[[], bool] = go_on,
    ) -> StoreUpload:
        """See :meth:`Store.open_copy <filetransfer.store.interface.Store.open_copy>`."""
        check_writable(self._storage)
        source = self.open_download(path)
        try:
            check_etag(source.etag, if_match)
            self._check_target(to, terms, about="to")
            upload = self._parts.create(to, source.size)
            try:
                copy_file(source, upload, should_stop)
            except BaseException:
                upload.abort()
                raise
        finally:
            source.close()
        return upload

    def check_writable(self) -> None:
        """See :meth:`Store.check_writable <filetransfer.store.interface.Store.check_writable>`."""
        check_writable(self._storage)

    def stat_upload(
        self, token: bytes, identity: str, number: int = 0
    ) -> UnfinishedUpload | PublishedUpload:
        """See :meth:`Store.stat_upload <filetransfer.store.interface.Store.stat_upload>`."""
        return self._resumables.stat(token, identity, number)

    def delete_upload(self, token: bytes, identity: str, number: int = 0) -> None:
        """See :meth:`Store.delete_upload <filetransfer.store.interface.Store.delete_upload>`."""
        self._resumables.delete(token, identity, number)

    def remove_stale_uploads(self) -> None:
        """See :meth:`Store.remove_stale_uploads <filetransfer.store.interface.Store.remove_stale_uploads>`."""
        self._resumables.remove_stale()

    def submit(self, commits: Sequence[Commit]) -> None:
        """See :meth:`Store.submit <filetransfer.store.interface.Store.submit>`."""
        self._queue.submit(commits)

    def close(self) -> None:
        """See :meth:`Store.close <filetransfer.store.interface.Store.close>`; a second call does nothing."""
        self._queue.close()
        self._trash.close()
        self._opened.close()

    def _check_target(self, path: Path, terms: Terms, about: str = "path") -> None:
        parent, name = split_path(path)
        try:
            directory = self._root.open_directory(parent)
        except FileNotFoundError as error:
            if not terms.makes_parents:
                raise refusal_from_os_error(error, about=about) from error
            check_terms(None, terms, about=about)
            return
        except OSError as error:
            raise refusal_from_os_error(error, about=about) from error
        try:
            status = look_at(name.encode(), directory.fileno(), about=about)
            check_terms(status, terms, about=about)
        finally:
            directory.close()


def make_root(
    root: str | os.PathLike[str], *, directory_mode: int = 0o750, durability: Durability = "full"
) -> None:
    """Make a root that is missing, as :class:`DirectoryStore` does, for whoever needs it to be there before that.

    Raises:
        StoreUnavailable: it cannot be made.
    """
    storage = choose_storage(durability, read_only=False)
    try:
        _make_root(os.path.abspath(root), directory_mode, storage)
    except OSError as error:
        raise _explain(root, error) from error


def _make_root(root: str, mode: int, storage: Storage) -> None:
    """Make a directory and its parents, durably: a root that a power cut takes away takes its files along."""
    missing = []
    while not os.path.isdir(root):
        missing.append(root)
        root = os.path.dirname(root)
    for directory in reversed(missing):
        # Two daemons may start at once.
        with suppress(FileExistsError):
            os.mkdir(directory, _PRIVATE_DIRECTORY)
            os.chmod(directory, mode)
        if not os.path.isdir(directory):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        _sync_path(os.path.dirname(directory), storage)


def _sync_path(path: str, storage: Storage) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        storage.sync(descriptor)
    finally:
        close_quietly(descriptor)


def _open_store_directory(
    root: Root, storage: Storage, opened: ExitStack
) -> tuple[HeldDirectory, HeldDirectory]:
    """Make what is missing of the store's own directory, lock it, and give those of the parts and of the trash."""
    if not os.access(".", os.W_OK | os.X_OK, dir_fd=root.fileno(), effective_ids=True):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    own = _open_private(root, STORE_DIRECTORY, root.fileno())
    try:
        opened.callback(close_quietly, _lock(own.fileno()))
        parts = _open_private(root, f"{STORE_DIRECTORY}/{_PARTS}", root.fileno())
        opened.callback(parts.close)
        trash = _open_private(root, f"{STORE_DIRECTORY}/{_TRASH}", root.fileno())
        opened.callback(trash.close)
        storage.sync(own.fileno())
        storage.sync(root.fileno())
    finally:
        own.close()
    return parts, trash


def _open_private(root: Root, path: str, directory: int) -> HeldDirectory:
    with suppress(FileExistsError):
        os.mkdir(path, _PRIVATE_DIRECTORY, dir_fd=directory)
    # Opened beneath: a symbolic link that somebody put there is refused, not followed.
    held = root.open_directory(path)
    try:
        os.fchmod(held.fileno(), _PRIVATE_DIRECTORY)
    except OSError:
        held.close()
        raise
    return held


def _lock(directory: int) -> int:
    """Lock the store; the lock ends with the process, however it ends."""
    # Not opened for writing: that would keep the administrator from remounting a failing disk read-only.
    flags = os.O_RDONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(_LOCK, flags, 0o600, dir_fd=directory)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        close_quietly(descriptor)
        raise
    return descriptor


_PERMISSIONS = "it may not be written: change its owner or permissions, or serve it read-only (that needs reading)"
_ADVICE = {
    errno.EWOULDBLOCK: "another daemon serves this directory: stop it, or choose another root",
    errno.ENOENT: "there is no such directory: make it first",
    errno.EACCES: _PERMISSIONS,
    errno.EPERM: _PERMISSIONS,
    errno.EROFS: "its file system is read-only: serve it read-only, or choose another root",
    errno.ENOSPC: "its file system is full: free some space first",
    errno.ENOTDIR: f"it, or {STORE_DIRECTORY} in it, is not a directory: choose another root",
    errno.EXDEV: f"{STORE_DIRECTORY} in it lies on another file system: unmount it first",
}


def _explain(root: str | os.PathLike[str], error: OSError) -> StoreUnavailable:
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, f"it cannot be used ({reason}): look at the disk first")
    return StoreUnavailable(f"cannot serve {os.fspath(root)!r}: {advice}")
