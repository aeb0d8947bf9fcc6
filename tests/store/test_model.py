"""Any sequence of requests, alone or many in a batch, against a dict that does the same."""

import dataclasses
import shutil
import tempfile
from pathlib import Path as LocalPath

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from rig import Rig

from filetransfer.errors import NotFound, RequestRefused
from filetransfer.names import Path
from filetransfer.store.interface import (
    NO_DIGESTS,
    Commit,
    Delete,
    MakeDirectory,
    Publish,
    PublishOctets,
    Rename,
    Upload,
)
from filetransfer.store.terms import NO_TERMS, Terms

paths = st.builds(
    lambda directory, name: Path(directory + name),
    st.sampled_from(("", "d/", "d/e/", "missing/", "a/")),
    st.sampled_from(("a", "b", "d", "e", "é" * 3)),
)
bodies = st.binary(max_size=40)
flags = st.booleans()
ETAGS = (None, "the right one", "a wrong one")
"""What a commit may want: any, the one that is there when it is submitted, or one that nothing has."""
terms = st.builds(
    Terms,
    if_match=st.sampled_from(ETAGS),
    if_none_match=flags,
    replaces=flags,
    makes_parents=flags,
)
digests = st.sampled_from((NO_DIGESTS, {"xxh3-128": b"wrong"}))
changes = st.one_of(
    st.builds(
        lambda path, octets, terms, digests: PublishOctets(
            path=path, octets=octets, terms=terms, digests=digests
        ),
        *(paths, bodies, st.one_of(st.just(NO_TERMS), terms), digests),
    ),
    st.builds(
        lambda path, to, replaces, if_match: Rename(
            path=path, to=to, replaces=replaces, if_match=if_match
        ),
        *(paths, paths, flags, st.sampled_from(ETAGS)),
    ),
    st.builds(
        lambda path, is_recursive, if_match: Delete(
            path=path, is_recursive=is_recursive, if_match=if_match
        ),
        *(paths, flags, st.sampled_from(ETAGS)),
    ),
    st.builds(
        lambda path, makes_parents: MakeDirectory(path=path, makes_parents=makes_parents),
        *(paths, flags),
    ),
)


class Model:
    """What a store does, on a dict: from path to octets, or to None for a directory.

    Attributes:
        changed: the paths whose etags are no longer those from before the batch.
    """

    def __init__(self) -> None:
        self.tree: dict[str, bytes | None] = {"": None, "d": None, "d/e": None}
        self.changed: set[str] = set()

    def find(self, path: str, about: str) -> str | None:
        """Give why nothing can be under a path."""
        is_directory = self.tree.get(_get_parent(path), b"") is None
        return None if is_directory else f"not-found {about}"

    def list_missing(self, path: str) -> list[str] | None:
        """Give the directories that are missing on the way to a path; None when something is in the way."""
        missing = []
        while (parent := _get_parent(path)) not in self.tree:
            missing.append(parent)
            path = parent
        return None if self.tree[parent] is not None else missing

    def matches(self, path: str, etag: str | None) -> bool:
        return etag is None or (etag == ETAGS[1] and path not in self.changed)

    def publish(self, path: str, octets: bytes, terms: Terms = NO_TERMS) -> str | None:
        fault = self.find(path, "path")
        missing = self.list_missing(path) if terms.makes_parents else []
        if fault is not None and terms.makes_parents:
            if terms.if_match is not None:
                return "precondition-failed path"
            fault = "not-found path" if missing is None else None
        return fault or self.check(path, terms) or self.put(path, octets, missing or [])

    def check(self, path: str, terms: Terms) -> str | None:
        if path not in self.tree:
            return None if terms.if_match is None else "precondition-failed path"
        if terms.if_none_match:
            return "precondition-failed path"
        if not terms.replaces:
            return "exists path"
        if self.tree[path] is None:
            return "is-directory path"
        return None if self.matches(path, terms.if_match) else "precondition-failed path"

    def put(self, path: str, octets: bytes | None, missing: list[str]) -> None:
        for directory in missing:
            self.tree[directory] = None
            self.touch(directory)
        self.tree[path] = octets
        self.touch(path)

    def touch(self, path: str) -> None:
        self.changed |= {path, _get_parent(path)}

    def get(self, path: str) -> str | None:
        if path in self.tree and self.tree[path] is None:
            return "is-directory path"
        return None if path in self.tree else "not-found path"

    def rename(self, commit: Rename) -> str | None:
        path, to = commit.path, commit.to
        fault = self.get(path)
        if fault is None and not self.matches(path, commit.if_match):
            fault = "precondition-failed path"
        fault = fault or self.find(to, "to")
        if fault is None and to in self.tree:
            if not commit.replaces:
                fault = "exists to"
            elif self.tree[to] is None:
                fault = "is-directory to"
        if fault is None and path != to:
            self.put(to, self.tree.pop(path), [])
            self.touch(path)
        return fault

    def delete(self, commit: Delete) -> str | None:
        path = commit.path
        fault = None if path in self.tree else "not-found path"
        if fault is None and not self.matches(path, commit.if_match):
            fault = "precondition-failed path"
        inner = [other for other in self.tree if other.startswith(f"{path}/")]
        if fault is None and inner and not commit.is_recursive:
            fault = "not-empty path"
        if fault is None:
            for other in [path, *inner]:
                del self.tree[other]
                self.touch(other)
        return fault

    def make_directory(self, commit: MakeDirectory) -> str | None:
        path = commit.path
        missing: list[str] | None = []
        fault = self.find(path, "path")
        if fault is not None and commit.makes_parents:
            missing = self.list_missing(path)
            fault = fault if missing is None else None
        if fault is None and path in self.tree:
            is_there = self.tree[path] is None and commit.makes_parents
            return None if is_there else "exists path"
        return fault or self.put(path, None, missing or [])

    def apply(self, commit: Commit) -> str | None:
        if isinstance(commit, Rename):
            return self.rename(commit)
        if isinstance(commit, Delete):
            return self.delete(commit)
        if isinstance(commit, MakeDirectory):
            return self.make_directory(commit)
        assert isinstance(commit, PublishOctets)
        if commit.digests:
            return "digest-mismatch path"
        return self.publish(commit.path, bytes(commit.octets), commit.terms)

    @property
    def files(self) -> dict[str, bytes]:
        return {path: octets for path, octets in self.tree.items() if octets is not None}


