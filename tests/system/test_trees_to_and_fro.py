"""Trees sent to the daemon and fetched from it, with the Python API."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from reactors import run
from running import Daemon

from filetransfer.client import Session, connect
from filetransfer.client.selection import Selection
from filetransfer.client.sync import Direction, Syncing, plan_sync, sync
from filetransfer.client.trees import Outcome, Totals, Watcher, get_tree, put_tree
from filetransfer.errors import Exists, NameInvalid, NotFound

NANOSECONDS = 1_600_000_000_123_456_789


class Recorder(Watcher):
    """Remembers the outcomes."""

    def __init__(self) -> None:
        self.outcomes: dict[str, Outcome] = {}

    def end(self, outcome: Outcome) -> None:
        assert outcome.path not in self.outcomes
        self.outcomes[outcome.path] = outcome


Act = Callable[[Session], Coroutine[Any, Any, Any]]


@pytest.fixture
def use(daemon: Daemon) -> Callable[[Act], Any]:
    """Do something with a session."""

    def use(act: Act) -> Any:
        async def work() -> Any:
            async with connect("127.0.0.1", daemon.port) as session:
                return await act(session)

        return run(work())

    return use


Use = Callable[[Act], Any]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A directory with a bit of everything in it."""
    top = tmp_path / "tree"
    (top / "d" / "e").mkdir(parents=True)
    (top / "empty" / "er").mkdir(parents=True)
    for number, name in enumerate(("a", "d!", "d/a", "d/e/b", "ünï", "-x", "a b")):
        (top / name).write_bytes(b"x" * 70_000 * number)
        os.chmod(top / name, 0o640)
        os.utime(top / name, ns=(0, NANOSECONDS + number))
    (top / "large").write_bytes(os.urandom(3_000_000))
    return top


def list_tree(top: Path) -> dict[str, bytes | None]:
    """Give what is in a directory, from path to content."""
    return {
        str(path.relative_to(top)): None if path.is_dir() else path.read_bytes()
        for path in top.rglob("*")
        if not path.name.startswith(".ft-")
    }


@pytest.mark.parametrize("connections", [1, 3])
def test_there_and_back(
    use: Use, daemon: Daemon, tree: Path, tmp_path: Path, connections: int
) -> None:
    os.chmod(tree / "d", 0o750)
    os.utime(tree / "d", ns=(0, NANOSECONDS))

    async def act(session: Session) -> tuple[Totals, Totals]:
        options: dict[str, Any] = {"preserve": True, "connections": connections}
        sent = await put_tree(session, tree, "x/y", **options)
        os.chmod(daemon.root / "x/y/d", 0o750)
        os.utime(daemon.root / "x/y/d", ns=(0, NANOSECONDS))
        return sent, await get_tree(session, "x/y", tmp_path / "new" / "back", **options)

    sent, fetched = use(act)
    assert list_tree(daemon.root / "x" / "y") == list_tree(tree)
    assert list_tree(tmp_path / "new" / "back") == list_tree(tree)
    assert sent == fetched == Totals(8, 1_470_000 + 3_000_000, 4)
    for name in ("d", "d/a", "ünï"):
        was, now = (tree / name).stat(), (tmp_path / "new/back" / name).stat()
        assert (now.st_mode, now.st_mtime_ns) == (was.st_mode, was.st_mtime_ns)


def test_what_cannot_be_sent_is_told(use: Use, daemon: Daemon, tree: Path) -> None:
    os.symlink("a", tree / "link")
    os.mkfifo(tree / "fifo")
    Path(os.fsdecode(os.fsencode(tree) + b"/\xff")).touch()
    (tree / "line\nfeed").mkdir()
    (tree / "line\nfeed" / "inside").touch()
    (tree / ".ft-0123456789abcdef.part").touch()
    recorder = Recorder()
    totals = use(lambda session: put_tree(session, tree, "t", watcher=recorder))
    assert (totals.sent, totals.skipped, totals.failed) == (8, 2, 2)
    assert recorder.outcomes["link"].reason == "a symbolic link"
    assert recorder.outcomes["fifo"].reason == "neither a file nor a directory"
    for name in ("\udcff", "line\nfeed"):
        assert isinstance(recorder.outcomes[name].error, NameInvalid)
    assert "d/e/b" in list_tree(daemon.root / "t")


