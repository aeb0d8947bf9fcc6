"""Completion in a shell: commands, options, and names on the server."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from plain_servers import Peer, PlainServer
from programs import Ran, ft_client, make_environment
from version2_servers import Version2Server, list_entries

from filetransfer.cli.names_completion import Cache
from filetransfer.wire.messages import Entry, List


def complete(directory: Path, *words: str, server: str = "", **variables: str) -> list[str]:
    """Give what bash is given for the last of the words."""
    ran: Ran = ft_client(
        cwd=directory,
        _FT_CLIENT_COMPLETE="bash_complete",
        COMP_LINE=" ".join(["ft-client", *words]),
        FT_SERVER=server or "localhost:1",
        XDG_CACHE_HOME=str(directory / "cache"),
        **variables,
    )
    assert ran.errors == ""
    return [line for line in ran.output.splitlines() if line]


def answer(request: List, _: bytes) -> Any:
    if request.path == "d":
        return list_entries(Entry("d/one", "file"), Entry("d/two", "directory"))
    return list_entries(Entry("a.txt", "file"), Entry("b,c", "file"), Entry("d", "directory"))


def test_names_on_the_server(tmp_path: Path) -> None:
    with Version2Server({List: answer}) as server:
        address = server.address
        assert complete(tmp_path, "get", "", server=address) == [
            "plain,a.txt",
            "plain,b,c",
            "plain,d/",
        ]
        # Kept: it is not asked again.
        assert complete(tmp_path, "rm", "a", server=address) == ["plain,a.txt"]
        assert len(server.asked) == 1
        assert complete(tmp_path, "stat", "d/t", server=address) == ["plain,d/two/"]
        assert complete(tmp_path, "cp", ":b", server=address) == ["plain,:b,c"]
        assert complete(tmp_path, "cp", "b", server=address) == ["file,b"]


def test_commands_options_and_local_names(tmp_path: Path) -> None:
    assert "plain,summary" in complete(tmp_path, "su")
    assert "plain,--recursive" in complete(tmp_path, "ls", "--rec")
    assert "plain,--timeout" in complete(tmp_path, "ls", "--tim")
    assert complete(tmp_path, "put", "x") == ["file,x"]
    assert complete(tmp_path, "get", "-o", "x") == ["file,x"]
    assert complete(tmp_path, "help", "cha") == ["plain,change"]


def test_names_of_profiles(tmp_path: Path) -> None:
    settings = tmp_path / "ft-client" / "config.toml"
    settings.parent.mkdir()
    settings.write_text("[profiles.work]\n[profiles.wood]\n[profiles.home]\n")

    def ask(*words: str) -> list[str]:
        return complete(tmp_path, *words, XDG_CONFIG_HOME=str(tmp_path))

    assert ask("--profile", "wo") == ask("ls", "--profile", "wo") == ["plain,work", "plain,wood"]
    settings.write_text("[profiles.work")
    assert ask("--profile", "wo") == []


def test_what_bash_makes_of_a_line(tmp_path: Path) -> None:
    settings = tmp_path / "ft-client" / "config.toml"
    settings.parent.mkdir()
    names = list_entries(*(Entry(name, "file") for name in ("a b", "it's", "x:y")))
    with Version2Server({List: lambda *_: names}) as server:
        settings.write_text(f'[profiles.work]\nserver = "{server.address}"\n')

        def ask(*words: str, breaks: str = " :", address: str = server.address) -> list[str]:
            home = {"XDG_CONFIG_HOME": str(tmp_path), "COMP_WORDBREAKS": breaks}
            return complete(tmp_path, *words, server=address, **home)

        assert ask("get", "a") == ["plain,a\\ b"]
        assert ask("get", "a\\ ") == ["plain,a\\ b"]
        assert ask("get", "'a ") == ["plain,a b"]
        assert ask("get", "it") == ["plain,it\\'s"]
        # What is before a colon is another word to bash.
        assert ask("cp", ":x") == ["plain,x:y"]
        assert ask("get", "x:") == ["plain,y"]
        assert ask("cp", ":x", breaks=" ") == ["plain,:x:y"]
        # The server of a profile.
        assert ask("cp", "work:x", address="localhost:1") == ["plain,x:y"]
        assert ask("cp", "nobody:x") == []
        assert ask("cp", "d/work:x") == ["file,d/work:x"]


def run_shell(directory: Path, *command: str) -> str:
    """Run a shell that finds ft-client, and a server with some names; gives what it prints."""
    binaries = directory / "bin"
    binaries.mkdir()
    program = f"{shlex.quote(sys.executable)} -m filetransfer.cli"
    (binaries / "ft-client").write_text(f'#!/bin/sh\nexec {program} "$@"\n')
    (binaries / "ft-client").chmod(0o755)
    with Version2Server({List: answer}) as server:
        ran = subprocess.run(
            command,
            cwd=directory,
            env=make_environment(
                PATH=f"{binaries}:{os.environ['PATH']}",
                HOME=str(directory),
                FT_SERVER=server.address,
                XDG_CACHE_HOME=str(directory / "cache"),
            ),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert ran.stderr == ""
    return ran.stdout


def test_bash_itself(tmp_path: Path) -> None:
    """It completes a line as a person types it, with its own idea of words."""
    script = """
        eval "$(ft-client completion bash)"
        COMP_LINE="ft-client cp :d/o" COMP_POINT=17 COMP_WORDS=(ft-client cp : d/o) COMP_CWORD=3
        compopt() { echo "compopt $1 $2"; }
        _ft_client_completion ft-client d/o :
        printf '<%s>\\n' "${COMPREPLY[@]}"
        COMP_LINE="ft-client ls d" COMP_POINT=14 COMPREPLY=()
        _ft_client_completion ft-client d ls
        printf '<%s>\\n' "${COMPREPLY[@]}"
    """
    printed = run_shell(tmp_path, "bash", "--norc", "-c", script)
    assert printed == "<d/one>\ncompopt -o nospace\n<d/>\n"


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs the program zsh")
def test_zsh_itself(tmp_path: Path) -> None:
    """What it calls only while it completes is written down instead."""
    script = """
        compdef() { }
        compadd() { print -r -- compadd "$@": "${(@P)@[-1]}"; }
        _describe() { print -r -- "${(@P)3}"; }
        _path_files() { print -r -- "$@"; }
        eval "$(ft-client completion zsh)"
        try() { words=("$@") CURRENT=$#; _ft_client_completion; }
        try ft-client get ''
        try ft-client get --rec
        try ft-client put x
    """
    assert run_shell(tmp_path, "zsh", "-f", "-c", script).splitlines() == [
        "compadd -U -S  -V unsorted -a directories: d/",
        "compadd -U -V unsorted -a names: a.txt b,c",
        "--recursive:Fetch directories with all that is in them.",
        "-f",
    ]


@pytest.mark.skipif(shutil.which("fish") is None, reason="needs the program fish")
def test_fish_itself(tmp_path: Path) -> None:
    (tmp_path / "x,y").touch()
    script = """
        ft-client completion fish | source
        for line in 'get ' 'get --no-c' 'put x'
            complete -C "ft-client $line"
        end
    """
    assert run_shell(tmp_path, "fish", "--no-config", "-c", script).splitlines() == [
        "a.txt",
        "b,c",
        "d/",
        "--no-clobber\tReplace nothing: a file that exists already is an error.",
        "x,y",
    ]


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
