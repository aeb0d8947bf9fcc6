"""What the options of ``ft-client`` itself say, as one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from filetransfer.cli.console import Verbosity
from filetransfer.cli.options import Chosen, choose_values
from filetransfer.cli.trusting import TrustSettings, read_trust_settings
from filetransfer.cli.values import Server

if TYPE_CHECKING:
    from filetransfer.client import Session
    from filetransfer.client.family import Family


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every command.

    Attributes:
        server: whom to ask, and where.
        trust: whom to believe over TLS, and what to show.
        timeout_seconds: how long nothing may move.
        connect_timeout_seconds: for each try to connect.
        retries: after the first try.
        family: of internet addresses, 4 or 6; None for both.
        max_rate: octets a second; None for as fast as it goes.
        required: what the server must promise.
        verbosity: how much is said.
        is_json: whether it is said as JSON.
    """

    server: Server
    trust: TrustSettings
    timeout_seconds: float
    connect_timeout_seconds: float
    retries: int
    family: Family | None
    max_rate: int | None
    required: tuple[str, ...]
    verbosity: Verbosity
    is_json: bool

    def begin_session(self) -> Session:
        """Give a session that connects at its first request."""
        from filetransfer.client import connect

        return connect(
            self.server.host,
            self.server.port,
            tls=self.trust.choose_trust(self.server),
            family=self.family,
            connect_timeout_seconds=self.connect_timeout_seconds,
            timeout_seconds=self.timeout_seconds,
            tries=self.retries + 1,
            max_rate=self.max_rate,
        )


def choose_settings(context: click.Context) -> Settings:
    """Make settings of the values of :data:`~filetransfer.cli.options.COMMON`. Raises click.UsageError."""
    chosen = choose_values(context)
    try:
        return _make_settings(chosen)
    except ValueError as error:
        raise click.UsageError(str(error), context) from error


def _make_settings(chosen: Mapping[str, Chosen]) -> Settings:
    trust = read_trust_settings(chosen)
    is_verbose, is_quiet = _choose_one(chosen, "verbose", "quiet")
    is_ipv4, is_ipv6 = _choose_one(chosen, "ipv4", "ipv6")
    return Settings(
        server=chosen["server"].value.settle(is_tls=trust.is_tls),
        trust=trust,
        timeout_seconds=chosen["timeout"].value,
        connect_timeout_seconds=chosen["connect_timeout"].value,
        retries=chosen["retry"].value,
        family=4 if is_ipv4 else 6 if is_ipv6 else None,
        max_rate=chosen["limit_rate"].value,
        required=chosen["require"].value or (),
        verbosity=_choose_verbosity(is_verbose, is_quiet),
        is_json=chosen["json"].value,
    )


def _choose_verbosity(is_verbose: bool, is_quiet: bool) -> Verbosity:
    if is_verbose:
        return Verbosity.VERBOSE
    return Verbosity.QUIET if is_quiet else Verbosity.NORMAL


# The enumeration has them in this order of weight, but for nothing that we rely on.
_WEIGHTS = {
    ParameterSource.COMMANDLINE: 3,
    ParameterSource.ENVIRONMENT: 2,
    ParameterSource.DEFAULT_MAP: 1,
}


def _choose_one(chosen: Mapping[str, Chosen], *names: str) -> tuple[Any, Any]:
    """Give the values of two flags that exclude each other; of those set in two places, the one set nearer counts."""
    one, other = (chosen[name] for name in names)
    if not (one.value and other.value):
        return one.value, other.value
    weights = _WEIGHTS.get(one.source, 0), _WEIGHTS.get(other.source, 0)
    if weights[0] == weights[1]:
        raise ValueError(f"--{names[0]} and --{names[1]} exclude each other")
    return weights[0] > weights[1], weights[0] < weights[1]
