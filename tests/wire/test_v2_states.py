"""The transition table in the docstring of filetransfer/wire/v2_frames.py, compared with the machine."""

import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

from feeding import drive, split_every_way
from observing import Observed, Transitions
from test_v2_requests import MESSAGES as REQUESTS
from test_v2_responses import GREETING, NONSENSE
from test_v2_responses import MESSAGES as RESPONSES

from filetransfer.wire import v2, v2_frames
from filetransfer.wire.connection import Event
from filetransfer.wire.messages import BodyRun, Request

ROW = re.compile(r" {4}([A-Z_]+) +-> ([A-Z_]+) +.+")


def read_table() -> Transitions:
    assert v2_frames.__doc__ is not None
    lines = [line for line in v2_frames.__doc__.splitlines() if "->" in line]
    rows = [ROW.fullmatch(line) for line in lines]
    assert all(rows), lines
    return {(row[1], row[2]) for row in rows if row}


class Fickle(Observed):
    """Mixed into an end, discards a body when it has begun to come."""

    def next_event(self) -> Event | None:
        event = super().next_event()
        if isinstance(event, BodyRun):
            self.discard_body()  # type: ignore[attr-defined]
        return event


class ObservedServer(Observed, v2.ServerCodec):
    """A server's end."""


class FickleServer(Fickle, v2.ServerCodec):
    """A server's end."""


class ObservedClient(Observed, v2.ClientCodec):
    """A client's end."""


class FickleClient(Fickle, v2.ClientCodec):
    """A client's end."""


SERVERS = (ObservedServer, FickleServer)
CLIENTS = (ObservedClient, FickleClient)


def observe(make: Callable[[], Any], octets: bytes, *requests: Request) -> Transitions:
    """Drive an end whose bodies are taken, and one whose bodies are discarded."""
    seen: Transitions = set()
    for pieces in split_every_way(octets):
        for discards_bodies in (False, True):
            observed = make()
            for request in requests:
                observed.encode(request)
            drive(observed, pieces, discards_bodies=discards_bodies)
            names = [state.name for state in observed.trace]
            assert names[0] == "AWAITING_HEADER"
            seen.update(pairwise(names))
    return seen


def test_server_goes_through_the_table() -> None:
    seen: Transitions = set()
    for octets, _ in REQUESTS.values():
        for make in SERVERS:
            seen |= observe(make, octets)
    assert seen == read_table()


def test_client_goes_through_the_table() -> None:
    answered = [([request], octets) for request, octets, _ in RESPONSES.values()]
    seen: Transitions = set()
    for requests, octets in [*answered, *NONSENSE.values()]:
        for make in CLIENTS:
            seen |= observe(make, GREETING + octets, *requests)
    assert seen == read_table()


def test_states_are_those_of_the_protocol() -> None:
    assert {state for row in read_table() for state in row} == {
        "AWAITING_HEADER",
        "AWAITING_NAME",
        "AWAITING_SIZE",
        "RECEIVING_BODY",
        "DISCARDING_BODY",
    }
