"""The scrub: what it finds a file to be, what it marks, and what it leaves alone."""

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path as LocalPath
from typing import Any

import pytest
from faults import Faults
from rig import Rig, count_descriptors, open_rig

from filetransfer.errors import Internal
from filetransfer.names import Path
from filetransfer.store import beneath, calls, records, scrub
from filetransfer.store.scrub import Finding, Outcome, Scrub, measure

KIB = 1024


def flip_bit(path: LocalPath, offset: int = 0, *, is_hidden: bool = True) -> None:
    """Change one bit of a file in place; hidden: as a disk does it, without another modification time."""
    status = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(offset)
        (octet,) = file.read(1)
        file.seek(offset)
        file.write(bytes([octet ^ 0x10]))
    modified = status.st_mtime_ns if is_hidden else status.st_mtime_ns + 1
    os.utime(path, ns=(status.st_atime_ns, modified))


class Scrubbed:
    """The outcomes of one scrub."""

    def __init__(self, root: LocalPath, *paths: bytes, **settings: Any) -> None:
        self.outcomes: list[Outcome] = []
        scrub = Scrub(root, paths or (b"",), on_outcome=self.outcomes.append, **settings)
        scrub.start()
        assert scrub.wait()
        scrub.close()
        self.octets = scrub.octets

    @property
    def findings(self) -> dict[str, Finding]:
        found = {os.fsdecode(outcome.path): outcome.finding for outcome in self.outcomes}
        assert len(found) == len(self.outcomes), "one file, two outcomes"
        return found

    @property
    def notes(self) -> dict[str, str]:
        return {os.fsdecode(outcome.path): outcome.note for outcome in self.outcomes}


def find(root: LocalPath, *paths: bytes, **settings: Any) -> dict[str, Finding]:
    return Scrubbed(root, *paths, **settings).findings


def refuse_to_get(rig: Rig, path: str) -> None:
    begins = [rig.store.open_download]
    if rig.store._root._can_open_cached:
        begins.append(rig.store.open_cached_download)  # type: ignore[arg-type]
    for begin in begins:
        with pytest.raises(Internal) as caught:
            begin(Path(path))
        assert "damaged" in str(caught.value)
        assert str(rig.root) not in str(caught.value)
        assert caught.value.about == "path"


@pytest.fixture
def served(root: LocalPath) -> Iterator[Rig]:
    """A store that serves two files, one of them large."""
    with open_rig(root) as rig:
        rig.put("small", b"0123456789")
        (root / "d").mkdir()
        rig.upload("d/large", os.urandom(3 * scrub.WINDOW + 1))
        yield rig


@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_as_it_was_sent_is_good(served: Rig, threads: int) -> None:
    before = count_descriptors()
    scrubbed = Scrubbed(served.root, threads=threads)
    assert count_descriptors() == before
    assert scrubbed.findings == {"small": Finding.GOOD, "d/large": Finding.GOOD}
    assert scrubbed.octets == 10 + 3 * scrub.WINDOW + 1
    assert served.get("small") == b"0123456789"


@pytest.mark.parametrize("offset", [0, scrub.WINDOW - 1, scrub.WINDOW, 3 * scrub.WINDOW])
def test_one_bit_is_found_marked_and_not_served(served: Rig, offset: int) -> None:
    flip_bit(served.root / "d/large", offset)
    download = served.store.open_download(Path("d/large"))
    for _ in range(2):
        assert find(served.root) == {"small": Finding.GOOD, "d/large": Finding.DAMAGED}
        refuse_to_get(served, "d/large")
    # Whoever reads it already goes on.
    download.read(0, 1)
    download.close()


def test_of_a_hundred_bits_a_hundred_are_found(root: LocalPath) -> None:
    with open_rig(root) as rig:
        names = [f"f{n}" for n in range(120)]
        for n, name in enumerate(names):
            rig.put(name, os.urandom(1 + n * 37))
        for n, name in enumerate(names[:100]):
            flip_bit(root / name, n * 36)
        findings = find(root, threads=4)
    assert {name for name, it in findings.items() if it is Finding.DAMAGED} == set(names[:100])
    assert {name for name, it in findings.items() if it is Finding.GOOD} == set(names[100:])


