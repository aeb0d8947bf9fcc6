"""Completion in a shell: commands, options, and names on the server."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
from plain_servers import Peer, PlainServer
from programs import Ran, ft_client
from version2_servers import Version2Server, list_entries

from filetransfer.cli.names_completion import Cache
from filetransfer.wire.messages import Entry, List


def complete(directory: Path, *words: str, server: str = "", **variables: str) -> list[str]:
    """Give what bash is given for the last of the words."""
    ran: Ran = ft_client(
        cwd=directory,
        _FT_CLIENT_COMPLETE="bash_complete",
        COMP_WORDS=" ".join(["ft-client", *words]),
        COMP_CWORD=str(len(words)),
        FT_SERVER=server or "localhost:1",
        XDG_CACHE_HOME=str(directory / "cache"),
        **variables,
    )
    assert ran.errors == ""
    return [line for line in ran.output.splitlines() if line]


def answer(request: List, _: bytes) -> Any:
    if request.path == "d":
        return list_entries(Entry("d/one", "file"), Entry("d/two", "directory"))
    return list_entries(Entry("a.txt", "file"), Entry("b", "file"), Entry("d", "directory"))


def test_names_on_the_server(tmp_path: Path) -> None:
    with Version2Server({List: answer}) as server:
        address = server.address
        assert complete(tmp_path, "get", "", server=address) == [
            "plain,a.txt",
            "plain,b",
            "plain,d/",
        ]
        # Kept: it is not asked again.
        assert complete(tmp_path, "rm", "a", server=address) == ["plain,a.txt"]
        assert len(server.asked) == 1
        assert complete(tmp_path, "stat", "d/t", server=address) == ["plain,d/two/"]
        assert complete(tmp_path, "cp", ":b", server=address) == ["plain,:b"]
        assert complete(tmp_path, "cp", "b", server=address) == ["file,b"]


def test_commands_options_and_local_names(tmp_path: Path) -> None:
    assert "plain,summary" in complete(tmp_path, "su")
    assert "plain,--recursive" in complete(tmp_path, "ls", "--rec")
    assert "plain,--timeout" in complete(tmp_path, "ls", "--tim")
    assert complete(tmp_path, "put", "x") == ["file,x"]


def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    assert complete(tmp_path, "get", "") == []
    with PlainServer(Peer.read_until_end) as silent:
        assert complete(tmp_path, "get", "", server=silent.address) == []
    assert complete(tmp_path, "get", "", FT_TIMEOUT="soon") == []


def test_what_is_kept_is_kept_for_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache = Cache("subject")
    assert cache.read() is None
    cache.write(["a"])
    assert cache.read() == ["a"]
    assert Cache("other").read() is None
    [file] = (tmp_path / "ft-client").iterdir()
    os.utime(file, (time.time() - 31, time.time() - 31))
    assert cache.read() is None
    for nonsense in ("{", "{}"):
        file.write_text(nonsense)
        assert cache.read() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(file))
    Cache("subject").write(["a"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_evaluates(tmp_path: Path, shell: str) -> None:
    ran = ft_client("completion", shell, cwd=tmp_path)
    assert ran.status == 0
    assert f"_FT_CLIENT_COMPLETE={shell}_complete" in ran.output
    assert ft_client("completion", "csh", cwd=tmp_path).status == 2
