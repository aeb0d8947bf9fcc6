"""Opening a served directory: what is made, who is kept out, what a crash left."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path as LocalPath

import pytest
from faults import Faults
from rig import Rig, open_rig

from filetransfer.errors import StoreUnavailable
from filetransfer.names import Path
from filetransfer.store.directory import make_root


def mode_of(path: LocalPath) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


def refuse_to_open(root: LocalPath, **settings: bool) -> str:
    with pytest.raises(StoreUnavailable) as caught:
        Rig(root, **settings)
    message = str(caught.value)
    assert repr(str(root)) in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_root_and_its_parents_are_made(tmp_path: LocalPath, umask: int) -> None:
    root = tmp_path / "a/b/root"
    before = os.umask(umask)
    try:
        Rig(root, directory_mode=0o751).store.close()
    finally:
        os.umask(before)
    assert [mode_of(path) for path in (tmp_path / "a", tmp_path / "a/b", root)] == [0o751] * 3
    assert mode_of(root / ".ft-store") == mode_of(root / ".ft-store/parts") == 0o700
    assert mode_of(root / ".ft-store/lock") & 0o077 == 0


def test_a_root_that_is_made_before_it_is_opened(tmp_path: LocalPath) -> None:
    make_root(tmp_path / "a" / "b", directory_mode=0o700)
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700
    (tmp_path / "file").touch()
    for path in (tmp_path / "file" / "a", tmp_path / "file"):
        with pytest.raises(StoreUnavailable, match="is not a directory"):
            make_root(path)


def test_a_root_that_exists_keeps_its_mode(root: LocalPath) -> None:
    root.mkdir(0o700)
    Rig(root, directory_mode=0o777).store.close()
    assert mode_of(root) == 0o700


def test_a_relative_root(root: LocalPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root.parent)
    with open_rig(LocalPath("files")) as rig:
        monkeypatch.chdir("/")
        assert rig.put("f", b"f") is None
        assert rig.get("f") == b"f"
    assert (root.parent / "files/f").read_bytes() == b"f"


def test_a_second_store_is_refused_until_the_first_is_closed(root: LocalPath) -> None:
    with open_rig(root) as rig:
        upload = rig.store.open_upload(Path("f"), 1)
        assert "another daemon" in refuse_to_open(root)
        # The second one has not swept what the first one is writing.
        assert len(rig.list_parts()) == 1
        upload.abort()
    Rig(root).store.close()


def test_a_store_may_be_read_while_another_writes(root: LocalPath) -> None:
    with open_rig(root) as rig, open_rig(root, read_only=True) as reader:
        rig.put("f", b"f")
        assert reader.get("f") == b"f"


def test_stale_parts_are_removed(root: LocalPath, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "filetransfer.store")
    Rig(root).store.close()
    parts = root / ".ft-store/parts"
    for name in ("a", "b", "\udcff"):
        (parts / name).write_bytes(b"stale")
    (parts / "link").symlink_to(root)
    (parts / "directory").mkdir()
    (root / "f").write_bytes(b"f")
    with open_rig(root) as rig:
        assert rig.list_parts() == ["directory"]
        assert rig.list_files() == {"f": b"f"}
    assert "removed 4 parts" in caplog.text


def test_a_killed_sweep_goes_on_at_the_next_start(root: LocalPath, faults: Faults) -> None:
    Rig(root).store.close()
    parts = root / ".ft-store/parts"
    for n in range(5):
        (parts / str(n)).write_bytes(b"stale")
    faults.arm(3, errno.EIO, only="unlink")
    refuse_to_open(root)
    faults.disarm()
    assert len(os.listdir(parts)) == 2
    with open_rig(root) as rig:
        assert rig.list_parts() == []


def test_the_lock_ends_with_its_process(root: LocalPath) -> None:
    script = (
        "import os, sys\n"
        "from filetransfer.store.directory import DirectoryStore\n"
        "store = DirectoryStore(sys.argv[1], on_committed=print)\n"
        "store.open_upload('f', 4).write(b'torn')\n"
        "os.kill(os.getpid(), 9)\n"
    )
    killed = subprocess.run([sys.executable, "-c", script, root], check=False)
    assert killed.returncode == -9
    assert len(os.listdir(root / ".ft-store/parts")) == 1
    with open_rig(root) as rig:
        assert rig.list_parts() == []
        assert rig.list_files() == {}


@pytest.mark.parametrize("kind", ["file", "link to a file", "dangling link"])
def test_a_root_that_is_no_directory(root: LocalPath, kind: str) -> None:
    if kind == "file":
        root.write_bytes(b"")
    else:
        root.symlink_to("file")
    if kind == "link to a file":
        (root.parent / "file").write_bytes(b"")
    refuse_to_open(root)


def test_a_root_may_be_a_symbolic_link(root: LocalPath) -> None:
    (root.parent / "elsewhere").mkdir()
    root.symlink_to("elsewhere")
    with open_rig(root) as rig:
        assert rig.put("f", b"f") is None
    assert (root.parent / "elsewhere/f").read_bytes() == b"f"


@pytest.mark.parametrize("name", [".ft-store", ".ft-store/parts", ".ft-store/lock"])
def test_a_symbolic_link_for_one_of_our_own_names_is_refused(root: LocalPath, name: str) -> None:
    outside = root.parent / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"file")
    (root / name).parent.mkdir(parents=True)
    (root / name).symlink_to(outside)
    refuse_to_open(root)
    assert [path.name for path in outside.iterdir()] == ["file"]


def test_a_missing_root_is_not_made_by_a_read_only_store(root: LocalPath) -> None:
    assert "make it first" in refuse_to_open(root, read_only=True)
    assert not root.exists()


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "owner or permissions"),
        (errno.EROFS, "serve it read-only"),
        (errno.ENOSPC, "free some space"),
        (errno.EXDEV, "another file system"),
        (errno.EIO, "look at the disk"),
    ],
)
def test_the_message_says_what_to_do(
    root: LocalPath, faults: Faults, number: int, advice: str
) -> None:
    faults.arm(0, number, only="fchmod")
    assert advice in refuse_to_open(root)
    faults.arm(0, number, only="fsync")
    refuse_to_open(root.parent / "other")


def test_a_root_that_may_not_be_written(root: LocalPath, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    monkeypatch.setattr(os, "access", lambda *arguments, **keywords: False)
    assert "read-only" in refuse_to_open(root)
    assert os.listdir(root) == []


def test_an_error_without_a_text(root: LocalPath, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **keywords: object) -> None:
        raise OSError("odd")

    monkeypatch.setattr(os, "fchmod", fail)
    assert "odd" in refuse_to_open(root)
