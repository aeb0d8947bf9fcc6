"""The octets of version 2, from the protocol's text alone: nothing of the package is in here.

Requests are made by :func:`ask` and :func:`put`, of maps as Python has them or, for what no dict can be, of octets.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec
import xxhash

CHUNK_LIMIT = 1 << 24
HEAD_LIMIT = 65_536

PUT, GET, CHANGE, SUMMARY, HELP, LIST, STAT, DELETE = range(8)
MAKE_DIRECTORY, AUTHENTICATE, DIGEST, COPY = range(8, 12)

DONE, REFUSED, CONTINUE, WORKING = range(4)

WORDS = {
    *("not-found", "exists", "is-directory", "not-directory"),
    *("not-empty", "name-invalid", "precondition-failed", "offset-mismatch"),
    *("size-mismatch", "digest-mismatch", "too-large", "no-space"),
    *("not-permitted", "not-authenticated", "busy", "not-numeric"),
    *("invalid", "cancelled", "unsupported", "shutting-down"),
    *("internal",),
}

Head = dict[str, Any] | bytes

pack = msgspec.msgpack.encode


class Answer(NamedTuple):
    """One response: its body and trailer are None where it has none."""

    code: int
    head: dict[str, Any]
    body: bytes | None = None
    trailer: dict[str, Any] | None = None

    @property
    def error(self) -> str | None:
        """The word of a refusal, and None when it is none."""
        return self.head["error"] if self.code == REFUSED else None


class Broken(Exception):
    """What the server has sent is not version 2."""


def xxh3(octets: bytes) -> dict[str, bytes]:
    """Give the digest that goes into a head or a trailer."""
    return {"xxh3-128": xxhash.xxh3_128_digest(octets)}


def say_map(head: Head) -> bytes:
    octets = head if isinstance(head, bytes) else pack(head)
    return len(octets).to_bytes(3, "big") + octets


def say_chunk(octets: bytes, size: int | None = None) -> bytes:
    return (len(octets) if size is None else size).to_bytes(4, "big") + octets


def say_body(chunks: Iterable[bytes], trailer: Head) -> bytes:
    return b"".join(map(say_chunk, chunks)) + bytes(4) + say_map(trailer)


def ask(code: int, _head: Head | None = None, _body: bytes = b"", **keys: Any) -> bytes:
    """Give a request: its head is a map or octets, or keys; with a body the flag is set."""
    head = keys if _head is None else _head
    return bytes([code | (0x80 if _body else 0)]) + say_map(head) + _body


def put(path: str, octets: bytes, *, chunk: int = CHUNK_LIMIT, **keys: Any) -> bytes:
    """Give a PUT of a whole file as a sender does that knows the size."""
    chunks = [octets[start : start + chunk] for start in range(0, len(octets), chunk)]
    head = {"path": path, "size": len(octets), **keys}
    return ask(PUT, head, say_body(chunks, {"digest": xxh3(octets)}))


def pairs(*entries: tuple[Any, Any]) -> bytes:
    """Give the octets of a map that has these keys in this order, twice or of any type."""
    assert len(entries) < 16
    return bytes([0x80 | len(entries)]) + b"".join(
        pack(each) for entry in entries for each in entry
    )


def nest(depth: int) -> bytes:
    """Give a map in which ``path`` is as good as any, and a value lies in so many maps and lists, itself among them."""
    return b"\x82" + pack("path") + pack("a.txt") + pack("x") + b"\x91" * (depth - 1) + b"\x01"


def read_map(octets: bytes) -> dict[str, Any]:
    """Read a head or trailer. Raises Broken: it has a key that is no text, a nil or an extension type."""
    values = msgspec.msgpack.decode(octets)
    if not isinstance(values, dict):
        raise Broken(f"no map: {octets!r}")
    _check(values)
    return values


def _check(value: Any) -> None:
    match value:
        case dict():
            if not all(isinstance(key, str) for key in value):
                raise Broken(f"a key that is no text: {value!r}")
            for each in value.values():
                _check(each)
        case list():
            for each in value:
                _check(each)
        case bool() | int() | float() | str() | bytes():
            pass
        case _:
            raise Broken(f"a nil or an extension type: {value!r}")
