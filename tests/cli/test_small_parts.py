"""What needs no process of its own: addresses, text for terminals, explanations, completion, bars."""

from __future__ import annotations

import asyncio
import io
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import click
import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from filetransfer.cli import running
from filetransfer.cli.completion import LineCompleter
from filetransfer.cli.console import Console, Verbosity, printable
from filetransfer.cli.conversation import Conversation
from filetransfer.cli.invocation import is_bug
from filetransfer.cli.program import ft_client as program
from filetransfer.cli.progress import Bars, Progress, shorten
from filetransfer.cli.values import (
    NamesType,
    RateType,
    Server,
    ServerType,
    parse_rate,
    parse_server,
)
from filetransfer.errors import (
    ConnectFailed,
    Exists,
    FileTransferError,
    NotFound,
    RemoteProtocolError,
    RequestRefused,
    TransferInterrupted,
)
from filetransfer.wire.messages import Entry


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("localhost", Server("localhost")),
        ("host.example:1", Server("host.example", 1)),
        ("127.0.0.1:65535", Server("127.0.0.1", 65535)),
        ("[::1]", Server("::1")),
        ("tls://nas", Server("nas", None, True)),
        ("TLS://nas:9000", Server("nas", 9000, True)),
        ("tls://[::1]:1", Server("::1", 1, True)),
        ("tls://::1", Server("::1", None, True)),
        ("[::1]:9001", Server("::1", 9001)),
        ("fe80::1%eth0", Server("fe80::1%eth0")),
        ("::1", Server("::1")),
    ],
)
def test_addresses(text: str, server: Server) -> None:
    assert parse_server(text) == server
    assert parse_server(str(server)) == server


