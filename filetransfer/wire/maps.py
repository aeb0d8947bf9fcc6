"""The MessagePack maps that version 2's heads and trailers are, and the messages that are made of them.

A map is decoded twice: as a plain map, which says whether it is one at all (if not, the connection fails), then into
the message's own type, which checks each field (if one is wrong, the request is refused).

Source: protocol, section 2, "Types" and "Fail or refuse".
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import msgspec

from filetransfer.errors import Invalid, LocalProtocolError, RemoteProtocolError

MAX_MAP_OCTETS = 65_536
"""The most octets of a head or trailer."""

MAX_NESTING = 8
"""The most maps and lists that a value may lie in, the head or trailer itself among them."""

_MAX_ETAG_OCTETS = 64

_decode_plain_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_encode_plain_map = msgspec.msgpack.Encoder().encode


def decode_map(octets: bytes) -> dict[str, Any]:
    """Give the one map that ``octets`` are. Raises RemoteProtocolError when they are anything else."""
    try:
        values = _decode_plain_map(octets)
    # Its own errors; text that is not UTF-8, which is a ValueError; and what it lets through, a thousand maps deep.
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a head or trailer that is not one map: {error}") from error
    _check_values(values.values(), 1)
    return values


def _check_values(values: Iterable[Any], depth: int) -> None:
    for value in values:
        if isinstance(value, (dict, list)):
            if depth == MAX_NESTING:
                raise RemoteProtocolError("a head or trailer that is nested too deep")
            if isinstance(value, list):
                _check_values(value, depth + 1)
            elif all(type(key) is str for key in value):
                _check_values(value.values(), depth + 1)
            else:
                raise RemoteProtocolError("a head or trailer with a key that is not text")


def convert_map(values: dict[str, Any], kind: type) -> Any:
    """Give a message of a kind. Raises Invalid: a key is missing, or a value has a wrong type or is out of bounds."""
    try:
        # That bytes are themselves: it would take text for them, and read it as base64.
        message: Any = msgspec.convert(values, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        reason = str(error).replace("$.", "").replace(" | null", "")
        raise Invalid(reason) from error
    if not _PECULIAR_KEYS.isdisjoint(values) or None in values.values():
        _check_peculiarities(values, {key for key, _ in _list_defaults(kind)})
    return message


# What types cannot say.
_PECULIAR_KEYS = frozenset({"if_match", "etag", "if_none_match"})


def _check_peculiarities(values: dict[str, Any], known: set[str]) -> None:
    for key in known & values.keys():
        value = values[key]
        if value is None:
            raise Invalid(f"{key} is nil: what is absent is left out")
        if key in ("if_match", "etag") and len(value.encode()) > _MAX_ETAG_OCTETS:
            raise Invalid(f"{key} has more than {_MAX_ETAG_OCTETS} octets")
        if key == "if_none_match" and value is False:
            raise Invalid("if_none_match is true, or it is left out")


def encode_map(values: dict[str, Any]) -> bytes:
    """Give the octets of a map.

    Raises:
        LocalProtocolError: they are too many; text is not text, or a number is beyond 64 bits.
    """
    try:
        octets = _encode_plain_map(values)
    except (UnicodeEncodeError, OverflowError) as error:
        raise LocalProtocolError(f"version 2 cannot say it: {error}") from None
    if len(octets) > MAX_MAP_OCTETS:
        raise LocalProtocolError(
            f"a head or trailer of {len(octets)} octets, {MAX_MAP_OCTETS} is the most"
        )
    return octets


def list_fields(message: Any, promised: tuple[str, ...] = ()) -> dict[str, Any]:
    """Give the keys and values of a map: what has its default is left out, but for what is promised.

    Raises:
        LocalProtocolError: something that is promised is missing.
    """
    fields = {}
    kind: type = type(message)
    for name, default in _list_defaults(kind):
        value = getattr(message, name)
        if value != default or name in promised:
            if value is None:
                raise LocalProtocolError(f"{kind.__name__} without {name}")
            fields[name] = value
    return fields


@functools.cache
def _list_defaults(kind: type) -> tuple[tuple[str, Any], ...]:
    """Give the keys of a message and what each is when it is absent; a key that is always there has no equal."""
    return tuple(
        (
            entry.name,
            entry.default
            if entry.default_factory is dataclasses.MISSING
            else entry.default_factory(),
        )
        for entry in dataclasses.fields(kind)
    )