def test_the_mark_takes_no_room(served: Rig) -> None:
    path = served.root / "small"
    before = os.getxattr(path, records.ATTRIBUTE)
    flip_bit(path)
    find(served.root)
    assert len(os.getxattr(path, records.ATTRIBUTE)) == len(before)


def test_a_new_put_clears_the_mark(served: Rig) -> None:
    flip_bit(served.root / "small")
    find(served.root)
    served.put("small", b"sent again")
    assert served.get("small") == b"sent again"
    assert find(served.root)["small"] is Finding.GOOD


def test_a_damaged_file_can_be_renamed_and_stays_damaged(served: Rig) -> None:
    flip_bit(served.root / "small")
    find(served.root)
    assert served.change("small", "other") is None
    refuse_to_get(served, "other")
    assert find(served.root)["other"] is Finding.DAMAGED


@pytest.mark.parametrize("is_marked_before", [True, False])
def test_accepted_damage_is_the_truth_from_then_on(served: Rig, is_marked_before: bool) -> None:
    flip_bit(served.root / "small")
    if is_marked_before:
        find(served.root)
    assert find(served.root, b"small", is_accept=True) == {"small": Finding.ACCEPTED}
    assert served.get("small") == b" 123456789"
    assert find(served.root)["small"] is Finding.GOOD


def test_accepting_changes_nothing_of_good_files(served: Rig) -> None:
    path = served.root / "small"
    before = os.stat(path).st_ctime_ns
    assert find(served.root, is_accept=True)["small"] is Finding.GOOD
    assert os.stat(path).st_ctime_ns == before


def test_octets_that_come_back_clear_the_mark(served: Rig) -> None:
    flip_bit(served.root / "small")
    find(served.root)
    flip_bit(served.root / "small")
    refuse_to_get(served, "small")
    assert find(served.root, is_check=True)["small"] is Finding.REPAIRED
    refuse_to_get(served, "small")
    assert find(served.root)["small"] is Finding.REPAIRED
    assert served.get("small") == b"0123456789"
    assert find(served.root)["small"] is Finding.GOOD


def test_an_edit_from_outside_is_no_damage(served: Rig) -> None:
    flip_bit(served.root / "small", is_hidden=False)
    assert find(served.root)["small"] is Finding.NEW
    assert find(served.root)["small"] is Finding.GOOD
    (served.root / "small").write_bytes(b"shorter")
    assert find(served.root)["small"] is Finding.NEW
    download = served.store.open_download(Path("small"))
    assert download.digest
    download.close()
    # What was recorded of the edited file counts as much as what was recorded of an upload.
    flip_bit(served.root / "small")
    assert find(served.root)["small"] is Finding.DAMAGED


def test_an_edit_makes_the_mark_void(served: Rig) -> None:
    flip_bit(served.root / "small")
    find(served.root)
    (served.root / "small").write_bytes(b"restored")
    assert served.get("small") == b"restored"
    assert find(served.root)["small"] is Finding.NEW


@pytest.mark.parametrize("change", ["chmod", "link", "rename"])
def test_a_change_of_the_change_time_hides_no_damage(served: Rig, change: str) -> None:
    path = served.root / "small"
    flip_bit(path)
    if change == "chmod":
        path.chmod(0o600)
    elif change == "link":
        os.link(path, served.root / "other")
    else:
        os.rename(path, served.root / "small2")
    findings = find(served.root)
    assert findings.pop("d/large") is Finding.GOOD
    assert set(findings.values()) == {Finding.DAMAGED}


def test_a_file_from_outside_is_recorded(root: LocalPath) -> None:
    root.mkdir()
    (root / "f").write_bytes(b"f")
    (root / "empty").write_bytes(b"")
    assert set(find(root).values()) == {Finding.NEW}
    assert set(find(root).values()) == {Finding.GOOD}


def test_a_check_writes_nothing(served: Rig) -> None:
    (served.root / "new").write_bytes(b"new")
    flip_bit(served.root / "small")
    before = {path: os.stat(path).st_ctime_ns for path in served.root.rglob("*")}
    expected = {"small": Finding.DAMAGED, "d/large": Finding.GOOD, "new": Finding.NEW}
    assert find(served.root, is_check=True) == expected
    assert find(served.root, is_check=True) == expected
    assert {path: os.stat(path).st_ctime_ns for path in served.root.rglob("*")} == before
    served.get("small")


