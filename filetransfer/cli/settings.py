"""What the options before the command say, as one object."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from filetransfer.cli.console import Verbosity

if TYPE_CHECKING:
    from filetransfer.client import Session

DEFAULT_PORT = 9000


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is.

    Attributes:
        host: a name or an address.
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for every command.

    Attributes:
        server: whom to ask.
        timeout_seconds: how long nothing may move.
        connect_timeout_seconds: for each try to connect.
        verbosity: how much is said.
    """

    server: Server
    timeout_seconds: float
    connect_timeout_seconds: float
    verbosity: Verbosity

    def begin_session(self) -> Session:
        """Give a session that connects at its first request."""
        from filetransfer.client import connect

        return connect(
            self.server.host,
            self.server.port,
            connect_timeout_seconds=self.connect_timeout_seconds,
            timeout_seconds=self.timeout_seconds,
        )


_SERVER = re.compile(
    r"(?: \[ (?P<bracketed> [^\[\]]+ ) \] | (?P<name> [^:\[\]]+ ) ) (?: : (?P<port> [0-9]{1,5} ) )?",
    re.VERBOSE,
)


def parse_server(text: str) -> Server:
    """Read ``HOST``, ``HOST:PORT``, ``[IPV6]``, ``[IPV6]:PORT`` or an IPv6 address. Raises ValueError."""
    if text.count(":") > 1 and "[" not in text:
        return Server(text, DEFAULT_PORT)
    matched = _SERVER.fullmatch(text)
    port = int(matched["port"] or DEFAULT_PORT) if matched else 0
    if matched is None or not 1 <= port <= 65535:
        raise ValueError(f"{text!r} is not HOST, HOST:PORT or [IPV6]:PORT")
    return Server(matched["bracketed"] or matched["name"], port)


class ServerType(click.ParamType[Any]):
    """An option's value that names a server."""

    name = "HOST[:PORT]"

    def convert(
        self, value: str | Server, param: click.Parameter | None, ctx: click.Context | None
    ) -> Server:
        """See :class:`click.ParamType`."""
        if isinstance(value, Server):
            return value
        try:
            return parse_server(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