def test_links_are_followed_where_that_is_asked_for(use: Use, daemon: Daemon, tree: Path) -> None:
    os.symlink("a", tree / "link")
    os.symlink("d", tree / "d link")
    os.symlink("..", tree / "d" / "up")
    os.symlink("nowhere", tree / "dangling")
    os.symlink("itself", tree / "itself")
    recorder = Recorder()
    totals = use(lambda session: put_tree(session, tree, follows_links=True, watcher=recorder))
    assert totals.failed == 0
    reasons = {path: each.reason for path, each in recorder.outcomes.items() if each.reason}
    loop = "a symbolic link to what it lies in"
    link = "a symbolic link"
    assert reasons == {"d link/up": loop, "d/up": loop, "dangling": link, "itself": link}
    sent = list_tree(daemon.root)
    assert sent["d link/e/b"] == sent["d/e/b"]
    assert sent["link"] == b""


def test_selections(use: Use, daemon: Daemon, tree: Path, tmp_path: Path) -> None:
    async def act(session: Session) -> None:
        await put_tree(session, tree, "t", selection=Selection(exclude=["d/e", "a*", "l*"]))
        only = Selection(include=["b", "d/a"])
        await put_tree(session, tree, "u", selection=only)
        await put_tree(session, tree, "v")
        await get_tree(session, "v", tmp_path / "back", selection=only)

    use(act)
    assert set(list_tree(daemon.root / "t")) == {"d", "d!", "empty", "empty/er", "ünï", "-x"}
    assert set(list_tree(daemon.root / "u")) == {"d", "d/e", "d/e/b", "d/a"}
    assert list_tree(tmp_path / "back") == list_tree(daemon.root / "u")


def test_nothing_is_replaced_unless_it_may_be(
    use: Use, daemon: Daemon, tree: Path, tmp_path: Path
) -> None:
    (daemon.root / "a").write_bytes(b"is here")
    (tmp_path / "back" / "d").mkdir(parents=True)
    (tmp_path / "back" / "d" / "a").write_bytes(b"is here")
    there, here = Recorder(), Recorder()

    async def act(session: Session) -> None:
        await put_tree(session, tree, no_clobber=True, watcher=there)
        await get_tree(session, "", tmp_path / "back", no_clobber=True, watcher=here)

    use(act)
    assert [p for p, each in there.outcomes.items() if each.error] == ["a"]
    assert isinstance(there.outcomes["a"].error, Exists)
    assert [p for p, each in here.outcomes.items() if each.error] == ["d/a"]
    assert (daemon.root / "a").read_bytes() == b"is here"
    assert (tmp_path / "back" / "d" / "a").read_bytes() == b"is here"


