"""The options that set limits, and the limits that parsed options stand for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from filetransfer.server.limits import Limits

_WHOLE = re.compile("[0-9]{1,18}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)


def _count_of(option: str) -> Callable[[str], int]:
    def read_count(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not int(text):
            raise ValueError(f"--{option} is a whole number above 0, not {text!r}")
        return int(text)

    return read_count


def _seconds_of(option: str) -> Callable[[str], float]:
    def read_seconds(text: str) -> float:
        if not _DECIMAL.fullmatch(text) or not float(text):
            raise ValueError(f"--{option} is a number of seconds above 0, not {text!r}")
        return float(text)

    return read_seconds


_LIMITS: list[tuple[str, Callable[[str], Callable[[str], Any]], str]] = [
    ("max-connections", _count_of, "Connections at a time."),
    ("max-connections-per-address", _count_of, "The same, of one address, or one IPv6 network."),
    ("max-handshakes", _count_of, "Handshakes of TLS a second, of one address."),
    ("max-requests", _count_of, "Requests of one connection that are under way."),
    ("max-held-octets", _count_of, "Octets of one connection that are held in memory."),
    ("max-held-octets-in-all", _count_of, "The same, of all connections."),
    ("max-upload-octets", _count_of, "Octets of an upload."),
    ("handshake-seconds", _seconds_of, "How long a handshake of TLS may take."),
    ("head-seconds", _seconds_of, "How long a request may take to come, but for its body."),
    ("idle-seconds", _seconds_of, "How long nothing may be asked."),
    ("crowded-seconds", _seconds_of, "The same, at first, when 75 % of the connections are taken."),
    ("min-rate", _count_of, "Octets a second that bodies must move."),
    ("rate-seconds", _seconds_of, "On average of how many seconds."),
]


def _describe(option: str, text: str) -> str:
    default = getattr(Limits(), _name_field(option))
    shown = "what the disk has room for" if default is None else f"{default:g}"
    if isinstance(default, int):
        shown = str(default)
    return f"{text} [default: {shown}]"


def _name_field(option: str) -> str:
    return option.replace("-", "_")


LIMIT_OPTIONS: list[list[Any]] = [
    [option, None, None, _describe(option, text), read(option)] for option, read, text in _LIMITS
]
"""As in ``optParameters`` of Twisted's ``usage.Options``."""


def read_limits(options: Mapping[str, Any]) -> Limits:
    """Give the limits that parsed options stand for."""
    return Limits(
        **{
            _name_field(option): options[option]
            for option, *_ in _LIMITS
            if options[option] is not None
        }
    )
