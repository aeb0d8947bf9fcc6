"""The line of a request: who asked for what, how much moved, how long it took and how it ended."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from doubles import HELP, Rig, change, get, put
from twistds import ask, run_daemon

from filetransfer.server.exchange import Exchange
from filetransfer.wire.messages import Authenticate, Delete, Put, Stat


class Lines:
    """Collects them."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def add(self, **fields: Any) -> None:
        self.lines.append(fields)

    def take(self) -> list[tuple[Any, ...]]:
        """Give request, path, octets and outcome of each."""
        lines, self.lines = self.lines, []
        return [
            tuple(line[key] for key in ("request", "path", "octets", "outcome")) for line in lines
        ]


@pytest.fixture
def lines(rig: Rig) -> Lines:
    collected: Any = Lines()
    rig.factory.request_log = collected
    return collected  # type: ignore[no-any-return]


def test_every_request_has_a_line(rig: Rig, lines: Lines) -> None:
    peer = rig.connect()
    rig.store.files["bulk"] = bytes(100_000)
    peer.send(put("a", bytes(10)) + put("b", bytes(70_000)))
    rig.finish()
    peer.send(get("a") + get("bulk") + get("none") + change("a", "c") + HELP + put("..", b"12"))
    rig.finish()
    assert lines.take() == [
        ("put", "a", 10, "done"),
        ("put", "b", 70_000, "done"),
        ("get", "a", 10, "done"),
        ("get", "bulk", 100_000, "done"),
        ("get", "none", 0, "not-found"),
        ("change", "a", 0, "done"),
        ("help", "", 0, "done"),
        ("put", "..", 0, "name-invalid"),
    ]


def test_who_asked_and_how_long_it_took(rig: Rig, lines: Lines) -> None:
    rig.connect()
    peer = rig.connect()
    peer.send(put("a", b"1"))
    rig.clock.advance(1.5)
    rig.finish()
    peer.send(change("a", "b"))
    rig.finish()
    first, second = lines.lines
    assert first == {
        "connection": 2,
        "peer": "192.0.2.1:50000",
        "identity": "",
        "request": "put",
        "path": "a",
        "octets": 1,
        "seconds": 1.5,
        "outcome": "done",
    }
    assert second["to"] == "b"


def test_peers_that_are_lost(rig: Rig, lines: Lines) -> None:
    peer = rig.connect()
    peer.send(put("a", bytes(1000), size=100_000))
    rig.settle()
    peer.lose()
    rig.finish()
    assert lines.take() == [("put", "a", 1000, "lost")]
    peer = rig.connect()
    peer.send(put("a", bytes(1000), size=100_000))
    peer.end()
    rig.finish()
    assert lines.take() == [("put", "a", 1000, "lost")]
    rig.store.files["bulk"] = bytes(3_000_000)
    peer = rig.connect()
    peer.wire.is_stuck = True
    peer.send(get("bulk") + HELP)
    rig.settle()
    peer.lose()
    rig.finish()
    [(request, path, octets, outcome)] = lines.take()
    assert (request, path, outcome) == ("get", "bulk", "lost")
    assert 0 < octets < 3_000_000


def test_secrets_are_not_logged(rig: Rig, lines: Lines) -> None:
    token = os.urandom(16)
    peer = rig.connect()
    [connection] = rig.factory.connections
    for request in (
        Put("a", 1, upload=token),
        Stat(upload=token),
        Delete(upload=token),
        Authenticate("plain", token),
    ):
        Exchange(connection, request).log()
        assert repr(token)[2:-1] not in repr(request)
    for secret in (token, token.hex(), repr(token)[2:-1]):
        assert not any(
            secret in (key, value) or str(secret) in str(value)
            for line in lines.lines
            for key, value in line.items()
        )
    assert len(lines.lines) == 4
    assert peer


@pytest.mark.parametrize("form", ["text", "json"])
def test_daemon_that_logs_requests(tmp_path: Path, form: str) -> None:
    arguments = ["--listen", "unix:socket", "--log-requests", "--log-format", form]
    with run_daemon(tmp_path, *arguments) as daemon:
        ask(str(tmp_path / "socket"), put("a", b"1") + get("no\x1bne"))
        assert daemon.end() == 0
    told = [line for line in daemon.log if "requests" in line and "connection" in line]
    assert len(told) == 2
    assert all(line.isprintable() for line in told)
    if form == "json":
        assert [json.loads(line)["path"] for line in told] == ["a", "no\x1bne"]
