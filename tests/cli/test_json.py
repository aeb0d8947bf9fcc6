"""--json: what programs are told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from plain_servers import HELP_TEXT, Peer, PlainServer
from programs import Ran, begin, finish, ft_client
from twisted.internet.task import Clock

from filetransfer.cli.console import Verbosity
from filetransfer.cli.json_lines import JsonConsole, write_line
from filetransfer.errors import OutcomeUnknown


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        yield server


def read(ran: Ran) -> list[dict[str, Any]]:
    """Give the objects, the first and the last of which are as they must be."""
    lines = [json.loads(line) for line in ran.output.splitlines()]
    assert [line["type"] for line in lines].count("start") == 1
    assert lines[0]["type"] == "start"
    assert lines[0]["schema"] == 1
    assert lines[-1]["type"] == "summary"
    assert lines[-1]["exit_code"] == ran.status
    return lines


def test_files_that_are_stored(server: PlainServer, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(b"abc")
    ran = ft_client("--json", "put", "a", "b", cwd=tmp_path, server=server.address)
    start, one, two, summary = read(ran)
    assert ran.errors == ""
    assert (start["command"], start["server"]) == ("put", server.address)
    told = [(each["ok"], each["subject"], each["target"], each["size"]) for each in (one, two)]
    assert sorted(told) == [(True, "a", "a", 3), (True, "b", "b", 3)]
    assert (summary["status"], summary["done"], summary["failed"]) == ("done", 2, 0)
    assert summary["octets"] == 6
    assert summary["seconds"] >= 0


def test_failures(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"abc"}
    ran = ft_client("get", "a", "missing", "../x", "--json", cwd=tmp_path, server=server.address)
    _, *items, summary = read(ran)
    assert summary["status"] == "some-failed"
    failed = {item["subject"]: item["error"] for item in items if not item["ok"]}
    assert failed["missing"] == {
        "status": "not-found",
        "exit_code": 4,
        "word": "not-found",
        "message": f"not found on {server.address}",
    }
    assert failed["../x"]["word"] == "name-invalid"
    # People are told as ever.
    assert len(ran.errors.splitlines()) == 2


def test_a_name_that_is_no_text(server: PlainServer, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n")
    (tmp_path / name).write_bytes(b"x")
    ran = ft_client("--json", "put", name, "--as", "b", cwd=tmp_path, server=server.address)
    assert read(ran)[1]["subject"] == "caf\\udce9\n"


def test_answers(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("--json", "help", cwd=tmp_path, server=server.address)
    assert read(ran)[1]["text"] == HELP_TEXT
    server.files = {"a": b""}
    ran = ft_client("--json", "change", "a", "b", cwd=tmp_path, server=server.address)
    assert read(ran)[1]["target"] == "b"


@pytest.mark.parametrize(
    "arguments", ["version", "bye", "config show", "help put", "completion bash", "help"]
)
def test_nothing_else_is_on_standard_output(
    server: PlainServer, tmp_path: Path, arguments: str
) -> None:
    ran = ft_client("--json", *arguments.split(), cwd=tmp_path, server=server.address)
    lines = read(ran)
    assert (ran.status, ran.errors) == (0, "")
    assert lines[0]["command"] == arguments.split(maxsplit=1)[0]
    assert {line["type"] for line in lines[1:-1]} <= {"item"}


def test_a_file_cannot_be_on_standard_output_as_well(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"abc"}
    for target in (["-"], ["-o", "-"]):
        ran = ft_client("--json", "get", "a", *target, cwd=tmp_path, server=server.address)
        assert (ran.status, ran.output) == (2, "")
        assert "standard output cannot take both" in ran.errors


def test_a_signal(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        process.send_signal(signal.SIGINT)
        peer.read_until_end()

    with PlainServer(converse) as server:
        process = begin("--json", "get", "a", cwd=tmp_path, server=server.address)
        assert read(finish(process))[-1]["status"] == "interrupted"


def make_console() -> JsonConsole:
    return JsonConsole(Verbosity.NORMAL, "host:1")


def test_progress_at_most_once_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    progress = make_console().make_progress(clock)
    progress.expect(2, 5_000)
    one, two = progress.begin("o\udce9ne"), progress.begin("two")
    one(100, 4_000)
    for _ in range(29):
        clock.advance(0.1)
    progress.end(two)
    progress.close()
    assert clock.getDelayedCalls() == []
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines == 2 * [
        {
            "type": "progress",
            "files": {"done": 0, "expected": 2},
            "octets": {"moved": 100, "expected": 5000},
            "moving": [{"subject": "o\\udce9ne", "moved": 100, "size": 4000}],
        }
    ]


def test_octets_are_hexadecimal(capsys: pytest.CaptureFixture[str]) -> None:
    write_line({"digest": {"sha256": b"\x00\xff"}})
    assert json.loads(capsys.readouterr().out) == {"digest": {"sha256": "00ff"}}
    with pytest.raises(TypeError, match="no place in JSON"):
        write_line({"x": object()})


def test_an_unusual_signal_and_an_error_without_a_word(capsys: pytest.CaptureFixture[str]) -> None:
    console = make_console()
    console.begin("change")
    console.complain_about("change", "a", OutcomeUnknown("lost"))
    console.end(129)
    _, item, summary = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "word" not in item["error"]
    assert (summary["status"], summary["exit_code"]) == ("signal", 129)
