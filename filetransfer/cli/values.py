"""Values of options: servers, numbers, rates, lists of words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import click

DEFAULT_PORT = 9000
DEFAULT_TLS_PORT = 9001

PROMISES = ("durable", "verified")
"""What can be required of a server."""

MIN_RATE = 64 * 1024
"""Octets a second. With less, one block would take longer than a short timeout."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where a server is.

    Attributes:
        host: a name or an address.
        port: 1 to 65535; None for the usual one.
        is_tls: whether it is spoken to over TLS: it was named so.
    """

    host: str
    port: int | None = None
    is_tls: bool = False

    def __str__(self) -> str:
        scheme = _TLS if self.is_tls else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}{host}" if self.port is None else f"{scheme}{host}:{self.port}"

    def settle(self, *, is_tls: bool) -> Server:
        """Give the same server, with a port."""
        usual = DEFAULT_TLS_PORT if is_tls else DEFAULT_PORT
        return Server(self.host, self.port or usual, is_tls)


_TLS = "tls://"
_SERVER = re.compile(
    r"(?: \[ (?P<bracketed> [^\[\]]+ ) \] | (?P<name> [^:\[\]]+ ) ) (?: : (?P<port> [0-9]{1,5} ) )?",
    re.VERBOSE,
)


def parse_server(text: str) -> Server:
    """Read ``HOST``, ``HOST:PORT``, ``[IPV6]``, ``[IPV6]:PORT`` or an IPv6 address, each also behind ``tls://``.

    Raises:
        ValueError: it is none of these.
    """
    is_tls = text.lower().startswith(_TLS)
    place = text[len(_TLS) :] if is_tls else text
    if place.count(":") > 1 and "[" not in place:
        return Server(place, None, is_tls)
    matched = _SERVER.fullmatch(place)
    if matched is None or not 1 <= int(matched["port"] or 1) <= 65535:
        raise ValueError(f"{text!r} is not HOST, HOST:PORT or [IPV6]:PORT, with or without tls://")
    port = matched["port"]
    return Server(matched["bracketed"] or matched["name"], int(port) if port else None, is_tls)


_FACTORS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([KMG]?)", re.IGNORECASE)


def parse_rate(text: str) -> int:
    """Read octets a second: ``500000``, ``512K``, ``1.5M``. Raises ValueError."""
    matched = _RATE.fullmatch(text)
    if matched is None:
        raise ValueError(f"{text!r} is not a number of octets a second, such as 512K or 1.5M")
    rate = int(float(matched[1]) * _FACTORS[matched[2].upper()])
    if rate < MIN_RATE:
        raise ValueError(f"{text!r} is less than the least, {MIN_RATE // 1024}K")
    return rate


class _ParsedType(click.ParamType[Any]):
    """Text that a function reads, and what it has read already."""

    def parse(self, text: str) -> Any:
        """Read it. Raises ValueError."""
        raise NotImplementedError

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See :class:`click.ParamType`."""
        try:
            return self.parse(value) if isinstance(value, str) else self.take(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def take(self, value: Any) -> Any:
        """Give what is no text as it is to be used."""
        return value


class ServerType(_ParsedType):
    """An option's value that names a server."""

    name = "[tls://]HOST[:PORT]"

    def parse(self, text: str) -> Server:
        """See :func:`parse_server`."""
        return parse_server(text)


class SecondsType(_ParsedType):
    """An option's value that is a time; more than nothing, and not for ever."""

    name = "SECONDS"

    def parse(self, text: str) -> float:
        """See :meth:`_ParsedType.parse`."""
        try:
            return self.take(float(text))
        except ValueError as error:
            raise ValueError(f"{text!r} is not a number of seconds above 0") from error

    def take(self, value: Any) -> float:
        """A profile may hold a number."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"{value!r} is not a number of seconds")
        if not 0 < value < math.inf:
            raise ValueError(f"{value!r} is not a number of seconds above 0")
        return float(value)


class CountType(_ParsedType):
    """An option's value that counts something.

    Args:
        least: that it may be.
        most: that it may be; None for any number.
    """

    name = "N"

    def __init__(self, least: int = 0, most: int | None = None) -> None:
        self._least = least
        self._most = most

    def parse(self, text: str) -> int:
        """See :meth:`_ParsedType.parse`."""
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{text!r} is not a whole number")
        return self.take(int(text))

    def take(self, value: Any) -> int:
        """A profile may hold a number."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{value!r} is not a whole number")
        if value < self._least:
            raise ValueError(f"{value} is less than {self._least}")
        if self._most is not None and value > self._most:
            raise ValueError(f"{value} is more than {self._most}")
        return value


class RateType(_ParsedType):
    """An option's value that is a rate."""

    name = "RATE"

    def parse(self, text: str) -> int:
        """See :func:`parse_rate`."""
        return parse_rate(text)

    def take(self, value: Any) -> int:
        """A profile may hold a number."""
        return parse_rate(str(value))


class PinsType(_ParsedType):
    """An option's value that is pins, with commas between; see ``tls/pins.py``."""

    name = "PIN,..."

    def parse(self, text: str) -> tuple[str, ...]:
        """See :meth:`_ParsedType.parse`."""
        return self.take(text.split(","))

    def take(self, value: Any) -> tuple[str, ...]:
        """A profile may hold an array."""
        from filetransfer.tls.pins import read_pin, write_pin

        return tuple(write_pin(read_pin(pin.strip())) for pin in value)


class NamesType(_ParsedType):
    """An option's value that is some of several words, with commas between.

    Args:
        words: those there are.
    """

    name = "WORD,..."

    def __init__(self, words: Sequence[str]) -> None:
        self._words = tuple(words)

    def parse(self, text: str) -> tuple[str, ...]:
        """See :meth:`_ParsedType.parse`."""
        return self._check(word.strip() for word in text.split(","))

    def take(self, value: Any) -> tuple[str, ...]:
        """A profile may hold an array."""
        return self._check(value)

    def _check(self, words: Any) -> tuple[str, ...]:
        chosen = tuple(words)
        for word in chosen:
            if word not in self._words:
                raise ValueError(f"{word!r} is not one of {', '.join(self._words)}")
        return chosen
