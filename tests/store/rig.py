"""A store in a test's hands: commits that are waited for, and what lies on the disk."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path as LocalPath
from typing import Any

from filetransfer.errors import RequestRefused
from filetransfer.names import Path
from filetransfer.store.directory import DirectoryStore
from filetransfer.store.interface import (
    NO_DIGESTS,
    Commit,
    Delete,
    Digests,
    MakeDirectory,
    Publish,
    PublishOctets,
    Rename,
)
from filetransfer.store.terms import NO_TERMS, Terms

Outcome = RequestRefused | None


class Rig:
    """A directory store below ``root``.

    Attributes:
        store: the store.
        batches: the number of commits of each batch that was told of.
    """

    def __init__(self, root: LocalPath, **settings: Any) -> None:
        self.root = root
        self.batches: list[int] = []
        self._told = threading.Condition()
        self._finished: set[Commit] = set()
        self.store = DirectoryStore(root, on_committed=self._note, **settings)

    def _note(self, batch: list[Commit]) -> None:
        with self._told:
            self.batches.append(len(batch))
            assert not self._finished.intersection(batch), "told twice"
            self._finished.update(batch)
            self._told.notify_all()

    def wait(self, *commits: Commit) -> list[Outcome]:
        """Wait until the commits were told of; give what became of each."""
        with self._told:
            assert self._told.wait_for(lambda: self._finished.issuperset(commits), 60)
        return [commit.error for commit in commits]

    def commit(self, *commits: Commit) -> list[Outcome]:
        """Submit the commits together; give what became of each."""
        self.store.submit(commits)
        return self.wait(*commits)

    def put(
        self, path: str, octets: bytes, terms: Terms = NO_TERMS, digests: Digests = NO_DIGESTS
    ) -> Outcome:
        """Store a small file."""
        commit = PublishOctets(path=Path(path), octets=octets, terms=terms, digests=digests)
        return self.commit(commit)[0]

    def upload(
        self, path: str, octets: bytes, terms: Terms = NO_TERMS, digests: Digests = NO_DIGESTS
    ) -> Outcome:
        """Store a file as a bulk body: the first half written, the second moved by the kernel."""
        half = len(octets) // 2
        upload = self.store.open_upload(Path(path), len(octets), terms=terms)
        try:
            upload.write(octets[:half])
            os.pwrite(upload.fileno(), octets[half:], upload.received)
            upload.advance(len(octets) - half)
        except BaseException:
            upload.abort()
            raise
        return self.commit(Publish(upload=upload, terms=terms, digests=digests))[0]

    def change(self, path: str, to: str) -> Outcome:
        """Rename a file."""
        return self.commit(Rename(path=Path(path), to=Path(to)))[0]

    def delete(self, path: str, **terms: Any) -> Outcome:
        """Remove a file or directory."""
        return self.commit(Delete(path=Path(path), **terms))[0]

    def make_directory(self, path: str, *, makes_parents: bool = False) -> Outcome:
        """Make a directory."""
        return self.commit(MakeDirectory(path=Path(path), makes_parents=makes_parents))[0]

    def list_trash(self) -> list[str]:
        """Give the names of what is in the trash, when nothing more can be removed."""
        self.store._trash.wait()
        return os.listdir(self.root / ".ft-store" / "trash")

    def read_etag(self, path: str) -> str:
        """Give a file's etag."""
        download = self.store.open_download(Path(path))
        download.close()
        return download.etag

    def get(self, path: str) -> bytes:
        """Read a file, whole."""
        download = self.store.open_download(Path(path))
        try:
            return download.read(0, download.size)
        finally:
            download.close()

    def list_files(self) -> dict[str, bytes]:
        """Give every regular file that a request may name, read behind the store's back."""
        found = {}
        for directory, directories, names in os.walk(self.root):
            # The trash is being emptied.
            directories[:] = [name for name in directories if name != ".ft-store"]
            for name in names:
                path = LocalPath(directory, name)
                if path.is_file() and not path.is_symlink():
                    found[str(path.relative_to(self.root))] = path.read_bytes()
        return found

    def list_parts(self) -> list[str]:
        """Give the names of the parts there are."""
        return os.listdir(self.root / ".ft-store" / "parts")


@contextmanager
def open_rig(root: LocalPath, **settings: Any) -> Iterator[Rig]:
    """Open a store, and close it."""
    rig = Rig(root, **settings)
    try:
        yield rig
    finally:
        rig.store.close()


def count_descriptors() -> int:
    """Give the number of descriptors that this process has open."""
    return len(os.listdir("/proc/self/fd"))
