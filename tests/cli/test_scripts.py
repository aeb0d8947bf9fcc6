"""ft-client shell: commands from a script."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from plain_servers import HELP_TEXT, PlainServer
from programs import Ran, ft_client
from terminals import open_screen


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        server.files = {"a": b"abc"}
        yield server


def run(server: PlainServer, directory: Path, text: str, *options: str) -> Ran:
    (directory / "script").write_text(text)
    return ft_client(*options, "shell", "script", cwd=directory, server=server.address)


def test_a_script(server: PlainServer, tmp_path: Path) -> None:
    text = "# a comment\n\nget a -o 'b c'  # another\nput 'b c'\nchange a d\nhelp\nbye\nnonsense\n"
    ran = run(server, tmp_path, text)
    assert (ran.status, ran.output, ran.errors) == (0, HELP_TEXT + "\n", "")
    assert server.files == {"b c": b"abc", "d": b"abc"}
    assert server.connections == 1


def test_a_script_from_standard_input(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("shell", "-", cwd=tmp_path, server=server.address, given=b"change a b")
    assert ran.status == 0
    assert server.files == {"b": b"abc"}


def test_the_first_that_fails_ends_it(server: PlainServer, tmp_path: Path) -> None:
    ran = run(server, tmp_path, "get a\nget missing\nchange a b\n")
    assert ran.status == 4
    assert ran.errors.splitlines() == [
        f"ft-client: get: missing: not found on {server.address}",
        "ft-client: shell: script: line 2 failed",
    ]
    assert "a" in server.files


def test_what_may_fail(server: PlainServer, tmp_path: Path) -> None:
    ran = run(server, tmp_path, "-get missing\n- nonsense\nchange a b\n")
    assert ran.status == 0
    assert "b" in server.files


@pytest.mark.parametrize(
    "line",
    ["nonsense", "get", "get 'a", "help --timeout 3", "help -v", "shell", "get --nonsense a"],
)
def test_wrong_usage_ends_it(server: PlainServer, tmp_path: Path, line: str) -> None:
    ran = run(server, tmp_path, f"{line}\nchange a b\n")
    assert ran.status == 2
    assert "line 1" in ran.errors
    assert "a" in server.files


def test_help_in_a_script(server: PlainServer, tmp_path: Path) -> None:
    ran = run(server, tmp_path, "get --help\nversion\n")
    assert ran.status == 0
    assert ran.output.startswith("Usage: ft-client get ")


def test_json_is_a_run_for_each_command(server: PlainServer, tmp_path: Path) -> None:
    ran = run(server, tmp_path, "get a\nget missing\n", "--json")
    lines = [json.loads(line) for line in ran.output.splitlines()]
    assert [line["type"] for line in lines] == 2 * ["start", "item", "summary"]
    assert [line["exit_code"] for line in lines if line["type"] == "summary"] == [0, 4]


def test_a_script_that_cannot_be_read(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("shell", "missing", cwd=tmp_path, server=server.address)
    assert (ran.status, ran.errors) == (4, "ft-client: shell: missing: no such file here\n")
    assert ft_client("shell", str(tmp_path), cwd=tmp_path, server=server.address).status == 1


def test_no_terminal_and_no_script(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("shell", cwd=tmp_path, server=server.address)
    assert ran.status == 2
    assert "there is no terminal to ask at" in ran.errors


def test_a_promise_is_required_before_anything_is_done(server: PlainServer, tmp_path: Path) -> None:
    ran = run(server, tmp_path, "change a b\n", "--require", "durable")
    assert ran.status == 20
    assert "a" in server.files


def test_bye_alone_does_nothing(tmp_path: Path) -> None:
    ran = ft_client("bye", cwd=tmp_path)
    assert (ran.status, ran.output, ran.errors) == (0, "", "")


def test_the_prompt_by_its_name(server: PlainServer, tmp_path: Path) -> None:
    with open_screen("shell", cwd=tmp_path, FT_SERVER=server.address) as screen:
        screen.wait_for("ft>")
        screen.type("shell\r")
        screen.wait_for("this is one already")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0


def test_the_prompt_is_for_people(server: PlainServer, tmp_path: Path) -> None:
    with open_screen("--json", cwd=tmp_path, FT_SERVER=server.address) as screen:
        assert screen.wait_for_end() == 2
        assert "--json is for scripts" in screen.text