@pytest.mark.parametrize(
    "text", ["", ":9000", "host:", "host:0", "host:65536", "host:x", "[::1", "[]:1", "[::1]9000"]
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST"):
        parse_server(text)


def test_an_address_may_be_read_already() -> None:
    assert ServerType()("host:1") == ServerType()(Server("host", 1)) == Server("host", 1)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain.txt", "plain.txt"),
        ("grün 日本.txt", "grün 日本.txt"),
        ("a\x1b[2J", "a\\x1b[2J"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x9b\u202e\u2028\udcff", "\\x9b\\u202e\\u2028\\udcff"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_text_for_terminals(text: str, shown: str) -> None:
    assert printable(text) == shown


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (NotFound("whatever"), "not found on host:1"),
        (Exists("exists already"), "refused by host:1: exists already"),
        (RequestRefused("no"), "refused by host:1, which does not say why: "),
        (ConnectFailed("no connection to host:1: why"), "no connection to host:1: why"),
        (TransferInterrupted("lost"), "host:1: lost"),
        (RemoteProtocolError("what"), "host:1 does not speak this protocol properly: what"),
        (FileNotFoundError(2, "No such file or directory", "f"), "no such file here"),
        (PermissionError(13, "Permission denied", "f"), "Permission denied"),
        (PermissionError(13, "Permission denied", "/g"), "/g: Permission denied"),
        (OSError("strange"), "strange"),
        (FileTransferError("message"), "message"),
        (FileTransferError(), "FileTransferError"),
    ],
)
def test_explanations(error: Exception, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    Console(Verbosity.NORMAL, "host:1").complain_about("get", "f", error)
    said = capsys.readouterr().err
    assert said.startswith(f"ft-client: get: f: {line}")
    assert said.count("\n") == 1


def test_what_is_a_bug() -> None:
    assert is_bug(KeyError())
    assert not is_bug(OSError())
    assert not is_bug(FileTransferError())


def test_a_bug_is_one_line_unless_asked_for_more(capsys: pytest.CaptureFixture[str]) -> None:
    for verbosity in (Verbosity.NORMAL, Verbosity.VERBOSE):
        assert running.complain_of_bug(Console(verbosity, "host:1"), KeyError("\x1b")) == 1
        said = capsys.readouterr().err
        assert said.startswith("ft-client: unexpected: KeyError: '\\x1b'; please report it")
        assert (said.count("\n") > 1) == (verbosity is Verbosity.VERBOSE)


def test_an_error_that_nobody_has_taken_is_no_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert running.complain_of_bug(Console(Verbosity.NORMAL, "host:1"), NotFound("a")) == 4
    assert capsys.readouterr().err == "ft-client: not found on host:1\n"


def test_a_second_signal_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(status: int) -> None:
        raise SystemExit(status)

    monkeypatch.setattr(os, "_exit", leave)
    reactor: Any = SimpleNamespace(callFromThread=lambda act, *arguments: act(*arguments))
    tidy: Deferred[int] = Deferred()

    async def act() -> int:
        try:
            await Deferred()
        except CancelledError:
            return await tidy
        raise AssertionError

    begun = running._Running(reactor, act, Console(Verbosity.NORMAL, ""), lambda: False)
    monkeypatch.setattr(running, "_SIGNALS", ())
    begun.start()
    begun._take_signal(signal.SIGINT, None)
    with pytest.raises(SystemExit) as left:
        begun._take_signal(signal.SIGTERM, None)
    assert left.value.code == 143


class Listed:
    """A session that lists one directory after the other, or fails."""

    def __init__(self, directories: dict[str | None, list[Entry]]) -> None:
        self._directories = directories

    async def list(self, name: str | None) -> AsyncIterator[Entry]:
        if name not in self._directories:
            raise NotFound("not found")
        for each in self._directories[name]:
            yield each


def complete(text: str, **directories: list[Entry]) -> list[str]:
    """Give the line with each completion."""
    listed: dict[str | None, list[Entry]] = {
        name or None: each for name, each in directories.items()
    }
    settings: Any = None
    conversation = Conversation(settings, Console(Verbosity.NORMAL, ""), click.Context(program))
    completer = LineCompleter(conversation.complete, cast(Any, Listed(listed)))

    async def collect() -> list[str]:
        return [
            text[: len(text) + each.start_position] + each.text
            async for each in completer.get_completions_async(Document(text), CompleteEvent())
        ]

    return asyncio.run(collect())


def test_completion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "abc").touch()
    (tmp_path / "a b'c").touch()
    (tmp_path / ".hidden").touch()
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "inside").touch()
    assert complete("")[:3] == ["put ", "get ", "cp "]
    assert complete("p") == ["put "]
    assert complete("x") == []
    assert complete("put ") == ["put a\\ b\\'c ", "put abc ", "put dir/"]
    assert complete("put x a\\ ") == ["put x a\\ b\\'c "]
    assert complete("put dir/") == ["put dir/inside "]
    assert complete("put ~/d") == ["put ~/dir/"]
    assert complete("put .") == ["put .hidden "]
    assert complete("put missing/") == []
    assert complete("get abc -o ab") == ["get abc -o abc "]
    assert complete("help su") == ["help summary "]
    assert complete("ls --lo") == ["ls --long "]
    assert complete("get --durability n") == ["get --durability none "]


def test_completion_of_names_on_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "here").touch()
    top = [Entry("d e", "directory"), Entry("data", "file")]
    inside = [Entry("d e/x", "file")]

    def ask(text: str) -> list[str]:
        return complete(text, **{"": top, "d e": inside})

    assert ask("get d") == ["get d\\ e/", "get data "]
    assert ask("stat d\\ e/") == ["stat d\\ e/x "]
    assert ask("cp :da") == ["cp :data "]
    assert ask("cp ") == ["cp here "]
    # Another profile's server is not asked.
    assert ask("cp work:da") == []
    assert ask("get missing/") == []


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def make_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal. Not a fixture: pytest takes its own stream back between set-up and test."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    return terminal


def test_no_bars_for_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    clock = Clock()
    bars = Console(Verbosity.NORMAL, "").make_progress(clock)
    bar = bars.begin("file")
    bar(10, 10)
    clock.advance(0.4)
    bars.end(bar)
    bars.close()
    assert terminal.getvalue() == ""
    assert clock.getDelayedCalls() == []