def _get_parent(path: str) -> str:
    return path.rpartition("/")[0]


def describe(refusal: RequestRefused | None) -> str | None:
    return None if refusal is None else f"{refusal.word} {refusal.about}"


class StoreMachine(RuleBasedStateMachine):
    durability = "none"

    def __init__(self) -> None:
        super().__init__()
        self.place = LocalPath(tempfile.mkdtemp())
        self.rig = Rig(self.place, durability=self.durability)
        (self.place / "d/e").mkdir(parents=True)
        self.model = Model()
        self.uploads: list[tuple[Upload, bytes]] = []

    def teardown(self) -> None:
        self.rig.store.close()
        shutil.rmtree(self.place)

    @rule(commits=st.lists(changes, min_size=1, max_size=8))
    def submit(self, commits: list[Commit]) -> None:
        self.model.changed.clear()
        expected = [self.model.apply(commit) for commit in commits]
        for commit in commits:
            self.fill_in_etags(commit)
        assert [describe(refusal) for refusal in self.rig.commit(*commits)] == expected

    def fill_in_etags(self, commit: Commit) -> None:
        if isinstance(commit, (Delete, Rename)) and commit.if_match == ETAGS[1]:
            commit.if_match = self.read_etag(commit.path)
        elif isinstance(commit, PublishOctets) and commit.terms.if_match == ETAGS[1]:
            etag = self.read_etag(commit.path)
            commit.terms = dataclasses.replace(commit.terms, if_match=etag)

    def read_etag(self, path: Path) -> str:
        try:
            return self.rig.store.stat(path).etag
        except NotFound:
            return "none"

    @rule(path=paths, octets=bodies)
    def begin(self, path: Path, octets: bytes) -> None:
        fault = self.model.find(path, "path") or self.model.check(path, NO_TERMS)
        try:
            upload = self.rig.store.open_upload(path, len(octets))
        except RequestRefused as refusal:
            outcome = describe(refusal)
        else:
            outcome = None
            upload.write(octets)
            self.uploads.append((upload, octets))
        assert outcome == fault

    @precondition(lambda self: self.uploads)
    @rule(choice=st.randoms(use_true_random=False))
    def publish(self, choice: object) -> None:
        upload, octets = self.uploads.pop(choice.randrange(len(self.uploads)))  # type: ignore[attr-defined]
        expected = self.model.publish(upload.path, octets)
        assert [describe(refusal) for refusal in self.rig.commit(Publish(upload=upload))] == [
            expected
        ]

    @precondition(lambda self: self.uploads)
    @rule()
    def abort(self) -> None:
        self.uploads.pop()[0].abort()

    @rule(path=paths)
    def get(self, path: Path) -> None:
        try:
            outcome: object = self.rig.get(path)
        except RequestRefused as refusal:
            outcome = describe(refusal)
        assert outcome == (self.model.get(path) or self.model.tree[path])

    @rule()
    def reopen(self) -> None:
        for upload, _ in self.uploads:
            upload.abort()
        self.uploads.clear()
        self.rig.store.close()
        self.rig = Rig(self.place, durability=self.durability)

    @rule(path=paths, to=paths, replaces=flags)
    def copy(self, path: Path, to: Path, *, replaces: bool) -> None:
        terms = Terms(replaces=replaces)
        fault = self.model.get(path) or self.model.find(to, "to")
        if fault is None:
            fault = (self.model.check(to, terms) or "").replace("path", "to") or None
        try:
            upload = self.rig.store.open_copy(path, to, terms=terms)
        except RequestRefused as refusal:
            outcome = describe(refusal)
        else:
            outcome = describe(self.rig.commit(Publish(upload=upload, terms=terms))[0])
            self.model.publish(to, self.model.files[path])
        assert outcome == fault

    @rule(path=st.sampled_from((Path(""), Path("d"), Path("a"))), is_recursive=flags)
    def list(self, path: Path, *, is_recursive: bool) -> None:
        prefix = f"{path}/" if path else ""
        expected = sorted(
            (
                other
                for other in self.model.tree
                if other and other.startswith(prefix)
                if is_recursive or "/" not in other[len(prefix) :]
            ),
            key=lambda other: other.split("/"),
        )
        fault = None
        if self.model.tree.get(path, b"") is not None:
            fault = "not-directory path" if path in self.model.tree else "not-found path"
        try:
            found = self.rig.store.list_directory(path, is_recursive=is_recursive)
        except RequestRefused as refusal:
            outcome = describe(refusal)
        else:
            outcome = None
            assert [entry.path for entry in found.read()] == expected
            found.close()
        assert outcome == fault

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        assert self.rig.list_files() == self.model.files
        assert len(self.rig.list_parts()) == len(self.uploads)


class DurableStoreMachine(StoreMachine):
    durability = "full"


_settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestStore = StoreMachine.TestCase
TestStore.settings = _settings
TestDurableStore = DurableStoreMachine.TestCase
TestDurableStore.settings = _settings
