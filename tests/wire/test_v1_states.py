"""The transition table in the docstring of filetransfer/wire/v1.py, compared with the machine."""

import re
from itertools import pairwise

from feeding import End, drive, split_every_way
from observing import Observed, Transitions
from test_v1_requests import FOREIGN
from test_v1_requests import MESSAGES as REQUESTS
from test_v1_responses import MESSAGES as RESPONSES
from test_v1_responses import NONSENSE, REFUSALS

from filetransfer.wire import v1
from filetransfer.wire.connection import ClientConnection, ServerConnection
from filetransfer.wire.messages import Request, Unknown

ROW = re.compile(r" {4}([A-Z_]+) +-> ([A-Z_]+) +(both|server|client) .+")


def read_table(whose: str) -> Transitions:
    assert v1.__doc__ is not None
    lines = [line for line in v1.__doc__.splitlines() if "->" in line]
    rows = [ROW.fullmatch(line) for line in lines]
    assert all(rows), lines
    return {(row[1], row[2]) for row in rows if row and row[3] in ("both", whose)}


class ObservedServer(Observed, ServerConnection):
    """A server's end."""


class ObservedClient(Observed, ClientConnection):
    """A client's end."""


def observe(end: End, octets: bytes, requests: list[Request]) -> Transitions:
    """Drive both ways with its bodies: they are taken, they are discarded."""
    seen: Transitions = set()
    for pieces in split_every_way(octets):
        for discards_bodies in (False, True):
            observed = ObservedClient() if isinstance(end, ClientConnection) else ObservedServer()
            for request in requests:
                observed.encode(request)  # type: ignore[call-arg, arg-type]
            drive(observed, pieces, discards_bodies=discards_bodies)
            names = [state.name for state in observed.trace]
            assert names[0] == "AWAITING_HEADER"
            seen.update(pairwise(names))
    return seen


def test_server_goes_through_the_table() -> None:
    seen: Transitions = set()
    for octets in [*(octets for octets, _ in REQUESTS.values()), *FOREIGN.values()]:
        seen |= observe(ServerConnection(), octets, [])
    assert seen == read_table("server")


def test_client_goes_through_the_table() -> None:
    seen: Transitions = set()
    answered = [([request], octets) for request, octets, _ in RESPONSES.values()]
    refused = [
        ([request], octets) for _, request, octets in REFUSALS if type(request) is not Unknown
    ]
    nonsense = [(requests, octets) for requests, octets, _ in NONSENSE.values()]
    for requests, octets in [*answered, *refused, *nonsense]:
        seen |= observe(ClientConnection(), octets, requests)
    assert seen == read_table("client")


def test_server_has_the_states_that_the_protocol_names() -> None:
    assert {state for row in read_table("server") for state in row} == {
        "AWAITING_HEADER",
        "AWAITING_NAME",
        "AWAITING_SIZE",
        "RECEIVING_BODY",
        "DISCARDING_BODY",
    }