def test_a_cold_scrub_finds_the_same(served: Rig) -> None:
    flip_bit(served.root / "small")
    os.sync()
    assert find(served.root, is_cold=True)["small"] is Finding.DAMAGED


class TestWhereItGoes:
    def test_not_into_links_special_files_and_the_store(
        self, served: Rig, open_beneath: beneath.Opener
    ) -> None:
        outside = served.root.parent / "outside"
        outside.mkdir()
        (outside / "f").write_bytes(b"f")
        (served.root / "link").symlink_to(outside)
        (served.root / "d/link").symlink_to(outside / "f")
        (served.root / "dangling").symlink_to("nowhere")
        os.mkfifo(served.root / "fifo")
        (served.root / "d/.ft-store").mkdir()
        (served.root / "d/.ft-store/f").write_bytes(b"not ours")
        upload = served.store.open_upload(Path("f"), 1)
        upload.write(b"f")
        assert set(find(served.root)) == {"small", "d/large", "d/.ft-store/f"}
        upload.abort()
        with pytest.raises(OSError, match="No data"):
            os.getxattr(outside / "f", records.ATTRIBUTE)

    def test_into_what_is_named(self, served: Rig, open_beneath: beneath.Opener) -> None:
        (served.root / "link").symlink_to("small")
        os.mkfifo(served.root / "fifo")
        scrubbed = Scrubbed(served.root, b"d", b"link", b"fifo", b"missing", b"missing/f")
        assert scrubbed.findings == {
            "d/large": Finding.GOOD,
            "link": Finding.UNREADABLE,
            "fifo": Finding.UNREADABLE,
            "missing": Finding.UNREADABLE,
            "missing/f": Finding.UNREADABLE,
        }
        assert scrubbed.notes["missing"] == "cannot be opened: No such file or directory"
        assert find(served.root, b"small") == {"small": Finding.GOOD}

    def test_into_names_that_are_no_text(self, root: LocalPath, open_beneath: object) -> None:
        root.mkdir()
        name = os.fsdecode(b"\xff\x1b")
        (root / name).mkdir()
        (root / name / name).write_bytes(b"f")
        assert find(root) == {f"{name}/{name}": Finding.NEW}

    def test_it_may_be_measured_before(self, served: Rig) -> None:
        assert sorted(measure(served.root, [b""])) == [10, 3 * scrub.WINDOW + 1]
        assert sorted(measure(served.root, [b"small", b"d"])) == [3 * scrub.WINDOW + 1]

    def test_a_root_that_is_not_there(self, root: LocalPath) -> None:
        with pytest.raises(FileNotFoundError):
            find(root)


