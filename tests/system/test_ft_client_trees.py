"""ft-client against the daemon: trees, in both directions, and sync."""

from __future__ import annotations

import filecmp
import json
import os
from pathlib import Path
from typing import Any

import pytest
from programs import Ran, ft_client, list_names
from running import Daemon

from filetransfer.cli.exit_status import ExitStatus


class Shell:
    """Runs ft-client in a directory of its own."""

    def __init__(self, daemon: Daemon, directory: Path) -> None:
        self.root = daemon.root
        self.directory = directory
        self.server = f"127.0.0.1:{daemon.port}"

    def run(self, *arguments: str, status: int = 0, **options: Any) -> Ran:
        ran = ft_client(*arguments, cwd=self.directory, server=self.server, **options)
        assert ran.status == status, ran.errors
        return ran

    def moved(self, *arguments: str) -> list[str]:
        """Give the subjects of what was done."""
        lines = [json.loads(line) for line in self.run("--json", *arguments).output.splitlines()]
        return sorted(line["subject"] for line in lines if line["type"] == "item")


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Shell:
    return Shell(daemon, tmp_path)


@pytest.fixture
def full(shell: Shell) -> Shell:
    """A tree here."""
    tree = shell.directory / "tree"
    (tree / "d" / "e").mkdir(parents=True)
    (tree / "empty" / "er").mkdir(parents=True)
    for name in ("a.txt", "d/b.csv", "d/e/c.csv", "d/e/.hidden", "z"):
        (tree / name).write_bytes(name.encode())
        os.utime(tree / name, ns=(10**18, 10**18 + 1))
    return shell


def is_same(one: Path, other: Path) -> bool:
    compared = filecmp.dircmp(one, other, ignore=[".ft-store"], hide=[])
    return not (compared.left_only or compared.right_only or compared.diff_files) and all(
        is_same(one / name, other / name) for name in compared.common_dirs
    )


def test_there_and_back(full: Shell) -> None:
    ran = full.run("put", "-rp", "tree", "--as", "x/y")
    assert (ran.output, ran.errors) == ("", "")
    assert is_same(full.directory / "tree", full.root / "x" / "y")
    full.run("put", "-r", "tree/")
    assert is_same(full.directory / "tree", full.root / "tree")
    full.run("get", "-rp", "x/y/", "-o", "back")
    assert is_same(full.directory / "tree", full.directory / "back")
    assert (full.directory / "back" / "z").stat().st_mtime_ns == 10**18 + 1
    full.run("get", "-r", "t*", "x/y/z", "-o", "back")
    assert is_same(full.directory / "tree", full.directory / "back" / "tree")


def test_copies(full: Shell) -> None:
    (full.directory / "tree" / "large").write_bytes(os.urandom(2_500_000))
    full.run("cp", "-rp", "-j", "3", "tree/", ":x/")
    assert is_same(full.directory / "tree", full.root / "x" / "tree")
    full.run("cp", "-rp", ":x/tree", "back")
    assert is_same(full.directory / "tree", full.directory / "back")
    full.run("cp", "-r", ":x/tree", ":y")
    assert is_same(full.directory / "tree", full.root / "y")
    full.run("cp", "-r", ":x/tree", ":y/z", ":w/")
    assert is_same(full.directory / "tree", full.root / "w" / "tree")
    assert (full.root / "w" / "z").read_bytes() == b"z"
    assert "into itself" in full.run("cp", "-r", ":x", ":x/y", status=20).errors
    full.run("cp", "-r", "--no-clobber", "--include", "z", ":x/tree", ":y", status=20)
    full.run("cp", "-r", ":missing", ":z", status=4)


def test_the_contents_of_where_one_is(full: Shell) -> None:
    tree = full.directory / "tree"
    ran = ft_client("put", "-r", ".", cwd=tree, server=full.server)
    assert (ran.status, ran.errors) == (0, "")
    assert is_same(tree, full.root)
    ran = ft_client("cp", "-r", "..", ":up/", cwd=tree / "d", server=full.server)
    assert ran.status == 0
    assert is_same(tree, full.root / "up")
    ran = ft_client("put", ".", cwd=tree, server=full.server)
    assert ran.status == 2
    assert "'.' is a directory: -r sends all in it" in ran.errors


