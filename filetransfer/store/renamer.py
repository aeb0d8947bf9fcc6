"""What each commit of a batch does to the files below the root.

Everything but :meth:`Renamer.sync` and :meth:`Renamer.remember` runs in the one thread of the commit queue, in the
order of submission: what is found to be so stays so until the change is made, but for what somebody outside the store
does. He cannot be kept out; but a name under which nothing may be is taken with a rename that never replaces, so that
his file is not lost.

Modification times and modes that a peer sends are set before the upload's fsync, in ``StoreUpload.describe``.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from filetransfer.errors import (
    Exists,
    Internal,
    IsDirectory,
    NotFound,
    NotPermitted,
    RequestRefused,
    refusal_from_os_error,
)
from filetransfer.names import Path, check_path
from filetransfer.store import calls
from filetransfer.store.beneath import HeldDirectory, close_quietly
from filetransfer.store.interface import (
    Commit,
    Delete,
    MakeDirectory,
    Publication,
    Publish,
    PublishOctets,
    Rename,
)
from filetransfer.store.parts import Parts, StoreUpload
from filetransfer.store.records import compute_etag
from filetransfer.store.stable import Storage, check_writable
from filetransfer.store.terms import (
    NO_TERMS,
    Terms,
    check_match,
    check_terms,
    explain_taken,
    look_at,
)
from filetransfer.store.trash import Trash
from filetransfer.store.tree import Tree

_logger = logging.getLogger("filetransfer.store")


class Renamer:
    """What is done to each commit of a batch. All but ``sync`` and ``remember`` in one thread.

    Args:
        tree: of the store.
        parts: of the store; not used while the storage is read-only.
        trash: the same.
        storage: how changes become durable.
    """

    def __init__(self, tree: Tree, parts: Parts, trash: Trash, storage: Storage) -> None:
        self._tree = tree
        self._parts = parts
        self._trash = trash
        self._storage = storage
        self._uploads: dict[Commit, StoreUpload] = {}
        self._published: list[Commit] = []
        self._thrown_away: dict[Commit, str] = {}
        self._acts: dict[type[Commit], Callable[[Any], None]] = {
            Publish: self._publish,
            PublishOctets: self._publish,
            Rename: self._rename,
            Delete: self._delete,
            MakeDirectory: self._make_directory,
        }

    def prepare(self, commit: Commit) -> None:
        """Get a commit ready but for its fsync. A failure is noted in the commit."""
        if not isinstance(commit, Publication):
            return
        try:
            check_writable(self._storage)
            self._uploads[commit] = upload = self._get_upload(commit)
            upload.describe(commit.terms, commit.digests)
        except RequestRefused as refusal:
            self._fail(commit, refusal)
        except Exception as error:  # noqa: BLE001 - a bug of ours fails one commit, not the queue
            self._fail(commit, _explain_bug(error))

    def _get_upload(self, commit: Publication) -> StoreUpload:
        if not isinstance(commit, PublishOctets):
            return cast(StoreUpload, cast(Publish, commit).upload)
        upload = self._parts.create(commit.path, len(commit.octets))
        upload.write(commit.octets)
        return upload

    def sync(self, commit: Commit) -> None:
        """Bring the octets of a prepared commit to stable storage; any thread. A failure is noted in the commit."""
        upload = self._uploads.get(commit)
        if upload is None or commit.error is not None:
            return
        try:
            upload.sync()
        except RequestRefused as refusal:
            self._fail(commit, refusal)

    def apply(self, commit: Commit) -> None:
        """Let a prepared commit take effect. A failure is noted in the commit."""
        if commit.error is not None:
            return
        try:
            self._acts[type(commit)](commit)
            return
        except RequestRefused as error:
            refusal = error
        except OSError as error:
            refusal = refusal_from_os_error(error, about="path")
        except Exception as error:  # noqa: BLE001 - as in prepare
            refusal = _explain_bug(error)
        self._tree.unmake()
        self._fail(commit, refusal)

    def _fail(self, commit: Commit, refusal: RequestRefused) -> None:
        refuse_commit(commit, refusal)
        upload = self._uploads.get(commit)
        if upload is not None:
            upload.abort()

    def _publish(self, commit: Publication) -> None:
        # Looked at again: the disk may have failed for the second time in this very batch.
        check_writable(self._storage)
        upload, terms = self._uploads[commit], commit.terms
        directory, name = self._find_place(upload.path, terms)
        # Mostly nothing is there, which whatever the terms allow, but for an etag that must be. One call says so and
        # renames; to look and to rename are two, 1.1 µs more of the 13 that all calls for a small file take.
        if terms.if_match is not None or not upload.publish_if_free(name, directory.fileno()):
            self._replace(upload, name, directory, terms)
        commit.etag = upload.etag
        commit.size = upload.received
        commit.digest = upload.content_digest
        self._published.append(commit)
        self._tree.touch(directory, commit)
        self._tree.touch(self._parts.directory, commit)

    def _replace(
        self, upload: StoreUpload, name: bytes, directory: HeldDirectory, terms: Terms
    ) -> None:
        # Somebody outside may still put a directory or a symbolic link there before the rename: the one makes it
        # fail, the other is replaced and never followed.
        check_terms(look_at(name, directory.fileno()), terms)
        try:
            upload.publish_as(
                name, directory.fileno(), replaces=terms.replaces and not terms.if_none_match
            )
        except FileExistsError as error:
            # Between the look and the rename.
            raise explain_taken(terms) from error

    def _find_place(self, path: Path, terms: Terms) -> tuple[HeldDirectory, bytes]:
        try:
            return self._tree.find(path)
        except NotFound:
            if not terms.makes_parents:
                raise
        # Nothing is there: what the terms have to say is said before anything is made.
        check_terms(None, terms)
        return self._tree.make_parents(path)

    def _rename(self, commit: Rename) -> None:
        directory, name = self._tree.find(commit.path)
        source = _open_source(name, directory.fileno())
        try:
            status = os.fstat(source)
            check_match(status, commit.if_match)
            check_writable(self._storage)
            to_directory, to_name = self._tree.find(commit.to, "to")
            if commit.replaces:
                _rename_over(status, name, directory, to_name, to_directory)
            else:
                _rename_no_replace(name, directory, to_name, to_directory)
            commit.etag = compute_etag(os.fstat(source))
        finally:
            close_quietly(source)
        self._tree.touch(directory, commit)
        self._tree.touch(to_directory, commit)

    def _delete(self, commit: Delete) -> None:
        check_writable(self._storage)
        _check_reachable(commit.path)
        directory, name = self._tree.find(commit.path)
        status = _look_at_deletable(name, directory)
        check_match(status, commit.if_match)
        if not stat.S_ISDIR(status.st_mode):
            os.unlink(name, dir_fd=directory.fileno())
        elif commit.is_recursive:
            self._thrown_away[commit] = self._trash.take(name, directory)
            self._tree.touch(self._trash.directory, commit)
            self._tree.forget()
        else:
            os.rmdir(name, dir_fd=directory.fileno())
            self._tree.forget()
        self._tree.touch(directory, commit)

    def _make_directory(self, commit: MakeDirectory) -> None:
        check_writable(self._storage)
        _check_reachable(commit.path)
        directory = self._tree.make_directory(commit.path, makes_parents=commit.makes_parents)
        self._tree.touch(directory, commit)

    def list_to_remember(self) -> list[Commit]:
        """Give the commits that published an upload whose token is to be remembered."""
        return [commit for commit in self._published if self._uploads[commit].is_remembered]

    def remember(self, commit: Commit) -> None:
        """Have an upload's token remembered, when its directory was made durable; any thread."""
        self._uploads[commit].remember(is_durable=commit.error is None)

    def end_batch(self) -> None:
        """Let go for good what was deleted, and forget the batch."""
        for commit, taken in self._thrown_away.items():
            # What may come back with a power cut must come back whole: then it stays until the next start.
            if commit.error is None:
                self._trash.remove(taken)
        self._thrown_away.clear()
        self._published.clear()
        self._uploads.clear()


