"""Power cuts in the middle of uploads that can be resumed: what is told of them afterwards is there, and right."""

import threading
import time
from pathlib import Path
from random import Random

import cuts
import forgetful
import pytest
import xxhash

from filetransfer.errors import NotFound
from filetransfer.names import Path as Name
from filetransfer.store.directory import DirectoryStore
from filetransfer.store.interface import Commit, Publish, PublishedUpload, Resumption
from filetransfer.store.resumable import ResumableUpload
from filetransfer.store.sidecar import WINDOW

UPLOADS = 4
PIECE = 100_000


def make_body(n: int) -> bytes:
    return Random(n).randbytes(2 * WINDOW + 5000 + n * 300_000)


BODIES = [make_body(n) for n in range(UPLOADS)]


class Peer:
    """Uploads one body, is cut off in the middle, and goes on.

    Attributes:
        kept: from the moment at which the upload was known to be kept to what must be there after it.
        published: the moment of the acknowledgement.
    """

    def __init__(self, n: int) -> None:
        self.name = Name(f"f{n}")
        self.token = bytes([n]) * 16
        self.body = BODIES[n]
        self.kept: list[tuple[float, int]] = []
        self.published = float("inf")

    def begin(self, store: DirectoryStore, offset: int) -> ResumableUpload:
        upload = store.open_upload(
            self.name, len(self.body), Resumption(token=self.token, offset=offset)
        )
        assert isinstance(upload, ResumableUpload)
        return upload

    def send(self, upload: ResumableUpload, end: int) -> None:
        while upload.received < end:
            upload.write(self.body[upload.received : min(upload.received + PIECE, end)])

    def publish(self, store: DirectoryStore, upload: ResumableUpload) -> None:
        told = threading.Event()
        commit = Publish(upload=upload, done=lambda commit: told.set())
        store.submit([commit])
        assert told.wait(60)
        assert commit.error is None
        self.published = time.monotonic()

    def run(self, store: DirectoryStore) -> None:
        offset = 0
        for end in (WINDOW + 7 * PIECE, 2 * WINDOW + 1):
            upload = self.begin(store, offset)
            self.send(upload, end)
            upload.keep()
            self.kept.append((time.monotonic(), end))
            offset = end
        upload = self.begin(store, offset)
        self.send(upload, len(self.body))
        self.publish(store, upload)

    def judge(self, store: DirectoryStore, moment: float) -> int:
        """Ask a store that was started after a cut; give the offset."""
        try:
            state = store.stat_upload(self.token, "")
        except NotFound:
            offset = 0
        else:
            assert (state.path, state.size) == (self.name, len(self.body))
            offset = len(self.body) if isinstance(state, PublishedUpload) else state.offset
            assert state.digest == xxhash.xxh3_128_digest(self.body[:offset])
            if isinstance(state, PublishedUpload):
                self.expect_whole(store)
                return offset
        assert not self.published < moment, "an acknowledged upload is not remembered"
        # When the upload goes on, the record of the window that was not full is written anew: a cut may leave the
        # new record and not the octets, and that window begins again.
        least = max((count for kept, count in self.kept if kept < moment), default=0)
        least -= least % WINDOW
        # Publishing takes the part away before it is remembered: then the file is there, or the part is.
        assert offset >= least or self.is_whole(store)
        upload = self.begin(store, offset)
        self.send(upload, len(self.body))
        self.publish(store, upload)
        self.expect_whole(store)
        return offset

    def is_whole(self, store: DirectoryStore) -> bool:
        try:
            self.expect_whole(store)
        except NotFound:
            return False
        return True

    def expect_whole(self, store: DirectoryStore) -> None:
        download = store.open_download(self.name)
        assert download.read(0, download.size) == self.body
        download.close()


def tell(batch: list[Commit]) -> None:
    for commit in batch:
        commit.done(commit)


def cut(directory: Path, *, seed: int, count: int) -> list[int]:
    """Record a run, cut its power again and again; give the offsets at which uploads went on."""
    mountpoint = directory / "forgetful"
    peers = [Peer(n) for n in range(UPLOADS)]
    with forgetful.record(mountpoint, directory / "log") as recording:
        store = DirectoryStore(mountpoint, on_committed=tell)
        threads = [threading.Thread(target=peer.run, args=(store,)) for peer in peers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        store.close()
    random = Random(seed)
    moments = [moment for peer in peers for moment, _ in peer.kept]
    moments += [peer.published for peer in peers]
    state = cuts.Names()
    offsets = []
    plan = cuts.plan_cuts(recording.events, moments, count, random)
    published = [peer.published for peer in peers]
    for which, moment in enumerate(cuts.replay_to_cuts(state, recording.events, plan)):
        root = directory / f"cut{which}"
        root.mkdir()
        for path, octets in sorted(state.draw(Random(moment.seed), moment.manner).items()):
            if path.endswith("/"):
                (root / path).mkdir()
            else:
                (root / path).write_bytes(octets)
        store = DirectoryStore(root, durability="none", on_committed=tell)
        for peer, acknowledged in zip(peers, published, strict=True):
            peer.published = acknowledged
            offsets.append(peer.judge(store, moment.moment))
        store.close()
    return offsets


@pytest.mark.needs_root("mount")
def test_uploads_go_on_after_power_cuts(tmp_path: Path) -> None:
    offsets = cut(tmp_path, seed=1, count=120)
    # The cuts are of all kinds: at the beginning, within, and after the end.
    assert 0 in offsets
    assert any(0 < offset < 2 * WINDOW for offset in offsets)
    assert any(offset > 2 * WINDOW for offset in offsets)


@pytest.mark.long
@pytest.mark.needs_root("mount")
@pytest.mark.parametrize("seed", range(10, 13))
def test_uploads_go_on_after_many_power_cuts(tmp_path: Path, seed: int) -> None:
    cut(tmp_path, seed=seed, count=300)
