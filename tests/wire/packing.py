"""Writes version 2 by hand: MessagePack, heads, chunks and trailers, sound or not, with none of the code under test."""

import re
import struct
from typing import Any


class Raw(bytes):
    """Octets that stand for a value as they are."""


class Pairs(list[tuple[Any, Any]]):
    """A map that a dict cannot be: with duplicate keys, or with keys of any type."""


def read_octets(text: str) -> bytes:
    """Turn ``05 "a.txt" 00`` into the octets it stands for: hexadecimal, and text in quotes for its UTF-8."""
    assert re.fullmatch(r'(\s*([0-9A-F]{2}|"[^"]*"))*\s*', text), text
    return b"".join(
        word[1:-1].encode() if word.startswith('"') else bytes.fromhex(word)
        for word in re.findall(r'"[^"]*"|[0-9A-F]{2}', text)
    )


def pack(value: Any) -> bytes:
    """Give the MessagePack of a value, in its shortest form. Source: the MessagePack specification."""
    match value:
        case Raw():
            return bytes(value)
        case None:
            return b"\xc0"
        case bool():
            return b"\xc3" if value else b"\xc2"
        case int():
            return pack_integer(value)
        case float():
            return b"\xcb" + struct.pack(">d", value)
        case str():
            octets = value.encode()
            return pack_size(len(octets), (0xA0, 32), {1: 0xD9, 2: 0xDA, 4: 0xDB}) + octets
        case bytes():
            return pack_size(len(value), (0, 0), {1: 0xC4, 2: 0xC5, 4: 0xC6}) + value
        case Pairs():
            pairs = b"".join(pack(key) + pack(each) for key, each in value)
            return pack_size(len(value), (0x80, 16), {2: 0xDE, 4: 0xDF}) + pairs
        case list():
            return pack_size(len(value), (0x90, 16), {2: 0xDC, 4: 0xDD}) + b"".join(
                map(pack, value)
            )
        case dict():
            return pack(Pairs(value.items()))
    raise TypeError(value)


def pack_integer(value: int) -> bytes:
    if 0 <= value < 128 or -32 <= value < 0:
        return struct.pack(">B", value & 0xFF)
    forms = [">BB", ">BH", ">BI", ">BQ"] if value >= 0 else [">Bb", ">Bh", ">Bi", ">Bq"]
    for octet, form in zip(
        range(0xCC, 0xD0) if value >= 0 else range(0xD0, 0xD4), forms, strict=True
    ):
        try:
            return struct.pack(form, octet, value)
        except struct.error:
            continue
    raise OverflowError(value)


def pack_size(size: int, short: tuple[int, int], forms: dict[int, int]) -> bytes:
    base, limit = short
    if size < limit:
        return bytes([base | size])
    width = next(width for width in forms if size < 1 << 8 * width)
    return bytes([forms[width]]) + size.to_bytes(width, "big")


def message(code: int, head: Any, *body: bytes) -> bytes:
    """Give a message, with a body when there is anything of one: chunks and a trailer."""
    octets = pack(head)
    flag = 0x80 if body else 0
    return bytes([flag | code]) + len(octets).to_bytes(3, "big") + octets + b"".join(body)


def chunk(octets: bytes) -> bytes:
    return len(octets).to_bytes(4, "big") + octets


def trailer(values: Any) -> bytes:
    octets = pack(values)
    return b"\0\0\0\0" + len(octets).to_bytes(3, "big") + octets


END = trailer({})
"""What stands behind the last chunk of a body of which nothing more is said."""
