"""The MessagePack maps that version 2's heads and trailers are, and the messages that are made of them.

Nearly every map is a message at the first look: one call of the library decodes it into the message's own type, and
checks each field. What that does not take is looked at again, slowly: first as a plain map, which says whether it is
one at all (if not, the connection fails), then field by field (if one is wrong, the request is refused; what is not
known is ignored). A PUT takes 0.9 µs to decode at the first look, 2.9 slowly.

Source: protocol, section 2, "Types" and "Fail or refuse".
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from filetransfer.errors import Invalid, LocalProtocolError, RemoteProtocolError

MAX_MAP_OCTETS = 65_536
"""The most octets of a head or trailer."""

MAX_NESTING = 8
"""The most maps and lists that a value may lie in, the head or trailer itself among them."""

MAX_ETAG_OCTETS = 64
"""The most octets of an etag. Source: protocol, section 2, "etag"."""

_decode_plain_map = msgspec.msgpack.Decoder(dict[str, Any]).decode
_encode_plain_map = msgspec.msgpack.Encoder().encode


def decode_map(octets: bytes) -> dict[str, Any]:
    """Give the one map that ``octets`` are. Raises RemoteProtocolError when they are anything else."""
    try:
        values = _decode_plain_map(octets)
    # Its own errors; text that is not UTF-8, which is a ValueError; and what it lets through, a thousand maps deep.
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteProtocolError(f"a head or trailer that is not one map: {error}") from error
    check_values(values.values(), 1)
    return values


def check_values(values: Iterable[Any], depth: int) -> None:
    """Look into values that lie in so many maps and lists already.

    Raises:
        RemoteProtocolError: one is nested too deep, or has a key that is not text.
    """
    for value in values:
        if isinstance(value, (dict, list)):
            if depth == MAX_NESTING:
                raise RemoteProtocolError("a head or trailer that is nested too deep")
            if isinstance(value, list):
                check_values(value, depth + 1)
            elif all(type(key) is str for key in value):
                check_values(value.values(), depth + 1)
            else:
                raise RemoteProtocolError("a head or trailer with a key that is not text")


def decode_message(octets: bytes, kind: type) -> Any:
    """Give the message of a kind that ``octets`` are.

    Raises:
        RemoteProtocolError: they are not one map.
        Invalid: a key is missing, or a value has a wrong type or is out of bounds.
    """
    decode, etag_key = _make_decoder(kind)
    try:
        message = decode(octets)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return convert_map(decode_map(octets), kind)
    if etag_key and not (getattr(message, etag_key) or "").isascii():
        return convert_map(decode_map(octets), kind)
    if _FALSE_NONE_MATCH in octets:
        return convert_map(decode_map(octets), kind)
    return message


@functools.cache
def _make_decoder(kind: type) -> tuple[Callable[[bytes], Any], str]:
    """Give what decodes a message, and the key of the etag in it: of that the library counts characters, not octets."""
    keys = [key for key in _list_keys(kind) if key in _ETAG_KEYS]
    return msgspec.msgpack.Decoder(kind).decode, keys[0] if keys else ""


def _list_keys(kind: Any) -> tuple[str, ...]:
    keys: tuple[str, ...] = kind.__struct_fields__
    return keys


def convert_map(values: dict[str, Any], kind: type) -> Any:
    """Give a message of a kind. Raises Invalid: a key is missing, or a value has a wrong type or is out of bounds."""
    known = {key: values[key] for key in _list_keys(kind) if key in values}
    _check_peculiarities(known)
    try:
        # That bytes are themselves: it would take text for them, and read it as base64.
        return msgspec.convert(known, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Invalid(str(error).replace("$.", "")) from error


# What types cannot say.
_ETAG_KEYS = ("if_match", "etag")
_FALSE_NONE_MATCH = b"if_none_match\xc2"


def _check_peculiarities(values: dict[str, Any]) -> None:
    for key, value in values.items():
        if value is None:
            raise Invalid(f"{key} is nil: what is absent is left out")
        if key in _ETAG_KEYS and isinstance(value, str) and len(value.encode()) > MAX_ETAG_OCTETS:
            raise Invalid(f"{key} has more than {MAX_ETAG_OCTETS} octets")
        if key == "if_none_match" and value is False:
            raise Invalid("if_none_match is true, or it is left out")


def encode_map(values: Any) -> bytes:
    """Give the octets of a map: of a dict, or of a message, whose fields that have their defaults are left out.

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
    fields: dict[str, Any] = msgspec.structs.asdict(message)
    defaults = msgspec.structs.fields(message)
    for field in defaults:
        if field.name not in promised and _has_default(field, fields[field.name]):
            del fields[field.name]
    for name in promised:
        if fields[name] is None:
            raise LocalProtocolError(f"{type(message).__name__} without {name}")
    return fields


def _has_default(field: Any, value: Any) -> bool:
    if field.default_factory is not msgspec.NODEFAULT:
        return not value
    return field.default is not msgspec.NODEFAULT and value == field.default
