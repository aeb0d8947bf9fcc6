"""ft-client against the daemon, both as processes of their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from programs import Ran, begin, finish, ft_client, list_names
from running import Daemon

from filetransfer.cli.exit_status import ExitStatus


def ask(daemon: Daemon, directory: Path, *arguments: str) -> Ran:
    return ft_client(*arguments, cwd=directory, server=f"127.0.0.1:{daemon.port}")


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 30_000_000])
def test_there_and_back(daemon: Daemon, tmp_path: Path, size: int) -> None:
    octets = os.urandom(size)
    (tmp_path / "a").write_bytes(octets)
    ran = ask(daemon, tmp_path, "put", "a", "--as", "n" * 31)
    assert (ran.status, ran.output, ran.errors) == (0, "", "")
    assert (daemon.root / ("n" * 31)).read_bytes() == octets
    ran = ask(daemon, tmp_path, "get", "n" * 31, "-o", "b")
    assert (ran.status, ran.output, ran.errors) == (0, "", "")
    assert (tmp_path / "b").read_bytes() == octets
    assert list_names(tmp_path) == ["a", "b"]


def test_the_other_requests(daemon: Daemon, tmp_path: Path) -> None:
    (tmp_path / "numbers.csv").write_text("10\n20.5\n44\n")
    assert ask(daemon, tmp_path, "put", "numbers.csv").status == 0
    ran = ask(daemon, tmp_path, "summary", "numbers.csv")
    assert ran.output.startswith(f"Max: 44.0\nMin: 10.0\nAvg: {74.5 / 3}\nCount: 3\nSum: 74.5\n")
    assert ask(daemon, tmp_path, "mv", "numbers.csv", "n.csv").status == 0
    assert ask(daemon, tmp_path, "put", "numbers.csv").status == 0
    assert ask(daemon, tmp_path, "mv", "numbers.csv", "n.csv").status == ExitStatus.REFUSED
    assert ask(daemon, tmp_path, "mv", "missing", "m").status == ExitStatus.NOT_FOUND
    assert ask(daemon, tmp_path, "summary", "missing").status == ExitStatus.NOT_FOUND
    assert ask(daemon, tmp_path, "put", "n.csv").status == ExitStatus.NOT_FOUND
    words = "bye change get help put summary\n"
    assert ask(daemon, tmp_path, "help").output.startswith(words)
    ran = ask(daemon, tmp_path, "put", "numbers.csv", "--as", "missing/n.csv")
    assert ran.status == ExitStatus.NOT_FOUND


def test_from_one_command_to_another(daemon: Daemon, tmp_path: Path) -> None:
    given = os.urandom(1_000_000)
    server = f"127.0.0.1:{daemon.port}"
    stored = finish(begin("put", "-", "--as", "a", cwd=tmp_path, server=server), given)
    assert stored.status == 0
    assert ask(daemon, tmp_path, "get", "a", "-o", "-").octets == given


def test_many_files_large_and_small(daemon: Daemon, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    octets = os.urandom(3_000_000)
    for number in range(300):
        size = 2_000_000 + number if number % 50 == 7 else number * 37
        (source / f"f{number}").write_bytes(octets[number : number + size])
    names = list_names(source)
    ran = ask(daemon, source, "put", *names)
    assert (ran.status, ran.errors) == (0, "")
    ran = ask(daemon, target, "get", *names, "missing")
    assert ran.status == ExitStatus.SOME_FAILED
    assert list_names(target) == names
    assert all((target / name).read_bytes() == (source / name).read_bytes() for name in names)