def test_what_became_of_a_tree(full: Shell) -> None:
    os.symlink("a.txt", full.directory / "tree" / "link")
    assert full.run("sync", "-v", "tree", ":t").errors.splitlines()[-1] == "tree: 5 sent, 1 skipped"
    (full.directory / "tree" / "z").unlink()
    ran = full.run("sync", "-v", "--delete", "tree", ":t")
    assert ran.errors.splitlines()[-1] == "tree: 1 deleted, 4 unchanged, 1 skipped"
    ran = full.run("sync", "--json", "tree", ":t")
    _, skipped, summary = [json.loads(line) for line in ran.output.splitlines()]
    assert skipped["action"] == "skip"
    assert (skipped["subject"], skipped["reason"]) == ("tree/link", "a symbolic link")
    assert (summary["unchanged"], summary["skipped"], summary["done"]) == (4, 1, 0)


def test_without_r_a_directory_is_refused(full: Shell) -> None:
    assert "-r sends all" in full.run("put", "tree", status=1).errors
    full.run("put", "-r", "tree")
    assert "-r fetches all" in full.run("get", "tree", "-o", "other", status=20).errors
    assert "-r copies all" in full.run("cp", ":tree", ":other", status=20).errors


def test_what_is_selected(full: Shell) -> None:
    full.run("put", "-r", "tree", "--as", "one", "--include", "*.csv")
    assert [path.name for path in (full.root / "one").rglob("*") if path.is_file()] == [
        "b.csv",
        "c.csv",
    ]
    full.run("put", "-r", "tree", "--as", "two", "--exclude", "d/e", "--exclude", "*.txt")
    found = sorted(path.name for path in (full.root / "two").rglob("*") if path.is_file())
    assert found == ["b.csv", "z"]
    full.run("put", "-r", "tree")
    full.run("get", "-r", "tree", "-o", "some", "--exclude", "e", "--include", "*.csv")
    found = sorted(path.name for path in (full.directory / "some").rglob("*") if path.is_file())
    assert found == ["b.csv"]


def test_what_is_no_file(full: Shell) -> None:
    tree = full.directory / "tree"
    (tree / "link").symlink_to("a.txt")
    (tree / "circle").symlink_to(".")
    os.mkfifo(tree / "pipe")
    ran = full.run("put", "-r", "tree")
    assert sorted(ran.errors.splitlines()) == [
        "ft-client: put: tree/circle: skipped: a symbolic link",
        "ft-client: put: tree/link: skipped: a symbolic link",
        "ft-client: put: tree/pipe: skipped: neither a file nor a directory",
    ]
    assert "link" not in list_names(full.root / "tree")
    assert full.run("-q", "put", "-r", "tree").errors == ""
    ran = full.run("put", "-r", "--follow", "tree")
    assert (full.root / "tree" / "link").read_bytes() == b"a.txt"
    assert "circle: skipped: a symbolic link to what it lies in" in ran.errors


def test_names_that_are_refused_are_told_and_the_rest_goes_on(full: Shell) -> None:
    tree = full.directory / "tree"
    for name in (b".ft-x", b"esc\x1b", b"caf\xe9"):
        (tree / os.fsdecode(name)).write_bytes(b"x")
    ran = full.run("put", "-r", "tree", status=ExitStatus.SOME_FAILED)
    assert len(ran.errors.splitlines()) == 3
    assert (full.root / "tree" / "z").exists()


def test_a_link_here_leads_nowhere(full: Shell) -> None:
    full.run("put", "-r", "tree")
    outside = full.directory / "outside"
    outside.mkdir()
    (full.directory / "back").mkdir()
    (full.directory / "back" / "d").symlink_to(outside)
    ran = full.run("sync", ":tree", "back", status=ExitStatus.SOME_FAILED)
    assert "tree/d: something else is in its place in the target" in ran.errors
    assert list_names(outside) == []


