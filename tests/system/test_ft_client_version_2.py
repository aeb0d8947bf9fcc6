"""ft-client against the daemon, over version 2: what version 1 cannot say."""

from __future__ import annotations

import hashlib
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
        assert bool(ran.errors) == bool(status)
        return ran

    def items(self, *arguments: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.run("--json", *arguments).output.splitlines()]
        return [line for line in lines if line["type"] == "item"]


@pytest.fixture
def shell(daemon: Daemon, tmp_path: Path) -> Shell:
    return Shell(daemon, tmp_path)


@pytest.fixture
def full(shell: Shell) -> Shell:
    """A root with files in it."""
    (shell.root / "d" / "e").mkdir(parents=True)
    for name in ("a.txt", "b[1].csv", "d/c.csv", "d/e/f.csv", "d/e/.hidden.csv"):
        (shell.root / name).write_bytes(name.encode())
    return shell


def test_long_names_and_directories(shell: Shell) -> None:
    (shell.directory / "a").write_bytes(b"abc")
    name = "x" * 100 + "/" + "y" * 200
    assert "--parents makes it" in shell.run("put", "a", "--as", name, status=4).errors
    shell.run("put", "a", "--as", name, "--parents")
    assert (shell.root / name).read_bytes() == b"abc"
    shell.run("get", name)
    assert list_names(shell.directory) == ["a", "y" * 200]


def test_what_is_said_of_each_file(shell: Shell) -> None:
    (shell.directory / "a").write_bytes(b"abc")
    [stored] = shell.items("put", "a")
    [fetched] = shell.items("get", "a", "-o", "b")
    [quick] = shell.items("get", "a", "-o", "b", "--durability", "none")
    assert (stored["durable"], stored["verified"]) == (True, True)
    assert (fetched["durable"], fetched["verified"]) == (True, True)
    assert (quick["durable"], quick["verified"]) == (False, True)
    assert stored["digest"] == fetched["digest"]
    assert stored["etag"] == fetched["etag"] == shell.items("stat", "a")[0]["etag"]


def test_lists(full: Shell) -> None:
    assert full.run("ls").output == "a.txt\nb[1].csv\nd/\n"
    assert full.run("ls", "d").output == full.run("ls", "d/").output == "c.csv\ne/\n"
    assert full.run("ls", "-R", "d").output == "c.csv\ne/\ne/.hidden.csv\ne/f.csv\n"
    assert full.run("ls", "a.txt", "d").output == "a.txt\nd/c.csv\nd/e/\n"
    assert full.run("ls", "*.csv").output == "b[1].csv\n"
    assert full.run("ls", "d/**/*.csv").output == "d/c.csv\nd/e/f.csv\n"
    assert full.run("ls", "**/.h*").output == "d/e/.hidden.csv\n"
    assert full.run("ls", "-R", "d*").output.splitlines()[:2] == ["d/", "d/c.csv"]
    # The very name comes before what it stands for as a pattern.
    assert full.run("ls", "b[1].csv").output == "b[1].csv\n"
    line = full.run("ls", "-l", "a.txt").output
    assert line.startswith("-rw-r--r--              5 20")
    assert line.endswith(" a.txt\n")
    assert full.run("ls", "-l").output.splitlines()[-1].startswith("drwxr-xr-x  ")
    full.run("ls", "missing", status=4)
    full.run("ls", "m*", status=4)
    full.run("ls", "a.txt", "m*", status=23)
    assert {item["subject"] for item in full.items("ls", "d")} == {"d/c.csv", "d/e"}


def test_status(full: Shell) -> None:
    os.utime(full.root / "a.txt", ns=(0, 0))
    told = full.run("stat", "a.txt", TZ="UTC").output
    for line in ("name:      a.txt", "size:      5", "modified:  1970-01-01 00:00:00"):
        assert line in told
    assert "mode:      -rw-r--r--" in told
    assert full.items("stat", "d")[0]["kind"] == "directory"
    full.run("stat", "missing", status=4)