class TestWhatHappensMeanwhile:
    """Whatever others do to a file while it is scrubbed is no damage."""

    @pytest.fixture
    def on_read(self, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
        """Have something done at the end of each reading of a file, and nothing when nothing is left to do."""

        def install(*acts: Callable[[], object]) -> None:
            preadv, left = os.preadv, iter(acts)

            def read(descriptor: int, buffers: Any, offset: int, *flags: int) -> int:
                count = preadv(descriptor, buffers, offset, *flags)
                if not count:
                    next(left, lambda: None)()
                return count

            monkeypatch.setattr(os, "preadv", read)

        return install

    def test_an_edit(self, served: Rig, on_read: Callable[..., None]) -> None:
        on_read(*[lambda: flip_bit(served.root / "small", is_hidden=False)] * 3)
        assert find(served.root, b"small") == {"small": Finding.CHANGING}

    def test_an_edit_that_ends(self, served: Rig, on_read: Callable[..., None]) -> None:
        on_read(lambda: (served.root / "small").write_bytes(b"edited"))
        assert find(served.root, b"small") == {"small": Finding.NEW}
        assert find(served.root, b"small") == {"small": Finding.GOOD}

    def test_an_edit_while_damage_is_read_for_the_second_time(
        self, served: Rig, on_read: Callable[..., None]
    ) -> None:
        flip_bit(served.root / "small")
        on_read(lambda: None, lambda: (served.root / "small").write_bytes(b"edited"))
        assert find(served.root, b"small") == {"small": Finding.NEW}

    def test_a_put(self, served: Rig, on_read: Callable[..., None]) -> None:
        on_read(lambda: served.put("small", b"another"))
        # The old one is read again through the same descriptor, and is as good as ever.
        assert find(served.root, b"small") == {"small": Finding.GOOD}
        assert find(served.root, b"small") == {"small": Finding.GOOD}

    def test_a_file_that_shrinks(self, served: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
        preadv = os.preadv

        def read(*arguments: Any) -> int:
            # Not reached when it is read again: it is shorter then.
            if arguments[2] == scrub.WINDOW:
                os.truncate(served.root / "d/large", 5)
            return preadv(*arguments)

        monkeypatch.setattr(os, "preadv", read)
        assert find(served.root, b"d/large") == {"d/large": Finding.NEW}

    @pytest.mark.parametrize("becomes", ["nothing", "directory", "link", "fifo"])
    def test_a_file_that_is_gone_before_it_is_opened(
        self, served: Rig, open_beneath: beneath.Opener, becomes: str
    ) -> None:
        found = iter(list(scrub.walk(beneath.Root(served.root), [b""])))
        (served.root / "small").unlink()
        if becomes == "directory":
            (served.root / "small").mkdir()
        elif becomes == "link":
            (served.root / "small").symlink_to("d/large")
        elif becomes == "fifo":
            os.mkfifo(served.root / "small")
        outcomes: list[Outcome] = []
        run = Scrub(served.root, on_outcome=outcomes.append)
        run._found = found  # type: ignore[assignment]
        run.start()
        run.wait()
        assert [outcome.path for outcome in outcomes] == [b"d/large"]

    def test_reading_that_differs_is_not_called_damage(
        self, served: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        preadv, flips = os.preadv, iter([1])

        def read(descriptor: int, buffers: Any, *rest: int) -> int:
            count = preadv(descriptor, buffers, *rest)
            buffers[0][0] ^= next(flips, 0)
            return count

        monkeypatch.setattr(os, "preadv", read)
        scrubbed = Scrubbed(served.root, b"small")
        assert scrubbed.findings == {"small": Finding.UNREADABLE}
        assert "memory" in scrubbed.notes["small"]
        served.get("small")

    def test_many_writers_beside_it(self, served: Rig) -> None:
        is_over = threading.Event()

        def write(n: int) -> None:
            turn = 0
            while not is_over.is_set():
                turn += 1
                assert served.put(f"f{n}", os.urandom(turn * 997 % 300_000)) is None
                if served.change(f"f{n}", f"g{n}{turn % 2}") is not None:
                    served.change(f"g{n}{turn % 2}", f"h{n}{turn}")

        writers = [threading.Thread(target=write, args=(n,)) for n in range(3)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(15):
                findings = set(find(served.root, threads=2).values())
                assert not findings & {Finding.DAMAGED, Finding.NEW, Finding.UNREADABLE}
        finally:
            is_over.set()
            for writer in writers:
                writer.join()


class TestWhatFails:
    @pytest.mark.parametrize("number", [errno.EIO, errno.EACCES, errno.ENOMEM])
    def test_every_call(
        self, tmp_path: LocalPath, faults: Faults, open_beneath: object, number: int
    ) -> None:
        at = 0
        while True:
            root = tmp_path / str(at)
            with open_rig(root) as rig:
                rig.put("good", b"good")
                rig.put("bad", b"bad" * 1000)
                flip_bit(root / "bad")
                (root / "new").write_bytes(b"new")
                before = count_descriptors()
                faults.arm(at, number)
                try:
                    scrubbed = Scrubbed(root)
                except OSError:
                    scrubbed = None
                failed = faults.failed
                faults.disarm()
                assert count_descriptors() == before
                if scrubbed is not None:
                    bad = scrubbed.findings.get("bad")
                    is_told = Finding.UNREADABLE in scrubbed.findings.values()
                    assert bad in (Finding.DAMAGED, Finding.UNREADABLE) or is_told
                    if scrubbed.findings.get("good") is Finding.DAMAGED:
                        assert number == errno.EIO
                        assert "Input/output error" in scrubbed.notes["good"]
                    rig.get("good")
                find(root)
                refuse_to_get(rig, "bad")
            if failed is None:
                break
            at += 1

    def test_octets_that_cannot_be_read_are_damage(self, served: Rig, faults: Faults) -> None:
        faults.arm(0, errno.EIO, only="preadv")
        scrubbed = Scrubbed(served.root, b"small")
        assert scrubbed.findings == {"small": Finding.DAMAGED}
        assert scrubbed.notes["small"] == "cannot be read: Input/output error"

    def test_a_mark_that_cannot_be_written_is_told(self, served: Rig, faults: Faults) -> None:
        flip_bit(served.root / "small")
        for is_accept, said in ((False, "not marked"), (True, "not recorded")):
            faults.arm(0, errno.EROFS, only="setxattr")
            scrubbed = Scrubbed(served.root, b"small", is_accept=is_accept)
            assert scrubbed.findings == {"small": Finding.DAMAGED}
            assert scrubbed.notes["small"] == f"{said}: Read-only file system"

    def test_without_attributes_nothing_can_be_verified(self, served: Rig, faults: Faults) -> None:
        faults.arm(0, errno.ENOTSUP, only="getxattr", times=2)
        assert set(find(served.root).values()) == {Finding.UNVERIFIABLE}

    def test_without_attributes_files_are_served(self, served: Rig, faults: Faults) -> None:
        faults.arm(0, errno.ENOTSUP, only="getxattr")
        assert served.get("small") == b"0123456789"

    @pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.EINVAL])
    def test_an_older_kernel_reads_through_the_page_cache(
        self, served: Rig, monkeypatch: pytest.MonkeyPatch, number: int
    ) -> None:
        preadv, made = os.preadv, []

        def read(*arguments: Any) -> int:
            made.append(arguments[3:])
            if made[-1] not in [(), (0,)]:
                raise OSError(number, os.strerror(number))
            return preadv(*arguments)

        monkeypatch.setattr(os, "preadv", read)
        assert set(find(served.root).values()) == {Finding.GOOD}
        assert len([flags for flags in made if flags not in [(), (0,)]]) == 1

    def test_somebody_else_s_file_is_read_with_its_access_time(
        self, served: Rig, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        opened = calls.openat2

        def refuse(directory: int, path: bytes, flags: int, resolve: int) -> int:
            if flags & os.O_NOATIME:
                raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
            return opened(directory, path, flags, resolve)

        monkeypatch.setattr(calls, "openat2", refuse)
        assert find(served.root, b"small") == {"small": Finding.GOOD}

    def test_whoever_is_told_may_fail(self, served: Rig) -> None:
        run = Scrub(served.root, threads=2, on_outcome=lambda outcome: 1 / 0)
        run.start()
        with pytest.raises(ZeroDivisionError):
            run.wait()
        run.close()


def test_it_ends_when_told_to(served: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = []
    run = Scrub(served.root, [b"d/large", b"small"], on_outcome=outcomes.append)
    preadv, goes_on = os.preadv, threading.Event()

    def read(*arguments: Any) -> int:
        goes_on.wait()
        return preadv(*arguments)

    monkeypatch.setattr(os, "preadv", read)
    run.start()
    assert not run.wait(0.01)
    run.is_stopping = True
    goes_on.set()
    assert run.wait()
    run.close()
    assert outcomes == []


@pytest.mark.parametrize(("age_seconds", "waits"), [(0, True), (60, False), (-60, False)])
def test_a_time_that_may_be_given_twice_is_waited_out(
    served: Rig, monkeypatch: pytest.MonkeyPatch, age_seconds: int, waits: bool
) -> None:
    now, sleeps = 10**18, []
    monkeypatch.setattr(scrub.time, "time_ns", lambda: now)
    monkeypatch.setattr(scrub.time, "sleep", sleeps.append)
    os.utime(served.root / "small", ns=(now, now - age_seconds * 10**9))
    find(served.root, b"small")
    assert bool(sleeps) is waits


def test_a_store_into_a_mapping_has_another_time_afterwards(root: LocalPath) -> None:
    """A program that has mapped a file may go on storing: its digest must not be taken for the truth."""
    root.mkdir()
    (root / "f").write_bytes(b"0" * 4096)
    script = (
        "import mmap, sys\n"
        "with open(sys.argv[1], 'r+b') as file, mmap.mmap(file.fileno(), 0) as mapping:\n"
        "    for octet in b'123':\n"
        "        mapping[0] = octet\n"
        "        print(flush=True)\n"
        "        sys.stdin.readline()\n"
    )
    command = [sys.executable, "-c", script, str(root / "f")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        for _ in range(3):
            program.stdout.readline()
            assert find(root) == {"f": Finding.NEW}
            program.stdin.write(b"\n")
            program.stdin.flush()
    assert find(root) == {"f": Finding.GOOD}
