"""Uploads that are cut off and go on: by token, after anything."""

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path as LocalPath
from typing import Any

import pytest
from faults import Faults
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rig import Rig, count_descriptors, open_rig

from filetransfer.digests import start_digest
from filetransfer.errors import (
    Busy,
    Cancelled,
    Internal,
    NoSpace,
    NotFound,
    NotPermitted,
    OffsetMismatch,
    RequestRefused,
)
from filetransfer.names import Path
from filetransfer.store import kept, resume, sidecar
from filetransfer.store.interface import (
    Publish,
    PublishedUpload,
    Rename,
    Resumption,
    UnfinishedUpload,
)
from filetransfer.store.resumable import ResumableUpload
from filetransfer.store.sidecar import WINDOW
from filetransfer.store.space import Space

TOKEN = bytes(range(16))
BODY = os.urandom(3 * WINDOW + 1000)


def digest(octets: bytes) -> bytes:
    running = start_digest()
    running.update(octets)
    return running.digest()


def begin(rig: Rig, offset: int = 0, **terms: Any) -> ResumableUpload:
    path, size = terms.pop("path", "f"), terms.pop("size", len(BODY))
    resumption = Resumption(token=terms.pop("token", TOKEN), offset=offset, **terms)
    upload = rig.store.open_upload(Path(path), size, resumption)
    assert isinstance(upload, ResumableUpload)
    return upload


def stat(rig: Rig, token: bytes = TOKEN, identity: str = "") -> Any:
    return rig.store.stat_upload(token, identity)


def offset_of(rig: Rig, token: bytes = TOKEN) -> int:
    """Give where the upload goes on, having seen that what is there is right."""
    state = stat(rig, token)
    assert isinstance(state, UnfinishedUpload)
    assert (state.path, state.size) == ("f", len(BODY))
    assert state.digest == digest(BODY[: state.offset])
    return state.offset


def finish(rig: Rig, upload: ResumableUpload) -> Publish:
    """Send what is missing, and publish."""
    upload.write(BODY[upload.received :])
    commit = Publish(upload=upload)
    assert rig.commit(commit) == [None]
    assert rig.get("f") == BODY
    download = rig.store.open_download(Path("f"))
    assert download.digest == digest(BODY)
    download.close()
    return commit


def cut_off(rig: Rig, count: int, *, is_kernel: bool = False, token: bytes = TOKEN) -> None:
    """Upload the first octets and lose the connection."""
    upload = begin(rig, token=token)
    if is_kernel:
        os.pwrite(upload.fileno(), BODY[:count], 0)
        upload.advance(count)
    else:
        upload.write(BODY[:count])
    upload.keep()


def parts_of(rig: Rig) -> list[str]:
    return sorted(name.rpartition(".")[2] for name in rig.list_parts())


def find_part(root: LocalPath, ending: str = "part") -> LocalPath:
    (path,) = (root / ".ft-store/parts").glob(f"*.{ending}")
    return path


CUTS = [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW, len(BODY)]


@pytest.mark.parametrize("is_kernel", [False, True])
@pytest.mark.parametrize("count", CUTS)
def test_an_upload_goes_on_where_it_was_cut_off(rig: Rig, count: int, is_kernel: bool) -> None:
    before = count_descriptors()
    cut_off(rig, count, is_kernel=is_kernel)
    assert count_descriptors() == before
    assert rig.list_files() == {}
    assert offset_of(rig) == count
    upload = begin(rig, offset_of(rig))
    assert upload.received == count
    commit = finish(rig, upload)
    assert parts_of(rig) == ["sidecar"]
    assert stat(rig) == PublishedUpload(Path("f"), len(BODY), commit.etag, digest(BODY))
    assert count_descriptors() == before


@pytest.mark.parametrize("count", CUTS)
def test_it_goes_on_after_a_start(root: LocalPath, durability: str, count: int) -> None:
    with open_rig(root, durability=durability) as rig:
        cut_off(rig, count)
    with open_rig(root, durability=durability) as rig:
        assert offset_of(rig) == count
        commit = finish(rig, begin(rig, count))
    with open_rig(root, durability=durability) as rig:
        assert stat(rig) == PublishedUpload(Path("f"), len(BODY), commit.etag, digest(BODY))


