"""The commands, typed as a user types them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_servers import HELP_TEXT, Peer, PlainServer
from programs import begin, finish, ft_client, list_names
from version2_servers import Version2Server, list_entries

from filetransfer import __version__
from filetransfer.cli.program import COMMANDS
from filetransfer.wire.messages import Entry, Help, HelpText, List


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        yield server


def test_put_several_files_over_one_connection(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    for name in ("a", "d/b", "c d"):
        (tmp_path / name).write_bytes(name.encode())
    ran = ft_client("put", "a", "d/b", "c d", cwd=tmp_path, server=server.address)
    assert (ran.status, ran.output, ran.errors) == (0, "", "")
    assert server.files == {"a": b"a", "b": b"d/b", "c d": b"c d"}
    assert server.connections == 1


def test_put_under_another_name(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    assert ft_client("put", "a", "--as", "x/y", cwd=tmp_path, server=server.address).status == 0
    assert server.files == {"x/y": b"a"}


@pytest.mark.parametrize("size", [0, 5, 1_000_000])
def test_put_standard_input(server: PlainServer, tmp_path: Path, size: int) -> None:
    given = os.urandom(size)
    ran = ft_client("put", "-", "--as", "a", cwd=tmp_path, server=server.address, given=given)
    assert ran.status == 0
    assert server.files == {"a": given}


def test_put_a_file_that_is_standard_input(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    process = begin("put", "/proc/self/fd/0", "--as", "b", cwd=tmp_path, server=server.address)
    assert finish(process, b"through a pipe").status == 0
    assert server.files == {"b": b"through a pipe"}


def test_get_several_files(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"a", "d/b": b"b"}
    ran = ft_client("get", "a", "d/b", cwd=tmp_path, server=server.address)
    assert (ran.status, ran.output, ran.errors) == (0, "", "")
    assert list_names(tmp_path) == ["a", "b"]
    assert server.connections == 1


def test_names_from_a_file(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"a", "b": b"b", "c": b"c"}
    (tmp_path / "list").write_text("a\n\nb\n")
    ran = ft_client("get", "--files-from", "list", "c", cwd=tmp_path, server=server.address)
    assert ran.status == 0
    assert list_names(tmp_path) == ["a", "b", "c", "list"]
    server.files.clear()
    ran = ft_client("put", "--files-from", "-", cwd=tmp_path, server=server.address, given=b"a\nb")
    assert ran.status == 0
    assert server.files == {"a": b"a", "b": b"b"}
    ran = ft_client("put", "--files-from", "missing", cwd=tmp_path, server=server.address)
    assert ran.status == 2


def test_get_into_a_directory(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"a", "d/b": b"b"}
    (tmp_path / "t").mkdir()
    ran = ft_client("get", "a", "d/b", "-o", "t", cwd=tmp_path, server=server.address)
    assert ran.status == 0
    assert list_names(tmp_path / "t") == ["a", "b"]


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_get_to_standard_output(server: PlainServer, tmp_path: Path, size: int) -> None:
    server.files = {"a": os.urandom(size), "b": b"b"}
    ran = ft_client("get", "a", "b", "--output", "-", cwd=tmp_path, server=server.address)
    assert ran.octets == server.files["a"] + b"b"
    assert ran.errors == ""
    assert list_names(tmp_path) == []


def test_get_without_durability(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"a"}
    ran = ft_client("get", "a", "--durability", "none", cwd=tmp_path, server=server.address)
    assert ran.status == 0
    assert (tmp_path / "a").read_bytes() == b"a"


def test_get_into_a_directory_that_is_missing(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("get", "a", "-o", "missing/a", cwd=tmp_path, server=server.address)
    assert ran.status == 4
    assert ran.errors == f"ft-client: get: a: {tmp_path}/missing: No such file or directory\n"
    assert server.connections == 0


def test_help_tells_what_can_be_asked(tmp_path: Path) -> None:
    told = HelpText("ask away", software="scripted", requests=["PUT", "LIST\x1b"])
    with Version2Server({Help: lambda *_: told}) as server:
        assert ft_client("help", cwd=tmp_path, server=server.address).output == (
            "ask away\nPUT LIST\\x1b\n"
        )


@pytest.mark.parametrize("command", ["change", "mv"])
def test_change(server: PlainServer, tmp_path: Path, command: str) -> None:
    server.files = {"a": b"a", "c": b"c"}
    assert ft_client(command, "a", "b", cwd=tmp_path, server=server.address).status == 0
    assert server.files == {"b": b"a", "c": b"c"}
    ran = ft_client(command, "b", "c", cwd=tmp_path, server=server.address)
    assert ran.status == 20
    ran = ft_client(command, "a", "d", cwd=tmp_path, server=server.address)
    assert ran.errors == f"ft-client: change: a: not found on {server.address}\n"


def test_summary(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n")
        peer.read_until_end()

    with PlainServer(converse) as server:
        ran = ft_client("summary", "a", cwd=tmp_path, server=server.address)
    assert (ran.status, ran.output) == (0, "Max: 44.0\nMin: 10.0\nAvg: 26.0\n")


def test_help_asks_the_server(server: PlainServer, tmp_path: Path) -> None:
    assert ft_client("help", cwd=tmp_path, server=server.address).output == HELP_TEXT + "\n"


@pytest.mark.parametrize("command", [*COMMANDS, "mv"])
def test_help_explains_a_command(tmp_path: Path, command: str) -> None:
    explained = ft_client("help", command, cwd=tmp_path)
    asked = ft_client(command, "--help", cwd=tmp_path)
    assert explained.status == asked.status == 0
    assert explained.output == asked.output
    assert asked.output.startswith(f"Usage: ft-client {command} ")
    assert "Examples:\n  " in asked.output
    assert "\b" not in asked.output
    assert "\\b " not in asked.output


@pytest.mark.parametrize("columns", ["80", "200"])
def test_the_list_of_commands_is_readable(tmp_path: Path, columns: str) -> None:
    text = ft_client("--help", cwd=tmp_path, COLUMNS=columns).output
    listed = text[text.index("Commands:") : text.index("Examples:")]
    # click ends so what it had to cut short.
    assert "..." not in listed
    assert len(listed.splitlines()) == len(COMMANDS) + 2
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize("arguments", [["ls"], ["--json", "ls"], ["shell", "-"], ["--help"]])
def test_nothing_is_said_when_nobody_reads_any_more(tmp_path: Path, arguments: list[str]) -> None:
    entries = list_entries(*(Entry(f"file-{number:06}", "file") for number in range(5000)))
    with Version2Server({List: lambda *_: entries}) as server:
        process = begin(*arguments, cwd=tmp_path, server=server.address)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        ran = finish(process, b"ls\n")
    assert (ran.status, ran.errors) == (1, "")


@pytest.mark.parametrize("arguments", [["--version"], ["version"]])
def test_version(tmp_path: Path, arguments: list[str]) -> None:
    assert ft_client(*arguments, cwd=tmp_path).output == f"ft-client {__version__}\n"


def test_nothing_heavy_is_imported_for_the_version(tmp_path: Path) -> None:
    process = begin("--version", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    errors = finish(process).errors
    for module in ("twisted", "rich", "prompt_toolkit", "asyncio", "numpy"):
        assert f" {module}\n" not in errors


def test_verbose_says_what_was_done(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    ran = ft_client("-v", "put", "a", "--as", "b", cwd=tmp_path, server=server.address)
    assert (ran.output, ran.errors) == ("", "a -> b: 3 octets\n")
    ran = ft_client("-v", "mv", "b", "c", cwd=tmp_path, server=server.address)
    assert (ran.output, ran.errors) == ("", "b is now c\n")
    ran = ft_client("-v", "get", "c", cwd=tmp_path, server=server.address)
    assert (ran.output, ran.errors) == ("", "c -> c: 3 octets\n")


def test_options_may_come_from_the_environment(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    ran = ft_client("put", "a", cwd=tmp_path, FT_SERVER=server.address, FT_AS="b", FT_VERBOSE="1")
    assert ran.errors == "a -> b: 3 octets\n"
    ran = ft_client(
        "get", "b", cwd=tmp_path, FT_SERVER=server.address, FT_OUTPUT="c", FT_DURABILITY="none"
    )
    assert (tmp_path / "c").read_bytes() == b"abc"
    with PlainServer(Peer.read_until_end) as silent:
        ran = ft_client("help", cwd=tmp_path, FT_SERVER=silent.address, FT_TIMEOUT="0.1")
    assert ran.status == 30
    ran = ft_client("help", cwd=tmp_path, FT_CONNECT_TIMEOUT="soon")
    assert ran.status == 2
    assert "'soon' is not a number of seconds" in ran.errors


def test_control_characters_never_reach_the_terminal(server: PlainServer, tmp_path: Path) -> None:
    evil = "a\x1b]0;title\x07\x9b2J\u202e.txt"
    (tmp_path / evil).write_bytes(b"x")
    ran = ft_client("-v", "put", evil, "nothing\x1b[31m", cwd=tmp_path, server=server.address)
    ran2 = ft_client("-v", "put", evil, "--as", "b", cwd=tmp_path, server=server.address)
    ran3 = ft_client("get", "a\x1bb", cwd=tmp_path, server=server.address)
    ran4 = ft_client("\x1b[31m", cwd=tmp_path, server=server.address)
    ran5 = ft_client("--server", "\x1b[31m:x", "help", cwd=tmp_path)
    assert ran2.status == 0
    for each in (ran, ran2, ran3, ran4, ran5):
        assert each.errors != ""
        assert all(char.isprintable() or char == "\n" for char in each.output + each.errors)


def test_text_from_the_server_is_escaped(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(1)
        peer.write(b"\xcb\x1b[2Jhello\n\x07")
        peer.read_until_end()

    with PlainServer(converse) as server:
        ran = ft_client("help", cwd=tmp_path, server=server.address)
    assert ran.output == "\\x1b[2Jhello\n\\x07\n"


def test_names_that_are_no_text(server: PlainServer, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).write_bytes(b"x")
    ran = ft_client("-v", "put", name, "--as", "cafe", cwd=tmp_path, server=server.address)
    assert (ran.status, ran.errors) == (0, "caf\\udce9 -> cafe: 1 octets\n")
    ran = ft_client("put", name, cwd=tmp_path, server=server.address)
    assert ran.status == 20


def test_a_reader_that_has_had_enough(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"x" * 5_000_000}
    process = begin("get", "a", "-o", "-", cwd=tmp_path, server=server.address)
    assert process.stdout is not None
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b"ft-client: get: a: Broken pipe\n"
    finish_quietly(process)
    process = begin("help", cwd=tmp_path, server=server.address)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 1
    finish_quietly(process)


def test_a_reader_of_the_help_that_has_had_enough(tmp_path: Path) -> None:
    process = begin("--help", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 1
    assert process.stderr is not None
    assert process.stderr.read() == b""
    finish_quietly(process)


def finish_quietly(process: object) -> None:
    for stream in ("stdin", "stdout", "stderr"):
        getattr(process, stream).close()


def test_ipv6(tmp_path: Path) -> None:
    def converse() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            # It knows no version 2.
            connection.sendall(b"\x80")
            connection.recv(1)
            connection.sendall(b"\xc3six")
            connection.recv(1)

    import threading

    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        thread = threading.Thread(target=converse)
        thread.start()
        ran = ft_client("help", cwd=tmp_path, server=f"[::1]:{listener.getsockname()[1]}")
        thread.join()
    assert ran.output == "six\n"


def test_one_family_of_addresses(server: PlainServer, tmp_path: Path) -> None:
    address = f"localhost:{server.port}"
    assert ft_client("-4", "help", cwd=tmp_path, server=address).status == 0
    ran = ft_client("help", "-6", "--retry", "0", cwd=tmp_path, server=address)
    assert ran.status == 5
    assert server.connections == 1


def test_a_limited_rate(server: PlainServer, tmp_path: Path) -> None:
    octets = os.urandom(600_000)
    (tmp_path / "a").write_bytes(octets)
    ran = ft_client("put", "a", "--limit-rate", "1M", cwd=tmp_path, server=server.address)
    assert ran.status == 0
    ran = ft_client("get", "a", "--limit-rate=1M", "-o", "b", cwd=tmp_path, server=server.address)
    assert ran.status == 0
    assert (tmp_path / "b").read_bytes() == octets


def test_retries(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)

    for retries in (0, 1):
        with PlainServer(converse) as server:
            ran = ft_client(
                "get", "a", "--retry", str(retries), cwd=tmp_path, server=server.address
            )
            assert (ran.status, server.connections) == (5, 1 + retries)


def test_a_name_with_two_addresses_of_which_one_refuses(
    server: PlainServer, tmp_path: Path
) -> None:
    # Nobody listens on ::1, which "localhost" often means as well.
    ran = ft_client("help", cwd=tmp_path, server=f"localhost:{server.port}")
    assert ran.output == HELP_TEXT + "\n"


def test_ten_thousand_small_files(server: PlainServer, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    names = [f"f{number:04}" for number in range(10_000)]
    for name in names:
        (source / name).write_bytes(name.encode())
    ran = ft_client("put", *names, cwd=source, server=server.address)
    assert (ran.status, ran.errors) == (0, "")
    assert len(server.files) == 10_000
    ran = ft_client("get", "--durability", "none", *names, cwd=target, server=server.address)
    assert (ran.status, ran.errors) == (0, "")
    assert all((target / name).read_bytes() == name.encode() for name in names)
    assert list_names(target) == names
    assert server.connections == 2
