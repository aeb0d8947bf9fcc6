"""Which version a session comes to speak, and what becomes of those who wait for it."""

from __future__ import annotations

import pytest
from client_rig import CONNECT_TIMEOUT_SECONDS, HELP, TRIES, UNKNOWN, Rig
from reactors import HeldThreads
from scripted_server import GREETING, ScriptedServer
from test_lost_connections import wait
from twisted.internet import error

from filetransfer.client.protocol import ServerInfo
from filetransfer.errors import (
    Busy,
    ConnectFailed,
    ConnectTimeout,
    RemoteProtocolError,
    ShuttingDown,
    TransferInterrupted,
)
from filetransfer.wire.connection import SILENCE_SECONDS, begin_server
from filetransfer.wire.messages import Help, HelpText, Unavailable

ANSWER = HelpText("help", ["HELP"], [], {}, "scripted")


def test_a_server_that_speaks_version_2(rig_2: Rig) -> None:
    asked = rig_2.ask(rig_2.session.help())
    # Nothing more before the server has answered.
    assert rig_2.link.writes == [b"\xe0"]
    server = ScriptedServer(rig_2.link)
    assert [came.request for came in server.read()] == [Help()]
    server.answer(ANSWER)
    assert asked.result == "help"
    assert rig_2.session.server_info == ServerInfo(
        2, "scripted 1.0", frozenset(["resume", "durable"]), {"pipeline": 256}
    )
    assert rig_2.session.note == ""


def test_the_greeting_may_come_octet_by_octet(rig_2: Rig) -> None:
    asked = rig_2.ask(rig_2.session.open())
    end, _ = begin_server(GREETING)
    end.receive(rig_2.link.sent())
    greeting = end.next_event()
    rig_2.link.receive(greeting.octets, at_a_time=1)  # type: ignore[union-attr]
    assert asked.result.version == 2


def test_an_old_server_that_answers(rig_2: Rig) -> None:
    asked = rig_2.ask(rig_2.session.help())
    assert rig_2.link.sent() == b"\xe0"
    rig_2.answer(UNKNOWN)
    # On the same connection.
    assert rig_2.link.sent() == HELP
    rig_2.answer(b"\xc4help")
    assert asked.result == "help"
    assert rig_2.session.server_info == ServerInfo(1)
    assert rig_2.endpoint.attempts == 1


def say_nothing(rig: Rig) -> None:
    rig.clock.advance(SILENCE_SECONDS)


def close(rig: Rig) -> None:
    rig.link.lose()


def reset(rig: Rig) -> None:
    rig.link.lose(error.ConnectionLost())


def say_something_else(rig: Rig) -> None:
    rig.link.receive(b"\x60")


NO_ANSWERS = [say_nothing, close, reset, say_something_else]


@pytest.mark.parametrize("reply", NO_ANSWERS)
def test_an_old_server_that_does_not_answer(rig_2: Rig, reply: object) -> None:
    asked = rig_2.ask(rig_2.session.help())
    first = rig_2.link
    assert first.sent() == b"\xe0"
    reply(rig_2)  # type: ignore[operator]
    rig_2.turn()
    assert first.is_lost
    assert rig_2.link is not first
    assert rig_2.link.sent() == HELP
    rig_2.answer(b"\xc4help")
    assert asked.result == "help"
    assert "going on in version 1" in rig_2.session.note
    # Once is enough.
    rig_2.link.lose()
    again = rig_2.ask(rig_2.session.help())
    assert rig_2.link.sent() == HELP
    rig_2.answer(b"\xc4help")
    assert again.result == "help"


@pytest.mark.parametrize("reply", NO_ANSWERS)
def test_a_server_that_spoke_version_2_is_not_taken_for_an_old_one(
    rig_2: Rig, reply: object
) -> None:
    rig_2.ask(rig_2.session.open())
    ScriptedServer(rig_2.link)
    rig_2.link.lose()
    asked = rig_2.ask(rig_2.session.help())
    reply(rig_2)  # type: ignore[operator]
    wait(rig_2)
    server = ScriptedServer(rig_2.link)
    assert len(server.read()) == 1
    server.answer(ANSWER)
    assert asked.result == "help"
    assert rig_2.session.note == ""


@pytest.mark.parametrize("reply", [*NO_ANSWERS, lambda rig: rig.link.receive(UNKNOWN)])
def test_version_2_may_be_demanded(threads: HeldThreads, reply: object) -> None:
    rig = Rig(threads, (2,))
    asked = rig.ask(rig.session.help())
    reply(rig)  # type: ignore[operator]
    rig.turn()
    assert isinstance(asked.error, RemoteProtocolError)
    assert rig.endpoint.attempts == 1
    rig.end()


@pytest.mark.parametrize("refusal", [Busy, ShuttingDown])
def test_a_server_that_cannot_serve_is_tried_again(rig_2: Rig, refusal: type[Busy]) -> None:
    asked = rig_2.ask(rig_2.session.help())
    ScriptedServer(rig_2.link, Unavailable(refusal("later", retry_after=5)))
    rig_2.turn()
    assert rig_2.link.is_lost
    rig_2.clock.advance(4.9)
    assert rig_2.endpoint.attempts == 1
    rig_2.clock.advance(1)
    assert rig_2.endpoint.attempts == 2
    server = ScriptedServer(rig_2.link)
    assert len(server.read()) == 1
    server.answer(ANSWER)
    assert asked.result == "help"


def test_a_server_that_never_serves(rig_2: Rig) -> None:
    opened, asked = rig_2.ask(rig_2.session.open(), rig_2.session.help())
    for _ in range(TRIES):
        ScriptedServer(rig_2.link, Unavailable(Busy("full")))
        wait(rig_2)
    assert type(opened.error) is type(asked.error) is Busy
    assert rig_2.endpoint.attempts == TRIES


def test_a_server_that_goes_away_before_it_greets(rig_2: Rig) -> None:
    asked = rig_2.ask(rig_2.session.open())
    rig_2.link.receive(b"\xe0\x00")
    rig_2.link.lose()
    wait(rig_2)
    assert rig_2.endpoint.attempts == 2
    ScriptedServer(rig_2.link)
    assert asked.result.version == 2


def test_a_server_that_never_greets(rig_2: Rig) -> None:
    asked = rig_2.ask(rig_2.session.open())
    for _ in range(TRIES):
        rig_2.link.receive(b"\xe0")
        rig_2.link.lose()
        wait(rig_2)
    assert type(asked.error) is ConnectFailed
    again = rig_2.ask(rig_2.session.open())
    rig_2.link.receive(b"\xe0")
    rig_2.clock.advance(CONNECT_TIMEOUT_SECONDS)
    assert type(again.error) is ConnectTimeout
    assert rig_2.link.is_lost


def test_giving_up_while_the_version_is_not_known(rig_2: Rig) -> None:
    opened, asked = rig_2.ask(rig_2.session.open(), rig_2.session.help())
    rig_2.ask(rig_2.session.abort())
    assert type(opened.error) is type(asked.error) is TransferInterrupted
    assert rig_2.link.was_aborted
    assert rig_2.clock.getDelayedCalls() == []


def test_giving_up_the_wait_for_a_connection(rig_2: Rig) -> None:
    asked = rig_2.ask(rig_2.session.open())
    asked.cancel()
    ScriptedServer(rig_2.link)
    assert rig_2.session.server_info is not None
