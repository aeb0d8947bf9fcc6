"""Any sequence of requests, alone or many in a batch, against a dict that does the same."""

import shutil
import tempfile
from pathlib import Path as LocalPath

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from rig import Rig

from filetransfer.errors import RequestRefused
from filetransfer.names import Path
from filetransfer.store.interface import Commit, Publish, PublishOctets, Rename, Upload

DIRECTORIES = ("", "d/", "d/e/")
paths = st.builds(
    lambda directory, name: Path(directory + name),
    st.sampled_from((*DIRECTORIES, "missing/", "a/")),
    st.sampled_from(("a", "b", "d", "é" * 3)),
)
bodies = st.binary(max_size=40)
changes = st.one_of(
    st.builds(lambda path, octets: PublishOctets(path=path, octets=octets), paths, bodies),
    st.builds(lambda path, to: Rename(path=path, to=to), paths, paths),
)


class Model:
    """What a store does, on a dict."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def find(self, path: str, about: str) -> str | None:
        """Give why nothing can be under a path."""
        directory = path[: path.rfind("/") + 1]
        return None if directory in DIRECTORIES else f"not-found {about}"

    def publish(self, path: str, octets: bytes) -> str | None:
        fault = self.find(path, "path")
        if fault is None and f"{path}/" in DIRECTORIES:
            fault = "is-directory path"
        if fault is None:
            self.files[path] = octets
        return fault

    def get(self, path: str) -> str | None:
        if f"{path}/" in DIRECTORIES:
            return "is-directory path"
        return None if path in self.files else "not-found path"

    def rename(self, path: str, to: str) -> str | None:
        fault = self.get(path) or self.find(to, "to")
        if fault is None and (to in self.files or f"{to}/" in DIRECTORIES):
            fault = "exists to"
        if fault is None:
            self.files[to] = self.files.pop(path)
        return fault

    def apply(self, commit: Commit) -> str | None:
        if isinstance(commit, Rename):
            return self.rename(commit.path, commit.to)
        assert isinstance(commit, PublishOctets)
        return self.publish(commit.path, bytes(commit.octets))


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
        expected = [self.model.apply(commit) for commit in commits]
        assert [describe(refusal) for refusal in self.rig.commit(*commits)] == expected

    @rule(path=paths, octets=bodies)
    def begin(self, path: Path, octets: bytes) -> None:
        fault = Model().publish(path, b"")
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
        assert outcome == (self.model.get(path) or self.model.files[path])

    @rule()
    def reopen(self) -> None:
        for upload, _ in self.uploads:
            upload.abort()
        self.uploads.clear()
        self.rig.store.close()
        self.rig = Rig(self.place, durability=self.durability)

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