def test_directories(full: Shell) -> None:
    full.run("mkdir", "new")
    full.run("mkdir", "new", status=20)
    full.run("mkdir", "-p", "new", "new/x/y")
    assert "-p makes it" in full.run("mkdir", "lost/x", status=4).errors
    assert (full.root / "new" / "x" / "y").is_dir()
    full.run("rm", "new", status=20)
    full.run("rm", "-r", "new/", "d")
    full.run("rm", "*.csv", "m*", status=23)
    assert list_names(full.root)[1:] == ["a.txt"]
    etag = full.items("stat", "a.txt")[0]["etag"]
    full.run("rm", "--if-match", "wrong", "a.txt", status=20)
    full.run("rm", "--if-match", etag, "a.txt")
    full.run("rm", "a.txt", status=4)


def test_changes(full: Shell) -> None:
    full.run("change", "a.txt", "d/c.csv", status=20)
    full.run("mv", "--replace", "a.txt", "d/c.csv")
    assert (full.root / "d" / "c.csv").read_bytes() == b"a.txt"
    full.run("mv", "--if-match", "wrong", "d/c.csv", "x", status=20)
    full.run("mv", "d/c.csv", "d/e/")
    assert (full.root / "d" / "e" / "c.csv").read_bytes() == b"a.txt"
    assert (
        "directory of lost/x is missing" in full.run("mv", "d/e/c.csv", "lost/x", status=4).errors
    )
    assert "missing: not found" in full.run("mv", "missing", "lost/x", status=4).errors


def test_digests(full: Shell) -> None:
    expected = hashlib.sha256(b"a.txt").hexdigest()
    assert full.run("digest", "a.txt").output == f"{expected}  a.txt\n"
    listed = full.run("digest", "a.txt", "**/*.csv").output
    assert len(listed.splitlines()) == 4
    (full.directory / "list").write_text(listed)
    assert full.run("digest", "--check", "list").output.count(": OK\n") == 4
    short = full.run("digest", "--algorithm", "xxh3-128", "a.txt").output
    assert len(short.split()[0]) == 32
    full.run("digest", "--check", "-", given=short.encode())
    (full.root / "d" / "c.csv").write_bytes(b"other")
    ran = full.run("digest", "--check", "list", status=ExitStatus.SOME_FAILED)
    assert ran.errors == "ft-client: digest: d/c.csv: the digest differs\n"
    wrong = f"{'0' * 64}  a.txt\n".encode()
    full.run("digest", "--check", "-", given=wrong, status=ExitStatus.INTEGRITY)
    full.run("digest", "--algorithm", "nonsense", "a.txt", status=20)
    full.run("digest", "--check", "-", given=b"nonsense\n", status=2)
    full.run("digest", "--check", "missing", status=2)


def test_names_in_lists_of_digests(shell: Shell) -> None:
    (shell.root / "a\\b").write_bytes(b"x")
    listed = shell.run("digest", "a\\b").output
    assert listed.startswith("\\")
    assert listed.endswith("  a\\\\b\n")
    assert shell.run(
        "digest", "--check", "-", given=listed.encode()
    ).output == "a\\\\b: OK\n".replace("\\\\", "\\")


def test_columns(shell: Shell) -> None:
    (shell.root / "t.csv").write_text("day;rain\n1;2.5\n2;3.5\n")
    told = shell.run("summary", "t.csv", "--column", "rain", "--delimiter", ";").output
    assert told.startswith("Max: 3.5\nMin: 2.5\nAvg: 3.0\nCount: 2\nSum: 6.0\nStddev: 0.5")
    told = shell.run("summary", "t.csv", "--column", "1", "--delimiter", ";", "--skip", "1").output
    assert told.startswith("Max: 2.0\n")
    (shell.root / "t.tsv").write_text("1\t2\n")
    told = shell.run("summary", "t.tsv", "--column", "2", "--delimiter", r"\t").output
    assert told.startswith("Max: 2.0\n")
    shell.run("summary", "t.csv", status=20)
    shell.run("summary", "t.csv", "--delimiter", "ab", status=2)


def test_times_and_modes(shell: Shell) -> None:
    file = shell.directory / "a"
    file.write_bytes(b"abc")
    file.chmod(0o600)
    os.utime(file, ns=(10**18, 10**18 + 7))
    shell.run("put", "-p", "a")
    there = (shell.root / "a").stat()
    assert (there.st_mtime_ns, there.st_mode & 0o777) == (10**18 + 7, 0o600)
    shell.run("get", "-p", "a", "-o", "b")
    here = (shell.directory / "b").stat()
    assert (here.st_mtime_ns, here.st_mode & 0o777) == (10**18 + 7, 0o600)


