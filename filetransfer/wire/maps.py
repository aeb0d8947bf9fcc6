"""The MessagePack maps that version 2's heads and trailers are, and the messages that are made of them.

A map is decoded twice: as a plain map, which says whether it is one at all (if not, the connection fails), then into
the message's own type, which checks each field (if one is wrong, the request is refused). msgspec needs 2 µs for both.

Source: protocol, section 2, "Types" and "Fail or refuse".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from filetransfer.errors import Invalid, LocalProtocolError, RemoteProtocolError
from filetransfer.wire.messages import Content

MAX_HEAD_OCTETS = 65_536
"""The most octets of a head or trailer."""

MAX_NESTING = 8

# The name of a content is the one that was asked for.
_NOT_SENT = {(Content, "path")}

_decode_plain_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_encode_plain_map = msgspec.msgpack.Encoder().encode


def decode_map(octets: bytes) -> dict[str, Any]:
    """Give the one map that ``octets`` are. Raises RemoteProtocolError when they are anything else."""
    try:
        values = _decode_plain_map(octets)
    # Its own errors, and what it lets through: recursion a thousand deep, text that is not UTF-8.
    except (
        msgspec.MsgspecError,
        RecursionError,
        UnicodeDecodeError,
        OverflowError,
        ValueError,
    ) as error:
        raise RemoteProtocolError(f"a head or trailer that is not one map: {error}") from error
    if _measure_nesting(values) > MAX_NESTING:
        raise RemoteProtocolError("a head or trailer that is nested too deep")
    return values


def _measure_nesting(value: Any) -> int:
    """Give how many maps and lists the innermost value lies in."""
    depth, level = 0, [value]
    while containers := [value for value in level if isinstance(value, (dict, list))]:
        depth += 1
        level = [inner for container in containers for inner in _list_values(container)]
    return depth


def _list_values(container: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return container.values() if isinstance(container, dict) else container


def convert_map(values: dict[str, Any], kind: type[Any]) -> Any:
    """Give a message of a kind. Raises Invalid: a key is missing, or a value has a wrong type or is out of bounds."""
    try:
        message = msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise Invalid(f"{kind.__name__}: {error}") from error
    if None in values.values():
        raise Invalid(f"{kind.__name__}: a key that is absent is left out, there is no nil")
    return message


def encode_map(values: dict[str, Any]) -> bytes:
    """Give the octets of a map. Raises LocalProtocolError when they are too many."""
    octets = _encode_plain_map(values)
    if len(octets) > MAX_HEAD_OCTETS:
        raise LocalProtocolError(
            f"a head or trailer of {len(octets)} octets, {MAX_HEAD_OCTETS} is the most"
        )
    return octets


def list_fields(message: Any) -> dict[str, Any]:
    """Give the keys and values of a head: a field that has its default is absent."""
    fields = {}
    kind: type = type(message)
    for name, default in _list_defaults(kind):
        value = getattr(message, name)
        if value != default:
            fields[name] = value
    return fields


@functools.cache
def _list_defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Give the keys of a message and what each is when it is absent; a key that is always there has no equal."""
    defaults = []
    for entry in dataclasses.fields(kind):
        default = entry.default
        if entry.default_factory is not dataclasses.MISSING:
            default = entry.default_factory()
        if (kind, entry.name) not in _NOT_SENT:
            defaults.append((entry.name, default))
    return tuple(defaults)
