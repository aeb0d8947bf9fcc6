"""The examples of docs/python_api.rst: whole programs, run as they stand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from plain_servers import HELP_TEXT, Peer, PlainServer

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "docs" / "examples"


def run_example(name: str, server: PlainServer, *arguments: str, cwd: Path) -> str:
    ran = subprocess.run(
        [sys.executable, EXAMPLES / name, "127.0.0.1", str(server.port), *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_put(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with PlainServer() as server:
        said = run_example("put.py", server, "a", cwd=tmp_path)
    assert said == "a: 3 octets, on the server's disk\n"
    assert server.files == {"a": b"abc"}


def test_get(tmp_path: Path) -> None:
    with PlainServer() as server:
        server.files = {"a": b"abc"}
        said = run_example("get.py", server, "a", "b", cwd=tmp_path)
        assert said == "b: 3 octets\n"
        assert (tmp_path / "b").read_bytes() == b"abc"
        said = run_example("get.py", server, "missing", "c", cwd=tmp_path)
        assert said == f"missing: not found on {server.address}\n"


def test_change(tmp_path: Path) -> None:
    with PlainServer() as server:
        server.files = {"a": b"abc", "c": b""}
        assert run_example("change.py", server, "a", "b", cwd=tmp_path) == "a is now b\n"
        said = run_example("change.py", server, "b", "c", cwd=tmp_path)
        assert said.startswith("b stays as it is: ")
    assert server.files == {"b": b"abc", "c": b""}


def test_summary(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n")
        peer.read_until_end()

    with PlainServer(converse) as server:
        said = run_example("summary.py", server, "a", cwd=tmp_path)
    assert said == "from 10.0 to 44.0, 26.0 on average\n"


def test_help(tmp_path: Path) -> None:
    with PlainServer() as server:
        assert run_example("help.py", server, cwd=tmp_path) == HELP_TEXT + "\n"


def test_several(tmp_path: Path) -> None:
    with PlainServer() as server:
        server.files = {f"f{number}": b"x" * number for number in range(1, 21)}
        said = run_example("several.py", server, *server.files, cwd=tmp_path)
        assert server.connections == 1
    assert sorted(said.split("\n")) == sorted(
        [f"{number} octets have come" for number in range(1, 21)] + [""]
    )
    assert len(os.listdir(tmp_path)) == 20


def test_each_example_is_shown_and_tested() -> None:
    text = (REPOSITORY / "docs" / "python_api.rst").read_text()
    here = Path(__file__).read_text()
    # Those that need the daemon.
    here += (REPOSITORY / "tests" / "system" / "test_client_resuming.py").read_text()
    names = [path.name for path in EXAMPLES.glob("*.py")]
    assert len(names) >= 6
    for name in names:
        assert f".. literalinclude:: examples/{name}\n" in text
        assert f'"{name}"' in here


def test_an_example_that_fails_is_noticed(tmp_path: Path) -> None:
    with PlainServer(lambda peer: None) as server, pytest.raises(AssertionError):
        run_example("help.py", server, cwd=tmp_path)