def test_links_planted_here_lead_nowhere(
    use: Use, daemon: Daemon, tree: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a").write_bytes(b"mine")
    back = tmp_path / "back"
    back.mkdir()
    os.symlink(outside, back / "d")
    os.symlink(outside / "a", back / "a")
    recorder = Recorder()

    async def act(session: Session) -> Totals:
        await put_tree(session, tree)
        return await get_tree(session, "", back, watcher=recorder)

    totals = use(act)
    assert list_tree(outside) == {"a": b"mine"}
    assert (totals.sent, totals.failed) == (5, 2)
    assert recorder.outcomes["d"].error is not None
    assert recorder.outcomes["a"].error is not None
    assert (back / "empty" / "er").is_dir()


def test_a_directory_in_the_way_on_the_server(use: Use, daemon: Daemon, tree: Path) -> None:
    (daemon.root / "a").mkdir()
    (daemon.root / "d").write_bytes(b"file")
    recorder = Recorder()
    totals = use(lambda session: put_tree(session, tree, watcher=recorder))
    failed = {path for path, each in recorder.outcomes.items() if each.error}
    assert failed >= {"a", "d"}
    assert totals.failed == len(failed)
    assert (daemon.root / "d").read_bytes() == b"file"
    assert (daemon.root / "large").exists()


def test_digests_are_compared_where_that_is_asked_for(
    use: Use, daemon: Daemon, tree: Path, tmp_path: Path
) -> None:
    """What the daemon has not stored itself, it has to read."""

    async def act(session: Session, *, by_digest: bool = True) -> tuple[Totals, Totals]:
        syncing = Syncing(by_digest=by_digest)
        return (
            await sync(session, tree, "t", "to-server", syncing),
            await sync(session, tmp_path / "back", "t", "from-server", syncing),
        )

    assert [totals.sent for totals in use(act)] == [8, 8]
    for path in (daemon.root / "t" / "large", daemon.root / "t" / "d" / "a"):
        octets = bytearray(path.read_bytes())
        path.unlink()
        path.write_bytes(octets)
    (daemon.root / "t" / "large").write_bytes(os.urandom(3_000_000))
    for path in (daemon.root / "t").rglob("*"):
        os.utime(path, ns=(0, 0))
    up, down = use(act)
    assert (up.sent, up.unchanged, down.sent, down.unchanged) == (1, 7, 0, 8)
    assert list_tree(daemon.root / "t") == list_tree(tree)
    up, down = use(lambda session: act(session, by_digest=False))
    assert (up.sent, down.sent) == (7, 0)


def test_a_plan_does_nothing(use: Use, daemon: Daemon, tree: Path, tmp_path: Path) -> None:
    (daemon.root / "t").mkdir()
    (daemon.root / "t" / "extra").touch()

    async def act(session: Session) -> list[tuple[str, str]]:
        syncing = Syncing(delete=True)
        directions: tuple[Direction, ...] = ("to-server", "from-server")
        steps = [
            step
            for direction in directions
            async for step in plan_sync(
                session,
                tree if direction == "to-server" else tmp_path / "missing",
                "t",
                direction,
                syncing,
            )
        ]
        return [(step.action, step.entry.path) for step in steps]

    steps = use(act)
    assert ("remove", "extra") in steps
    assert steps[-1] == ("send", "extra")
    assert list_tree(daemon.root / "t") == {"extra": b""}
    assert daemon.list_visible() == [daemon.root / "t"]
    assert not (tmp_path / "missing").exists()


def test_what_cannot_be_read_stays_in_the_target(
    use: Use, daemon: Daemon, tree: Path, tmp_path: Path
) -> None:
    use(lambda session: sync(session, tree, "t", "to-server"))
    (tree / "d" / "e" / "b").unlink()
    (tree / "d" / "e").rmdir()
    os.symlink("elsewhere", tree / "d" / "e")
    (tree / "a").unlink()
    totals = use(lambda session: sync(session, tree, "t", "to-server", Syncing(delete=True)))
    assert (totals.removed, totals.skipped, totals.unchanged) == (1, 1, 6)
    assert "d/e/b" in list_tree(daemon.root / "t")
    with pytest.raises(FileNotFoundError):
        use(lambda session: sync(session, tmp_path / "missing", "t", "to-server"))
    with pytest.raises(NotFound):
        use(lambda session: sync(session, tmp_path / "new", "missing", "from-server"))
    assert not (tmp_path / "new").exists()


def test_times_and_modes_of_what_is_synced(
    use: Use, daemon: Daemon, tree: Path, tmp_path: Path
) -> None:
    os.chmod(tree / "a", 0o600)

    async def act(session: Session) -> None:
        await sync(session, tree, "t", "to-server", Syncing(preserve=True))
        await sync(session, tmp_path / "with", "t", "from-server", Syncing(preserve=True))
        await sync(session, tmp_path / "without", "t", "from-server")

    use(act)
    os.umask(mask := os.umask(0))
    for name, mode in (("with", 0o600), ("without", 0o666 & ~mask)):
        status = (tmp_path / name / "a").stat()
        assert (status.st_mtime_ns, status.st_mode & 0o777) == (NANOSECONDS, mode)


@pytest.mark.long
def test_twenty_thousand_files(use: Use, daemon: Daemon, tmp_path: Path) -> None:
    top = tmp_path / "many"
    for number in range(20_000):
        path = top / f"d{number % 200}" / f"e{number % 7}" / f"f{number}"
        if number < 1400:
            path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"%d" % number)

    async def act(session: Session) -> list[Totals]:
        back = tmp_path / "back"
        return [
            *[await sync(session, top, "t", "to-server") for _ in range(2)],
            *[await sync(session, back, "t", "from-server") for _ in range(2)],
        ]

    totals = use(act)
    assert [(each.sent, each.unchanged) for each in totals] == [(20_000, 0), (0, 20_000)] * 2
    for other in (daemon.root / "t", tmp_path / "back"):
        assert subprocess.run(["diff", "-r", top, other], check=False).returncode == 0