def test_bars_for_what_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    clock = Clock()
    bars = Bars(clock)
    bars.expect(3, 60_000_000)
    large, small, other = bars.begin("l\x1barge"), bars.begin("small"), bars.begin("[red]other")
    large(1_000_000, 50_000_000)
    small(10, 10)
    other(3_000_000, 4_000_000)
    clock.advance(0.5)
    shown = terminal.getvalue()
    assert "l\\x1barge" in shown
    assert "1.0/50.0 MB" in shown
    # A name is no markup.
    assert "[red]other" in shown
    assert "0 of 3 files" in shown
    assert "4.0/60.0 MB" in shown
    assert "small" not in shown
    bars.end(other)
    bars.end(small)
    large(25_000_000, 50_000_000)
    clock.advance(0.1)
    shown = terminal.getvalue()
    assert "25.0/50.0 MB" in shown
    assert "2 of 3 files" in shown
    assert "28.0/60.0 MB" in shown
    bars.close()
    assert clock.getDelayedCalls() == []


def test_small_files_are_counted_and_have_no_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    clock = Clock()
    bars = Bars(clock)
    bars.expect(3, 3_000_000)
    bars.begin_small()
    bars.end_small(1_000_000)
    clock.advance(0.5)
    assert "1 of 3 files" in terminal.getvalue()
    assert "1.0/3.0 MB" in terminal.getvalue()
    bars.close()
    assert clock.getDelayedCalls() == []


def test_many_bars_are_as_many_as_one_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = make_terminal(monkeypatch)
    clock = Clock()
    bars = Bars(clock)
    bars.expect(100)
    begun = [bars.begin(f"file-{number:02}") for number in range(100)]
    for bar in begun:
        bar(1, 2_000_000)
    clock.advance(0.5)
    shown = terminal.getvalue()
    assert "0 of 100 files" in shown
    assert "file-04" in shown
    assert "file-05" not in shown
    bars.end(begun[0])
    clock.advance(0.1)
    assert "file-05" in terminal.getvalue()
    bars.close()


@pytest.mark.parametrize("columns", [60, 80, 200])
def test_lines_of_bars_fit(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    terminal = make_terminal(monkeypatch)
    monkeypatch.setenv("COLUMNS", str(columns))
    clock = Clock()
    bars = Bars(clock)
    bars.expect(2, 4_000_000)
    bars.begin("a/very/deep/" * 20 + "file.txt")(1_000_000, 2_000_000)
    clock.advance(0.5)
    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    lines = [line for line in re.split(r"[\r\n]+", shown) if line]
    assert len(lines) == 2
    assert all(len(line) <= columns for line in lines)
    assert columns < 80 or "file.txt" in lines[1]
    bars.close()


def test_long_names_keep_their_ends() -> None:
    assert shorten("short", 80) == "short"
    assert shorten("x" * 30 + "file.txt", 80) == "…" + "x" * 17 + "file.txt"
    assert len(shorten("x" * 300, 200)) == 66


@pytest.mark.parametrize("is_quiet", [False, True])
def test_no_bars_without_a_terminal_or_when_quiet(
    monkeypatch: pytest.MonkeyPatch, is_quiet: bool
) -> None:
    stream = Terminal() if is_quiet else io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    clock = Clock()
    verbosity = Verbosity.QUIET if is_quiet else Verbosity.NORMAL
    progress = Console(verbosity, "").make_progress(clock)
    assert type(progress) is Progress
    bar = progress.begin("file")
    bar(10, 20)
    clock.advance(10)
    assert progress.octets_moved == 10
    progress.end(bar)
    assert progress.octets_moved == 10
    progress.close()
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("text", "rate"),
    [("65536", 65536), ("64k", 65536), ("1.5m", 1572864), ("2G", 2 * 1024**3)],
)
def test_rates(text: str, rate: int) -> None:
    assert parse_rate(text) == rate
    assert RateType()(text) == RateType()(rate) == rate


@pytest.mark.parametrize("text", ["", "fast", "10", "1e9", "-1M", "1MB", "63.9K"])
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match=r"octets a second|less than the least"):
        parse_rate(text)


def test_words() -> None:
    some = NamesType(("one", "two"))
    assert some("two, one") == some(["two", "one"]) == ("two", "one")
    with pytest.raises(click.BadParameter, match="'three' is not one of one, two"):
        some("one,three")