def test_nothing_is_replaced_unasked(shell: Shell) -> None:
    (shell.directory / "a").write_bytes(b"new")
    shell.run("put", "--no-clobber", "a")
    assert "it exists" in shell.run("put", "--no-clobber", "a", status=20).errors
    assert "is here already" in shell.run("get", "--no-clobber", "a", status=20).errors
    shell.run("put", "--if-match", "wrong", "a", status=20)
    etag = shell.items("stat", "a")[0]["etag"]
    shell.run("put", "--if-match", etag, "a")
    shell.run("get", "--if-match", etag, "a", status=20)
    shell.run("put", "--if-match", etag, "a", "b", status=2)
    shell.run("get", "--if-match", etag, "a", "b", status=2)
    shell.run("rm", "--if-match", etag, "a", "b", status=2)


def test_standard_streams(shell: Shell) -> None:
    given = os.urandom(300_000)
    shell.run("put", "-", "a", given=given)
    assert (shell.root / "a").read_bytes() == given
    assert shell.run("get", "a", "-").octets == given


def test_patterns_to_fetch(full: Shell) -> None:
    full.run("get", "*", "**/*.csv")
    assert list_names(full.directory) == ["a.txt", "b[1].csv", "c.csv", "f.csv"]
    full.run("get", "*.x", status=4)
    (full.root / "d" / "e" / "c.csv").write_bytes(b"twin")
    assert "would be written to the same file" in full.run("get", "**/c.csv", status=2).errors


def test_copies(full: Shell) -> None:
    (full.directory / "here").mkdir()
    (full.directory / "x").write_bytes(b"x")
    (full.directory / "y").write_bytes(b"y")
    full.run("cp", "x", ":z")
    full.run("cp", "x", "y", ":")
    full.run("cp", "x", "y", ":lost/", status=4)
    full.run("cp", "--parents", "x", "y", ":new/")
    full.run("cp", "--no-clobber", "x", ":new/", status=20)
    full.run("cp", ":new/x", ":d/*.csv", "here")
    full.run("cp", ":new/x", "copy")
    full.run("cp", ":new/?", ":d/")
    full.run("cp", "--no-clobber", ":new/x", ":new/y", status=20)
    assert "--parents makes it" in full.run("cp", ":new/x", ":lost/x", status=4).errors
    full.run("cp", "--parents", ":new/x", ":made/of/x")
    assert (full.root / "made" / "of" / "x").read_bytes() == b"x"
    full.run("rm", "-r", "made")
    assert list_names(full.root)[-3:] == ["x", "y", "z"]
    assert list_names(full.root / "d") == ["c.csv", "e", "x", "y"]
    assert list_names(full.directory / "here") == ["c.csv", "x"]
    assert (full.directory / "copy").read_bytes() == b"x"
    for wrong in (["x"], ["x", "y"], ["x", ":y", ":z"], ["x", "y", ":z"], [":x", "p:y"]):
        full.run("cp", *wrong, status=2)
    full.run("cp", ":d/*.csv", ":x", "missing", status=2)


def test_a_copy_with_a_profile(full: Shell, tmp_path: Path) -> None:
    settings = tmp_path / "ft-client" / "config.toml"
    settings.parent.mkdir()
    settings.write_text(f'[profiles.work]\nserver = "{full.server}"\n[profiles.empty]\n')

    def run(*arguments: str) -> Ran:
        # The server that is typed outweighs the one of the environment.
        return ft_client(
            *arguments, cwd=tmp_path, XDG_CONFIG_HOME=str(tmp_path), FT_SERVER="localhost:1"
        )

    assert run("cp", "work:a.txt", "./b:c").status == 0
    assert run("cp", "./b:c", "work:d/").status == 0
    assert (full.root / "d" / "b:c").read_bytes() == b"a.txt"
    for wrong in ("nobody:x", "empty:x"):
        assert run("cp", "./b:c", wrong).status == 2


def test_what_is_known_of_the_server(shell: Shell) -> None:
    told = shell.run("info", "--require", "durable,verified").output
    assert "version:    2 of the protocol\n" in told
    assert "promises:   durable, verified\n" in told
    assert "TLS:        no\n" in told
    [item] = shell.items("info")
    assert item["tls"] is False
    assert item["round_trip_seconds"] > 0
