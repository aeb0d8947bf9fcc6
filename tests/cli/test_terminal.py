"""ft-client at a terminal: the prompt, and the bars."""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_servers import HELP_TEXT, Peer, PlainServer
from terminals import open_screen
from version2_servers import Version2Server, list_entries

from filetransfer.wire.messages import Delete, Done, Entry, List


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        yield server


def test_a_conversation(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a b").write_bytes(b"abc")
    with open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        screen.type("help\r")
        screen.wait_for("sync +Make one tree")
        screen.wait_for(HELP_TEXT)
        screen.wait_for("ft>")
        screen.type("put 'a b' --as c\r")
        screen.wait_for(r"a b -> c: 3 octets")
        screen.wait_for("ft>")
        screen.type("change c d\r")
        screen.wait_for("c is now d")
        screen.type("get d\r")
        screen.wait_for("d -> d: 3 octets")
        # Errors do not end it.
        screen.type("get missing\r")
        screen.wait_for(f"ft-client: get: missing: not found on {server.address}")
        screen.type("nonsense\r")
        screen.wait_for("ft-client: nonsense: no such command")
        screen.type("put\r")
        screen.wait_for("ft-client: put: Missing argument 'FILE...'")
        screen.type("put 'a\r")
        screen.wait_for("ft-client: the line ends inside quotation marks")
        screen.type("summary --help\r")
        screen.wait_for("Usage: ft-client summary")
        screen.type("help mv\r")
        screen.wait_for("Usage: ft-client mv")
        screen.wait_for("ft>")
        screen.type("\r")
        screen.wait_for("ft>")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0
    assert server.files == {"d": b"abc"}
    assert (tmp_path / "d").read_bytes() == b"abc"
    assert server.connections == 1


@pytest.mark.parametrize("ending", ["quit\r", "exit\r", "bye\r", "\x04"])
def test_endings(server: PlainServer, tmp_path: Path, ending: str) -> None:
    with open_screen("--server", server.address, cwd=tmp_path) as screen:
        screen.wait_for("ft>")
        screen.type(ending)
        assert screen.wait_for_end() == 0


def test_history_is_kept(server: PlainServer, tmp_path: Path) -> None:
    # The second time: twice up, past "bye".
    for keys in ("help\r", "\x1b[A\x1b[A\r"):
        with open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
            screen.wait_for("ft>")
            screen.type(keys)
            screen.wait_for(HELP_TEXT)
            screen.wait_for("ft>")
            screen.type("bye\r")
            assert screen.wait_for_end() == 0
    history = tmp_path / ".state" / "ft-client" / "history"
    assert "+help\n" in history.read_text()
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_history_that_cannot_be_kept(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / ".state").write_text("in the way")
    with open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        screen.type("help\r")
        screen.wait_for(HELP_TEXT)
        screen.type("bye\r")
        assert screen.wait_for_end() == 0


def test_completion(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a long name").write_bytes(b"abc")
    with open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        screen.type("pu\t")
        screen.wait_for("put")
        screen.type(" a\t")
        screen.wait_for(r"a\\ long\\ name")
        screen.type("\r")
        screen.wait_for("a long name -> a long name: 3 octets")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0
    assert server.files == {"a long name": b"abc"}


def test_completion_of_names_on_the_server(tmp_path: Path) -> None:
    entries = list_entries(Entry("report-2024.csv", "file"), Entry("z", "directory"))
    answers: Any = {List: lambda *_: entries, Delete: lambda *_: Done()}
    with (
        Version2Server(answers) as server,
        open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen,
    ):
        screen.wait_for("ft>")
        screen.type("rm rep\t")
        screen.wait_for("ort-2024.csv")
        screen.type("\r")
        screen.wait_for("report-2024.csv removed")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0


def test_quiet(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with open_screen("-q", cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        screen.type("put a\r")
        screen.wait_for("ft>")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0
        assert "octets" not in screen.text


def test_a_server_that_is_gone_and_comes_back(tmp_path: Path) -> None:
    server = PlainServer(lambda peer: server.serve(peer, responses=1))
    with server, open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
        for _ in range(3):
            screen.type("help\r")
            screen.wait_for(HELP_TEXT)
            screen.wait_for("ft>")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0
    assert server.connections == 3


def test_control_c_ends_the_line_or_the_command_and_not_the_prompt(tmp_path: Path) -> None:
    asked = threading.Event()

    def converse(peer: Peer) -> None:
        peer.read(2)
        if server.connections == 1:
            asked.set()
            peer.read_until_end()
        peer.write(b"\x60")
        peer.read_until_end()

    server = PlainServer(converse)
    with server, open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        screen.type("never sent\x03")
        screen.wait_for("ft>")
        screen.type("get a\r")
        assert asked.wait(60)
        screen.type("\x03")
        screen.wait_for("ft-client: get: ended by Ctrl-C")
        screen.wait_for("ft>")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_prompt_and_restores_the_terminal(
    server: PlainServer, tmp_path: Path, number: int
) -> None:
    with open_screen(cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        os.kill(screen.process.pid, number)
        assert screen.wait_for_end() == 128 + number
        assert "Traceback" not in screen.text


@pytest.mark.parametrize("columns", [80, 200])
def test_a_bar_is_shown_and_taken_away(tmp_path: Path, columns: int) -> None:
    go_on = threading.Event()

    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"\x21a" + (4_000_000).to_bytes(4, "big") + b"x" * 3_000_000)
        assert go_on.wait(60)
        peer.write(b"x" * 1_000_000)
        peer.read_until_end()

    with (
        PlainServer(converse) as server,
        open_screen(
            "--server", server.address, "get", "a", cwd=tmp_path, columns=columns
        ) as screen,
    ):
        line = screen.wait_for(r"a [^\r\n]* 3\.0/4\.0 MB[^\r\n]*")[0]
        # Nor is it put off its place by the ^C that the terminal shows.
        assert columns - 20 < len(line) <= columns - 2
        go_on.set()
        assert screen.wait_for_end() == 0
    assert (tmp_path / "a").stat().st_size == 4_000_000


def test_bars_and_errors_do_not_mix(tmp_path: Path) -> None:
    go_on = threading.Event()

    def converse(peer: Peer) -> None:
        peer.read(4)
        peer.write(b"\x21a" + (4_000_000).to_bytes(4, "big") + b"x" * 3_000_000)
        assert go_on.wait(60)
        peer.write(b"x" * 1_000_000 + b"\x60")
        peer.read_until_end()

    with (
        PlainServer(converse) as server,
        open_screen("--server", server.address, "get", "a", "b", cwd=tmp_path) as screen,
    ):
        screen.wait_for(r"a .* 3\.0/4\.0 MB")
        screen.wait_for("0 of 2 files")
        go_on.set()
        screen.wait_for(f"ft-client: get: b: not found on {server.address}")
        assert screen.wait_for_end() == 23


def test_control_c_at_a_terminal(tmp_path: Path) -> None:
    asked = threading.Event()

    def converse(peer: Peer) -> None:
        peer.read(2)
        asked.set()
        peer.read_until_end()

    with (
        PlainServer(converse) as server,
        open_screen("--server", server.address, "get", "a", cwd=tmp_path) as screen,
    ):
        assert asked.wait(60)
        screen.type("\x03")
        assert screen.wait_for_end() == 130
        assert "Traceback" not in screen.text
