"""What a busy server is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from client_rig import TRIES, Rig
from scripted_server import ScriptedServer

from filetransfer.errors import Busy
from filetransfer.wire.messages import Digested, Done, Request, Statistics


@pytest.fixture
def rig(rig_2: Rig) -> Rig:
    return rig_2


def ask(rig: Rig, request: str) -> Any:
    session = rig.session
    asking = {
        "digest": lambda: session.digest("a"),
        "summary": lambda: session.summary("a"),
        "copy": lambda: session.copy("a", "b"),
    }
    return rig.ask(asking[request]())


def refuse(rig: Rig, server: ScriptedServer, seconds: float) -> Request:
    """Say that the server is busy, and for how long."""
    (came,) = server.read()
    server.answer(Busy("later", retry_after=seconds))
    rig.turn()
    return came.request


@pytest.mark.parametrize(
    ("request_", "response"),
    [
        ("digest", Digested({}, 1, "e")),
        ("summary", Statistics(1.0, 1.0, 1.0, 1, 1.0, 0.0)),
        ("copy", Done(5, "e")),
    ],
)
def test_it_is_asked_again_when_it_says(rig: Rig, request_: str, response: Any) -> None:
    rig.ask(rig.session.open())
    server = ScriptedServer(rig.link)
    asked = ask(rig, request_)
    first = refuse(rig, server, 7)
    rig.clock.advance(7)
    assert server.read() == []
    rig.clock.advance(0.25)
    rig.turn()
    (again,) = server.read()
    assert again.request == first
    server.answer(response)
    rig.turn()
    assert asked.error is None
    assert asked.result is not None


def test_it_is_not_asked_for_ever(rig: Rig) -> None:
    rig.ask(rig.session.open())
    server = ScriptedServer(rig.link)
    asked = ask(rig, "digest")
    for _ in range(TRIES):
        assert not asked.is_over
        refuse(rig, server, 1)
        rig.clock.advance(10)
        rig.turn()
    assert isinstance(asked.error, Busy)
    assert server.read() == []
