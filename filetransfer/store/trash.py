"""Directories that were removed with all that is in them: out of sight at once, emptied afterwards.

To remove a tree takes as long as it has files, and is seen half done. So it is renamed into ``.ft-store/trash``, which
is one step, and emptied by a thread of its own when that rename is on stable storage: before, a power cut would bring
the directory back with half of its files. What a run leaves there, be it killed, the next one removes.

Directories in a tree are moved up into the trash themselves before they are emptied. So there is no depth to it, at
most two are open at a time, and what else is to be done stands in the trash, not in memory. What is moved is what
``rename`` names, never what a symbolic link points to; a directory that something is mounted on cannot be moved, so
nothing outside of the file system is ever opened.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import secrets
import threading

from filetransfer.store import calls
from filetransfer.store.beneath import HeldDirectory, Root
from filetransfer.store.stable import Storage

_AT_ONCE = 1024

_logger = logging.getLogger("filetransfer.store")


class Trash:
    """Where removed directories wait for their end. One thread takes them; another empties them.

    Args:
        root: of the store.
        directory: the trash, on the same file system; the trash closes it.
        storage: how changes become durable.
    """

    def __init__(self, root: Root, directory: HeldDirectory, storage: Storage) -> None:
        self._root = root
        self._storage = storage
        self.directory = directory
        self._changed = threading.Condition()
        # Taken, but perhaps not on stable storage.
        self._taken: set[str] = set()
        self._stuck: set[str] = set()
        self._is_settled = False
        self._is_wanted = False
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Remove what an earlier run left, in a thread. Raises OSError."""
        if os.listdir(self.directory.fileno()):
            self._wake()

    def take(self, name: bytes, directory: HeldDirectory) -> str:
        """Rename a directory into the trash.

        Args:
            name: of it.
            directory: that it is in.

        Returns:
            What :meth:`remove` wants, when the rename is on stable storage.

        Raises:
            OSError: a failed system call.
        """
        taken = secrets.token_hex(16)
        with self._changed:
            self._taken.add(taken)
        try:
            os.rename(
                name, taken, src_dir_fd=directory.fileno(), dst_dir_fd=self.directory.fileno()
            )
        except OSError:
            with self._changed:
                self._taken.discard(taken)
            raise
        return taken

    def remove(self, taken: str) -> None:
        """Let a directory go for good; does not wait."""
        with self._changed:
            self._taken.discard(taken)
        self._wake()

    def wait(self) -> None:
        """Wait until nothing is left that can be removed."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_wanted)

    def close(self) -> None:
        """Stop; what is left is removed by the next run. A second call does nothing."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.directory.close()

    def _wake(self) -> None:
        with self._changed:
            self._is_wanted = True
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name="filetransfer-trash", daemon=True
                )
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_wanted or self._is_closed)
                if self._is_closed:
                    return
            try:
                self._settle()
                while names := self._list_some():
                    for name in names:
                        self._remove(name)
            except OSError as error:
                _logger.warning("the trash could not be emptied: %s", error.strerror)
            with self._changed:
                self._is_wanted = False
                self._changed.notify_all()

    def _settle(self) -> None:
        """Bring what an earlier run renamed to stable storage: it may have been killed before it did."""
        if not self._is_settled and self._storage.waits:
            calls.sync_file_system(self.directory.fileno())
        self._is_settled = True

    def _list_some(self) -> list[str]:
        """Give what is to be removed next; nothing when it is time to stop."""
        if self._is_closed or self._storage.is_read_only:
            return []
        with os.scandir(self.directory.fileno()) as entries:
            names = (entry.name for entry in entries)
            with self._changed:
                passed = self._taken | self._stuck
            return list(itertools.islice((name for name in names if name not in passed), _AT_ONCE))

    def _remove(self, name: str) -> None:
        try:
            directory = self._open(name)
            if directory is None:
                os.unlink(name, dir_fd=self.directory.fileno())
                return
            try:
                while self._take_out(directory):
                    pass
            finally:
                directory.close()
            if not self._is_closed:
                os.rmdir(name, dir_fd=self.directory.fileno())
        except OSError as error:
            self._stuck.add(name)
            _logger.warning("what was deleted stays in the trash: %s", error.strerror)

    def _open(self, name: str) -> HeldDirectory | None:
        try:
            return self._root.open_directory_in(self.directory, os.fsencode(name))
        except OSError as error:
            if error.errno in (errno.ENOTDIR, errno.ELOOP):
                return None
            raise

    def _take_out(self, directory: HeldDirectory) -> bool:
        """Take out of a directory what it has; tell whether there was something. Raises OSError when that fails.

        A file system may pass over an entry while others are removed: look again until there is none.
        """
        has_any = False
        failure: OSError | None = None
        with os.scandir(directory.fileno()) as entries:
            for entry in entries:
                if self._is_closed:
                    return False
                has_any = True
                try:
                    self._take_one_out(directory, entry)
                except OSError as error:
                    failure = error
        if failure is not None:
            raise failure
        return has_any

    def _take_one_out(self, directory: HeldDirectory, entry: os.DirEntry[str]) -> None:
        if entry.is_dir(follow_symlinks=False):
            os.rename(
                entry.name,
                secrets.token_hex(16),
                src_dir_fd=directory.fileno(),
                dst_dir_fd=self.directory.fileno(),
            )
        else:
            os.unlink(entry.name, dir_fd=directory.fileno())