def test_a_second_sync_sends_nothing(full: Shell) -> None:
    assert full.moved("sync", "tree", ":x") == [
        "tree/a.txt",
        "tree/d/b.csv",
        "tree/d/e/.hidden",
        "tree/d/e/c.csv",
        "tree/z",
    ]
    assert is_same(full.directory / "tree", full.root / "x")
    assert full.moved("sync", "tree", ":x") == []
    assert full.moved("sync", "tree", ":x", "--checksum") == []
    full.run("sync", "tree", ":x", "--check")
    assert len(full.moved("sync", ":x", "back")) == 5
    assert full.moved("sync", ":x", "back") == []
    assert is_same(full.directory / "tree", full.directory / "back")


def test_what_differs_is_sent(full: Shell) -> None:
    full.run("sync", "tree", ":x")
    tree = full.directory / "tree"
    (tree / "z").write_bytes(b"Z")
    os.utime(tree / "z", ns=(10**18, 10**18 + 1))
    assert full.moved("sync", "tree", ":x") == []
    ran = full.run("sync", "tree", ":x", "--check", "--checksum", status=ExitStatus.INTEGRITY)
    assert ran.output == "send z\n"
    assert full.moved("sync", "tree", ":x", "--checksum") == ["tree/z"]
    (tree / "a.txt").write_bytes(b"longer than before")
    (tree / "d" / "b.csv").touch()
    (tree / "new").mkdir()
    assert full.run("sync", "-n", "tree", ":x").output == "send a.txt\nsend d/b.csv\nmake new/\n"
    assert full.moved("sync", "tree", ":x") == ["tree/a.txt", "tree/d/b.csv"]
    assert is_same(tree, full.root / "x")


@pytest.mark.parametrize("is_remote", [True, False])
def test_deletions(full: Shell, is_remote: bool) -> None:
    target = full.root / "x" if is_remote else full.directory / "x"
    if is_remote:
        source, name = "tree", ":x"
    else:
        full.run("put", "-rp", "tree")
        source, name = ":tree", "x"
    full.run("sync", source, name)
    (target / "old" / "er").mkdir(parents=True)
    for extra in ("old/1", "old/er/2", "old/keep.tmp", "extra"):
        (target / extra).write_bytes(b"x")
    full.run("sync", source, name)
    assert (target / "extra").exists()
    ran = full.run("sync", "-n", "--delete", source, name)
    assert ran.output.splitlines() == [
        "delete old/keep.tmp",
        "delete old/er/2",
        "delete old/er/",
        "delete old/1",
        "delete old/",
        "delete extra",
    ]
    ran = full.run(
        "sync", "--delete", "--max-delete", "2", source, name,
        status=ExitStatus.TOO_MANY_DELETIONS,
    )  # fmt: skip
    assert "4 files would be deleted" in ran.errors
    assert (target / "extra").exists()
    full.run("sync", "--delete", "--exclude", "*.tmp", "--max-delete", "3", source, name)
    assert list_names(target / "old") == ["keep.tmp"]
    full.run("sync", "--delete", source, name)
    assert is_same(full.directory / "tree", target)


def test_an_empty_source_stops_it(full: Shell) -> None:
    full.run("sync", "tree", ":x")
    (full.directory / "nothing").mkdir()
    ran = full.run("sync", "--delete", "nothing", ":x", status=20)
    assert "it holds no file: nothing was done" in ran.errors
    full.run("sync", "--delete", "missing", ":x", status=4)
    full.run("sync", "--delete", ":missing", "tree", status=4)
    assert is_same(full.directory / "tree", full.root / "x")


def test_a_file_where_a_directory_was(full: Shell) -> None:
    full.run("sync", "tree", ":x")
    tree = full.directory / "tree"
    (tree / "z").unlink()
    (tree / "z").mkdir()
    (tree / "z" / "inside").write_bytes(b"x")
    full.run("sync", "tree", ":x", status=ExitStatus.SOME_FAILED)


def test_wrong_usage(full: Shell) -> None:
    for wrong in (
        ["a"],
        ["a", "b"],
        [":a", ":b"],
        [":a", "b", "c"],
        ["--max-delete", "-1", "a", ":b"],
    ):
        full.run("sync", *wrong, status=2)