def test_many_cuts_of_one_upload(root: LocalPath) -> None:
    offset = 0
    while offset < len(BODY):
        with open_rig(root) as rig:
            upload = begin(rig, offset)
            upload.write(BODY[offset : offset + 300_001])
            upload.keep()
            offset += 300_001
            assert offset_of(rig) == min(offset, len(BODY))
    with open_rig(root) as rig:
        finish(rig, begin(rig, len(BODY)))


def test_a_request_that_is_late_takes_nothing_away(rig: Rig) -> None:
    """A connection that is dead by now may have asked before the newest one did, and be heard after it."""
    upload = begin(rig, number=5)
    for late in (lambda: begin(rig, number=4), lambda: rig.store.stat_upload(TOKEN, "", 4)):
        with pytest.raises(Busy, match="since"):
            late()
    upload.write(BODY[:1000])
    assert isinstance(rig.store.stat_upload(TOKEN, "", 6), UnfinishedUpload)
    with pytest.raises(Busy, match="since"):
        rig.store.delete_upload(TOKEN, "", 5)
    finish(rig, begin(rig, 1000, number=7))


def test_half_of_it_could_be_removed(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """The part is gone, and its sidecar is not: nobody is sent to where it would go on."""
    cut_off(rig, 2 * WINDOW)
    unlink = os.unlink

    def fail(name: str, *, dir_fd: int) -> None:
        if name.endswith(".sidecar"):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        unlink(name, dir_fd=dir_fd)

    with monkeypatch.context() as patch:
        patch.setattr(kept.os, "unlink", fail)
        with pytest.raises(Internal):
            begin(rig)
    with pytest.raises(NotFound):
        stat(rig)
    finish(rig, begin(rig))


def test_what_cannot_be_resumed_is_removed(plain_rig: Rig) -> None:
    upload = plain_rig.store.open_upload(Path("f"), 10)
    upload.write(b"01234")
    upload.keep()
    upload.keep()
    assert plain_rig.list_parts() == []


def test_an_abort_removes_everything(plain_rig: Rig) -> None:
    upload = begin(plain_rig)
    upload.write(BODY[:WINDOW])
    upload.abort()
    upload.abort()
    upload.keep()
    assert plain_rig.list_parts() == []
    with pytest.raises(NotFound):
        stat(plain_rig)


class TestTerms:
    def test_an_unknown_token(self, plain_rig: Rig) -> None:
        for act in (stat, lambda rig: rig.store.delete_upload(TOKEN, "")):
            with pytest.raises(NotFound):
                act(plain_rig)
        with pytest.raises(NotFound):
            begin(plain_rig, 1)
        assert plain_rig.list_parts() == []

    def test_another_identity_has_another_upload(self, plain_rig: Rig) -> None:
        cut_off(plain_rig, 10)
        with pytest.raises(NotFound):
            stat(plain_rig, identity="somebody")
        with pytest.raises(NotFound):
            begin(plain_rig, 10, identity="somebody")
        begin(plain_rig, identity="somebody", path="g", size=3).keep()
        assert offset_of(plain_rig) == 10
        assert stat(plain_rig, identity="somebody").size == 3

    def test_another_path_or_size_is_not_permitted(self, plain_rig: Rig) -> None:
        owner = begin(plain_rig)
        owner.write(BODY[:10])
        for terms in ({"path": "g"}, {"size": 5}):
            for offset in (0, 10):
                with pytest.raises(NotPermitted):
                    begin(plain_rig, offset, **terms)
        # Who asked for the wrong thing has taken nothing away.
        finish(plain_rig, owner)

    def test_another_offset_is_told_and_harms_nothing(self, plain_rig: Rig) -> None:
        cut_off(plain_rig, 1000)
        for offset in (999, 1001):
            with pytest.raises(OffsetMismatch):
                begin(plain_rig, offset)
        finish(plain_rig, begin(plain_rig, 1000))
        with pytest.raises(OffsetMismatch):
            begin(plain_rig, 1000)

    def test_offset_0_starts_afresh(self, plain_rig: Rig) -> None:
        cut_off(plain_rig, 2 * WINDOW)
        upload = begin(plain_rig)
        assert upload.received == os.fstat(upload.fileno()).st_size == 0
        upload.write(BODY[:5])
        upload.keep()
        assert offset_of(plain_rig) == 5

    def test_offset_0_after_the_publication(self, plain_rig: Rig) -> None:
        finish(plain_rig, begin(plain_rig))
        cut_off(plain_rig, 7)
        assert offset_of(plain_rig) == 7

    def test_a_hopeless_size_leaves_what_there_was(self, plain_rig: Rig) -> None:
        with pytest.raises(NoSpace):
            begin(plain_rig, size=2**62)
        assert plain_rig.list_parts() == []

    def test_delete(self, plain_rig: Rig) -> None:
        cut_off(plain_rig, 10)
        plain_rig.store.delete_upload(TOKEN, "")
        assert plain_rig.list_parts() == []
        finish(plain_rig, begin(plain_rig))
        plain_rig.store.delete_upload(TOKEN, "")
        assert plain_rig.list_parts() == []
        assert plain_rig.get("f") == BODY

    def test_the_token_is_not_shown(self, plain_rig: Rig) -> None:
        resumption = Resumption(token=b"secret-secret-16")
        assert "secret" not in repr(resumption)
        begin(plain_rig, token=resumption.token).keep()
        files = (plain_rig.root / ".ft-store/parts").iterdir()
        for path in files:
            assert b"secret" not in path.read_bytes()
            assert resumption.token.hex() not in path.name


@pytest.mark.parametrize("is_behind", [False, True])
def test_what_the_kernel_moved_is_digested_before_it_is_published(
    plain_rig: Rig, is_behind: bool
) -> None:
    upload = begin(plain_rig)
    os.pwrite(upload.fileno(), BODY, 0)
    upload.advance(len(BODY))
    if is_behind:
        upload.digest_behind()
    finish(plain_rig, upload)


class TestTakingOver:
    def test_the_newest_connection_has_it(self, plain_rig: Rig) -> None:
        told: list[str] = []
        older = begin(plain_rig, on_taken=lambda: told.append("older"))
        older.write(BODY[: WINDOW + 5])
        os.pwrite(older.fileno(), BODY[WINDOW + 5 : WINDOW + 9], WINDOW + 5)
        older.advance(4)
        before = count_descriptors()
        newer = begin(plain_rig, WINDOW + 9)
        assert told == ["older"]
        assert older.fileno() == -1
        assert count_descriptors() == before
        for act in (
            lambda: older.write(b"late"),
            lambda: older.advance(4),
            older.digest_behind,
            older.prepare,
        ):
            with pytest.raises(Cancelled):
                act()
        older.keep()
        older.abort()
        assert isinstance(plain_rig.commit(Publish(upload=older))[0], Cancelled)
        finish(plain_rig, newer)

    def test_stat_takes_it_as_well(self, plain_rig: Rig) -> None:
        older = begin(plain_rig)
        older.write(BODY[:10])
        assert offset_of(plain_rig) == 10
        with pytest.raises(Cancelled):
            older.write(b"late")

    def test_who_cannot_be_stopped_keeps_it(self, plain_rig: Rig) -> None:
        def refuse() -> None:
            raise Busy("it cannot be stopped")

        owner = begin(plain_rig, on_taken=refuse)
        for act in (lambda: stat(plain_rig), lambda: begin(plain_rig)):
            with pytest.raises(Busy):
                act()
        finish(plain_rig, owner)

    @pytest.mark.parametrize("way", ["abort", "keep", "describe"])
    def test_an_owner_that_is_about_to_be_stopped_gives_up(self, plain_rig: Rig, way: str) -> None:
        owner = begin(plain_rig, on_taken=lambda: end(owner))

        def end(owner: ResumableUpload) -> None:
            if way == "describe":
                with pytest.raises(Cancelled):
                    owner.describe()
            else:
                getattr(owner, way)()

        owner.write(BODY[: 2 * WINDOW])
        # Nothing but full windows is known of an owner that closed its files on its own.
        assert offset_of(plain_rig) == 2 * WINDOW
        finish(plain_rig, begin(plain_rig, 2 * WINDOW))

    def test_whoever_comes_during_the_commit_waits_for_it(self, plain_rig: Rig) -> None:
        upload = begin(plain_rig)
        upload.write(BODY)
        upload.prepare()
        states: list[Any] = []
        waiting = threading.Thread(target=lambda: states.append(stat(plain_rig)))
        waiting.start()
        commit = Publish(upload=upload)
        assert plain_rig.commit(commit) == [None]
        waiting.join()
        assert states == [PublishedUpload(Path("f"), len(BODY), commit.etag, digest(BODY))]

    def test_but_not_for_ever(self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(resume, "_MAX_WAIT_SECONDS", 0.01)
        upload = begin(plain_rig)
        upload.write(BODY)
        upload.prepare()
        with pytest.raises(Busy):
            stat(plain_rig)
        # Its connection is lost before it was handed over.
        upload.keep()
        assert offset_of(plain_rig) == len(BODY)

    def test_a_hundred_connections_for_one_upload(self, plain_rig: Rig) -> None:
        """Whoever comes sends a little and is cut off or robbed; what is published is whole."""
        failed: list[BaseException] = []

        def connect(n: int) -> None:
            try:
                for _ in range(10):
                    try:
                        upload = begin(plain_rig, stat(plain_rig).offset)
                        upload.write(BODY[upload.received : upload.received + 40_000 + n])
                        upload.keep()
                    except (NotFound, OffsetMismatch, Cancelled):
                        continue
            except BaseException as error:  # noqa: BLE001 - told by the test
                failed.append(error)

        begin(plain_rig).keep()
        before = count_descriptors()
        threads = [threading.Thread(target=connect, args=(n,)) for n in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        offset = offset_of(plain_rig)
        assert 0 < offset <= len(BODY)
        assert count_descriptors() == before
        finish(plain_rig, begin(plain_rig, offset))


class TestOutcome:
    def test_a_commit_that_fails_leaves_nothing(self, plain_rig: Rig) -> None:
        upload = begin(plain_rig)
        upload.write(BODY)
        (plain_rig.root / "f").mkdir()
        assert plain_rig.commit(Publish(upload=upload))[0] is not None
        assert plain_rig.list_parts() == []
        with pytest.raises(NotFound):
            stat(plain_rig)

    @pytest.mark.parametrize("call", ["pwrite", "ftruncate", "fsync"])
    def test_what_cannot_be_remembered_is_published_all_the_same(
        self, root: LocalPath, faults: Faults, call: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        with open_rig(root) as rig:
            upload = begin(rig)
            upload.write(BODY)
            upload.prepare()
            # The sidecar's is the third fsync: after those of the two directories.
            faults.arm(2 if call == "fsync" else 0, errno.EIO, only=call)
            assert rig.commit(Publish(upload=upload)) == [None]
            assert faults.failed == call
            assert rig.get("f") == BODY
            with pytest.raises(NotFound):
                stat(rig)
            assert rig.list_parts() == []
        assert "could not be remembered" in caplog.text

    def test_a_directory_that_cannot_be_synced(self, root: LocalPath, faults: Faults) -> None:
        with open_rig(root) as rig:
            upload = begin(rig)
            upload.write(BODY)
            upload.prepare()
            faults.arm(0, errno.EIO, only="fsync")
            assert rig.commit(Publish(upload=upload))[0] is not None
            with pytest.raises(NotFound):
                stat(rig)

    def test_an_etag_that_cannot_be_read(self, root: LocalPath, faults: Faults) -> None:
        with open_rig(root) as rig:
            upload = begin(rig)
            upload.write(BODY)
            upload.prepare()
            faults.arm(0, errno.EIO, only="fstat")
            assert rig.commit(Publish(upload=upload))[0] is not None
            faults.disarm()
            with pytest.raises(NotFound):
                stat(rig)
            finish(rig, begin(rig))

    def test_it_is_remembered_wherever_the_file_went(self, plain_rig: Rig) -> None:
        finish(plain_rig, begin(plain_rig))
        plain_rig.commit(Rename(path=Path("f"), to=Path("g")))
        assert stat(plain_rig).path == "f"


class TestDamage:
    """The offset never exceeds what is there and right."""

    @pytest.mark.parametrize("size", [0, 1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 5])
    def test_a_part_that_is_shorter_than_its_records(self, root: LocalPath, size: int) -> None:
        with open_rig(root) as rig:
            cut_off(rig, len(BODY))
        os.truncate(find_part(root), size)
        with open_rig(root) as rig:
            offset = offset_of(rig)
            assert offset == size // WINDOW * WINDOW
            finish(rig, begin(rig, offset))

    @pytest.mark.parametrize("place", [0, WINDOW, 2 * WINDOW + 7, len(BODY) - 1])
    def test_octets_that_are_not_what_was_recorded(self, root: LocalPath, place: int) -> None:
        with open_rig(root) as rig:
            cut_off(rig, len(BODY))
        with open(find_part(root), "r+b") as part:
            part.seek(place)
            part.write(bytes([BODY[place] ^ 1]))
        with open_rig(root) as rig:
            offset = offset_of(rig)
            assert offset == place // WINDOW * WINDOW
            upload = begin(rig, offset)
            upload.write(BODY[offset : offset + 10])
            upload.keep()
        with open_rig(root) as rig:
            # The records of windows behind it are of no use any more.
            assert offset_of(rig) == offset + 10
            finish(rig, begin(rig, offset + 10))

    def test_a_part_that_is_longer_than_its_records(self, root: LocalPath) -> None:
        with open_rig(root) as rig:
            cut_off(rig, WINDOW + 10)
        with open(find_part(root), "ab") as part:
            part.write(b"torn" * WINDOW)
        with open_rig(root) as rig:
            assert offset_of(rig) == WINDOW + 10
            finish(rig, begin(rig, WINDOW + 10))

    @pytest.mark.parametrize("cut", range(1, 200, 9))
    def test_a_torn_sidecar(self, root: LocalPath, cut: int) -> None:
        with open_rig(root) as rig:
            cut_off(rig, len(BODY))
        path = find_part(root, "sidecar")
        os.truncate(path, max(os.path.getsize(path) - cut, 0))
        self.check(root)

    @settings(
        max_examples=60,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
    )
    @given(changes=st.lists(st.tuples(st.integers(0, 260), st.integers(1, 255)), max_size=4))
    def test_any_octets_in_a_sidecar(
        self, tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]]
    ) -> None:
        root = tmp_path_factory.mktemp("any")
        with open_rig(root, durability="none") as rig:
            cut_off(rig, len(BODY))
        path = find_part(root, "sidecar")
        octets = bytearray(path.read_bytes())
        for place, bits in changes:
            octets[place % len(octets)] ^= bits
        path.write_bytes(octets)
        self.check(root)

    def check(self, root: LocalPath) -> None:
        with open_rig(root, durability="none") as rig:
            try:
                offset = offset_of(rig)
            except NotFound:
                assert rig.list_parts() == []
                offset = 0
            finish(rig, begin(rig, offset))

    def test_a_sidecar_that_vanishes_in_between(self, plain_rig: Rig) -> None:
        cut_off(plain_rig, 10)
        path = find_part(plain_rig.root, "sidecar")
        octets = path.read_bytes()
        path.write_bytes(b"torn")
        with pytest.raises(NotFound):
            begin(plain_rig, 10)
        path.write_bytes(octets)
        finish(plain_rig, begin(plain_rig, 10))
        for harm in (lambda: path.write_bytes(b"torn"), path.unlink):
            harm()
            with pytest.raises(NotFound):
                stat(plain_rig)

    def test_an_outcome_that_vanishes_in_between(self, plain_rig: Rig) -> None:
        finish(plain_rig, begin(plain_rig))
        path = find_part(plain_rig.root, "sidecar")
        octets = bytearray(path.read_bytes())
        octets[-1] ^= 1
        path.write_bytes(octets)
        with pytest.raises(NotFound):
            stat(plain_rig)

    def test_an_outcome_of_another_upload(self, root: LocalPath) -> None:
        # A disk may write a block to where another one belongs.
        with open_rig(root) as rig:
            finish(rig, begin(rig, path="f"))
            published = find_part(root, "sidecar")
            begin(rig, path="g", token=b"2" * 16).keep()
        find_part(root).unlink()
        (other,) = set((root / ".ft-store/parts").iterdir()) - {published}
        outcome = published.read_bytes()[-sidecar._OUTCOME_SIZE :]
        other.write_bytes(other.read_bytes()[: -len(outcome)] + outcome)
        with open_rig(root) as rig:
            assert isinstance(stat(rig), PublishedUpload)
            with pytest.raises(NotFound):
                stat(rig, b"2" * 16)

    def test_a_sidecar_of_more_windows_than_are_read_at_once(
        self, plain_rig: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sidecar, "_READ_RECORDS", 2)
        for count in (2 * WINDOW, 3 * WINDOW, len(BODY)):
            cut_off(plain_rig, count)
            plain_rig.store._resumables._entries.popitem()[1].verified = None
            plain_rig.store._resumables.load()
            assert offset_of(plain_rig) == count

    def test_short_reads_and_writes_are_continued(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pread, preadv, pwrite = os.pread, os.preadv, os.pwrite
        monkeypatch.setattr(os, "pread", lambda fd, count, at: pread(fd, min(count, 11), at))
        monkeypatch.setattr(os, "preadv", lambda fd, to, at: preadv(fd, [to[0][:99_999]], at))
        with monkeypatch.context() as shorter, open_rig(root) as rig:
            shorter.setattr(os, "pwrite", lambda fd, octets, at: pwrite(fd, octets[:100_001], at))
            cut_off(rig, len(BODY))
        with open_rig(root) as rig:
            assert offset_of(rig) == len(BODY)


class TestKilled:
    SCRIPT = (
        "import os, sys\n"
        "from filetransfer.store.directory import DirectoryStore\n"
        "from filetransfer.store.interface import Resumption\n"
        "store = DirectoryStore(sys.argv[1], on_committed=print)\n"
        "body = sys.stdin.buffer.read()\n"
        "count = int(sys.argv[2])\n"
        "upload = store.open_upload('f', len(body), Resumption(token=bytes(range(16))))\n"
        "upload.write(body[:count])\n"
        "os.kill(os.getpid(), 9)\n"
    )

    @pytest.mark.parametrize("count", CUTS)
    def test_the_full_windows_stay(self, root: LocalPath, count: int) -> None:
        command = [sys.executable, "-c", self.SCRIPT, str(root), str(count)]
        assert subprocess.run(command, input=BODY, check=False).returncode == -9
        with open_rig(root) as rig:
            offset = offset_of(rig)
            assert offset == count // WINDOW * WINDOW
            finish(rig, begin(rig, offset))


class TestWhatIsKept:
    def test_a_start_removes_what_makes_no_sense(self, root: LocalPath) -> None:
        with open_rig(root) as rig:
            cut_off(rig, 10)
            cut_off(rig, 10, token=b"2" * 16)
            finish(rig, begin(rig, token=b"3" * 16))
            parts = root / ".ft-store/parts"
        first, second = sorted(parts.glob("*.part"))
        first.unlink()
        second.with_suffix(".sidecar").unlink()
        (parts / "x.sidecar").write_bytes(b"no sidecar at all, but longer than its header")
        (parts / "y.sidecar").write_bytes(b"")
        (parts / "link.sidecar").symlink_to("x")
        (parts / "0-1").write_bytes(b"part")
        with open_rig(root) as rig:
            assert parts_of(rig) == ["sidecar"]
            assert isinstance(stat(rig, b"3" * 16), PublishedUpload)

    def test_a_sidecar_that_cannot_be_read_keeps_nobody_from_starting(
        self, root: LocalPath, faults: Faults
    ) -> None:
        with open_rig(root) as rig:
            cut_off(rig, 10)
        faults.arm(0, errno.EIO, only="pread")
        with open_rig(root) as rig:
            assert rig.list_parts() == []

    @pytest.mark.parametrize("is_published", [False, True])
    @pytest.mark.parametrize("step", [99, -99])
    def test_what_nobody_comes_back_for_goes(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch, is_published: bool, step: int
    ) -> None:
        now = time.time()
        with open_rig(root, keep_seconds=100) as rig:
            cut_off(rig, 10)
            if is_published:
                finish(rig, begin(rig, 10))
            monkeypatch.setattr(time, "time", lambda: now + step)
            rig.store.remove_stale_uploads()
            assert stat(rig).path == "f"
        with open_rig(root, keep_seconds=100) as rig:
            assert stat(rig).path == "f"
            monkeypatch.setattr(time, "time", lambda: now + 4 * step)
            with pytest.raises(NotFound):
                stat(rig)
            assert rig.list_parts() != []
            rig.store.remove_stale_uploads()
            assert rig.list_parts() == []

    def test_what_is_stale_goes_at_start_and_when_others_begin(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_rig(root) as rig:
            cut_off(rig, 10)
        with open_rig(root, keep_seconds=-1) as rig:
            assert rig.list_parts() == []
            cut_off(rig, 10)
            active = begin(rig, token=b"2" * 16)
            assert len(rig.list_parts()) == 2
            # Somebody is at work at it: it is not stale, however old.
            rig.store.remove_stale_uploads()
            active.write(BODY[:1])
            assert offset_of(rig, b"2" * 16) == 1

    def test_at_most_so_many_for_an_identity_the_oldest_go(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resume, "MAX_PARTS", 3)
        with open_rig(root, durability="none") as rig:
            begin(rig, token=b"x" * 16, identity="other").keep()
            active = begin(rig, token=b"y" * 16)
            tokens = [bytes([n]) * 16 for n in range(6)]
            for token in tokens:
                cut_off(rig, 10, token=token)
            for token in tokens[:3]:
                with pytest.raises(NotFound):
                    stat(rig, token)
            assert [offset_of(rig, token) for token in tokens[3:]] == [10, 10, 10]
            stat(rig, b"x" * 16, "other")
            active.write(BODY[:1])
            active.abort()

    def test_at_most_so_much_of_the_free_space(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_rig(root, durability="none") as rig:
            monkeypatch.setattr(Space, "measure_free", lambda self: 25 * WINDOW)
            for n in range(3):
                cut_off(rig, WINDOW, token=bytes([n]) * 16)
            with pytest.raises(NotFound):
                stat(rig, bytes(16))
            assert offset_of(rig, b"\1" * 16) == offset_of(rig, b"\2" * 16) == WINDOW

    def test_the_limits_hold_after_a_start(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_rig(root, durability="none") as rig:
            for n in range(3):
                cut_off(rig, WINDOW, token=bytes([n]) * 16)
                os.utime(
                    root / ".ft-store/parts" / f"{kept.make_key(bytes([n]) * 16, '')}.sidecar",
                    (time.time() - 100 + n,) * 2,
                )
        with open_rig(root, durability="none") as rig:
            monkeypatch.setattr(Space, "measure_free", lambda self: 25 * WINDOW)
            begin(rig, token=b"x" * 16).keep()
            with pytest.raises(NotFound):
                stat(rig, bytes(16))
            assert offset_of(rig, b"\1" * 16) == WINDOW

    def test_outcomes_have_a_limit_of_their_own(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(resume, "MAX_OUTCOMES", 2)
        with open_rig(root, durability="none") as rig:
            cut_off(rig, 10)
            for n in range(1, 5):
                finish(rig, begin(rig, token=bytes([n]) * 16))
            assert parts_of(rig) == ["part", "sidecar", "sidecar", "sidecar"]
            assert isinstance(stat(rig, b"\4" * 16), PublishedUpload)
            assert offset_of(rig) == 10

    def test_without_a_look_at_the_space_only_the_number_counts(
        self, plain_rig: Rig, faults: Faults
    ) -> None:
        upload = begin(plain_rig)
        upload.write(BODY[:10])
        faults.arm(0, errno.EIO, only="statvfs")
        upload.keep()
        assert faults.failed == "statvfs"
        assert offset_of(plain_rig) == 10

    def test_what_somebody_has_is_not_evicted(self, plain_rig: Rig) -> None:
        upload = begin(plain_rig)
        upload.write(BODY[:10])
        plain_rig.store._resumables._evict([upload.key, "missing"])
        finish(plain_rig, upload)

    def test_what_cannot_be_removed_is_left_to_the_next_start(
        self, root: LocalPath, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        with open_rig(root) as rig:
            cut_off(rig, 10)
            faults.arm(0, errno.EIO, only="unlink")
            rig.store._resumables._evict([kept.make_key(TOKEN, "")])
            assert "could not be removed" in caplog.text

    def test_what_cannot_be_synced_is_not_kept(
        self, plain_rig: Rig, faults: Faults, caplog: pytest.LogCaptureFixture
    ) -> None:
        upload = begin(plain_rig)
        upload.write(BODY[:10])
        faults.arm(0, errno.EIO, only="fsync")
        upload.keep()
        assert plain_rig.list_parts() == []
        assert "could not be kept" in caplog.text


def cut_and_go_on(rig: Rig) -> None:
    upload = begin(rig)
    try:
        upload.write(BODY[: WINDOW + 1])
        upload.keep()
    except BaseException:
        upload.abort()
        raise
    upload = begin(rig, stat(rig).offset)
    try:
        upload.write(BODY[WINDOW + 1 :])
    except BaseException:
        upload.abort()
        raise
    refusal = rig.commit(Publish(upload=upload))[0]
    if refusal is not None:
        raise refusal


def start_and_go_on(rig: Rig) -> None:
    begin(rig).keep()
    entry = rig.store._resumables._entries.get(kept.make_key(TOKEN, ""))
    if entry is not None:
        # As after a start: it is read again.
        entry.verified = None
        stat(rig)
    begin(rig, token=b"2" * 16).keep()
    rig.store.delete_upload(b"2" * 16, "")
    cut_and_go_on(rig)
    assert isinstance(stat(rig), PublishedUpload)
    begin(rig).keep()


@pytest.mark.parametrize("number", [errno.EIO, errno.EMFILE], ids=errno.errorcode.get)
@pytest.mark.parametrize("scenario", [cut_and_go_on, start_and_go_on])
def test_every_call(
    scenario: Callable[[Rig], None], number: int, tmp_path: LocalPath, faults: Faults
) -> None:
    at = 0
    while True:
        with open_rig(tmp_path / str(at)) as rig:
            before = count_descriptors()
            faults.arm(at, number)
            try:
                scenario(rig)
            except RequestRefused as refusal:
                assert str(tmp_path) not in str(refusal)  # noqa: PT017 - refused or not: both may be
            failed = faults.failed
            faults.disarm()
            assert count_descriptors() == before
            assert rig.list_files() in ({}, {"f": BODY})
            # Whatever happened, the peer can go on: nobody holds the upload for ever.
            try:
                state = stat(rig)
            except NotFound:
                offset = 0
            else:
                offset = getattr(state, "offset", 0)
                if isinstance(state, PublishedUpload):
                    assert rig.list_files() == {"f": BODY}
            assert rig.store._resumables._held == set()
            if offset:
                assert stat(rig).digest == digest(BODY[:offset])
            finish(rig, begin(rig, offset))
        with open_rig(tmp_path / str(at)) as rig:
            assert isinstance(stat(rig), PublishedUpload)
        if failed is None:
            break
        at += 1