def refuse_commit(commit: Commit, refusal: RequestRefused) -> None:
    """Note in a commit why it does not take effect, and end the upload that it has."""
    commit.error = refusal
    if isinstance(commit, Publish):
        commit.upload.abort()


def _explain_bug(error: Exception) -> RequestRefused:
    _logger.error("a commit failed by a fault of the store", exc_info=error)
    return Internal("the server failed")


def _check_reachable(path: Path) -> None:
    """Refuse what must never be made or removed, whoever forgot to look at the name."""
    if not path:
        raise NotPermitted("the root itself stays", about="path")
    check_path(path)


def _look_at_deletable(name: bytes, directory: HeldDirectory) -> os.stat_result:
    status = look_at(name, directory.fileno())
    if status is None:
        raise NotFound("not found", about="path")
    if stat.S_ISLNK(status.st_mode):
        raise NotFound("not found: symbolic links are not followed", about="path")
    if status.st_dev != os.fstat(directory.fileno()).st_dev:
        raise NotFound("not found: it lies outside the served file system", about="path")
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
        raise IsDirectory("is a special file", about="path")
    return status


def _open_source(name: bytes, directory: int) -> int:
    """Open what is to be renamed, without its content: what was looked at is what the etag is read from."""
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        source = os.open(name, flags, dir_fd=directory)
    except OSError as error:
        raise refusal_from_os_error(error, about="path") from error
    try:
        mode = os.fstat(source).st_mode
        if stat.S_ISLNK(mode):
            raise NotFound("not found: symbolic links are not followed", about="path")
        if not stat.S_ISREG(mode):
            raise IsDirectory("is a directory or a special file", about="path")
    except OSError as error:
        close_quietly(source)
        raise refusal_from_os_error(error, about="path") from error
    except RequestRefused:
        close_quietly(source)
        raise
    return source


def _rename_over(
    status: os.stat_result,
    name: bytes,
    directory: HeldDirectory,
    to_name: bytes,
    to_directory: HeldDirectory,
) -> None:
    """Rename onto a file, or nothing; ``status`` is of the old name."""
    there = look_at(to_name, to_directory.fileno(), about="to")
    check_terms(there, NO_TERMS, about="to")
    is_same = there is not None and os.path.samestat(status, there)
    if is_same and (name, directory) != (to_name, to_directory):
        # The kernel would do nothing, and both names would stay.
        raise Exists("both names are of the same file already", about="to")
    with _explain_rename():
        os.rename(name, to_name, src_dir_fd=directory.fileno(), dst_dir_fd=to_directory.fileno())


def _rename_no_replace(
    name: bytes, directory: HeldDirectory, to_name: bytes, to_directory: HeldDirectory
) -> None:
    with _explain_rename():
        calls.rename_no_replace(
            name, to_name, src_dir_fd=directory.fileno(), dst_dir_fd=to_directory.fileno()
        )


@contextmanager
def _explain_rename() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        # Both directories are open: it can only be the old name, taken away by somebody outside.
        raise refusal_from_os_error(error, about="path") from error
    except OSError as error:
        refusal = refusal_from_os_error(error, about="to")
        if isinstance(refusal, NotPermitted):
            # It may be either directory that the daemon may not change.
            refusal.about = ""
        raise refusal from error
