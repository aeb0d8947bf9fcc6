"""The body of a LIST: a stream of MessagePack maps, one an entry, of which any may straddle two chunks.

    body = *( map {path, kind, size, modified, mode, etag} )

Where a map ends says a library that reads streams; what is in it says the one that checks types, for all entries that
have come together: 1.3 µs an entry.

Source: protocol, section 2, "LIST".
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgpack import Unpacker

from filetransfer.errors import Invalid, RemoteProtocolError
from filetransfer.wire.maps import (
    MAX_ETAG_OCTETS,
    MAX_MAP_OCTETS,
    check_values,
    convert_map,
    encode_map,
)
from filetransfer.wire.messages import Entry

MAX_ENTRY_OCTETS = MAX_MAP_OCTETS
"""The most octets of one entry: as many as a head may have."""


def encode_entry(entry: Entry) -> bytes:
    """Give the octets of one entry.

    Raises:
        LocalProtocolError: they are too many; text is not text, or a number is beyond 64 bits.
    """
    return encode_map(entry)


class EntryDecoder:
    """Gives the entries of a body that is fed to it in any segmentation."""

    __slots__ = ("_end", "_fed", "_unpacker")

    def __init__(self) -> None:
        # Octets that were fed, and how many of them are in entries that were given.
        self._fed = 0
        self._end = 0
        self._unpacker = Unpacker(
            max_buffer_size=0,
            max_str_len=MAX_ENTRY_OCTETS,
            max_bin_len=MAX_ENTRY_OCTETS,
            max_ext_len=MAX_ENTRY_OCTETS,
            max_array_len=MAX_ENTRY_OCTETS,
            max_map_len=MAX_ENTRY_OCTETS // 2,
        )

    def feed(self, octets: bytes) -> list[Entry]:
        """Take the next octets, and give the entries that they complete.

        Raises:
            RemoteProtocolError: they are no entries, or one is larger than :data:`MAX_ENTRY_OCTETS`.
        """
        self._unpacker.feed(octets)
        self._fed += len(octets)
        values = []
        try:
            for value in self._unpacker:
                end = self._unpacker.tell()
                self._check_size(end)
                self._end = end
                values.append(value)
        # A key that cannot be one, say, is a TypeError.
        except (ValueError, TypeError) as error:
            raise RemoteProtocolError(
                f"a list with what is no map, or too large: {error}"
            ) from None
        self._check_size(self._fed)
        return _convert_entries(values)

    def close(self) -> None:
        """Take note that the body has ended. Raises RemoteProtocolError: in the middle of an entry."""
        if self._fed != self._end:
            raise RemoteProtocolError("a list that ends inside an entry")

    def _check_size(self, end: int) -> None:
        if end - self._end > MAX_ENTRY_OCTETS:
            raise RemoteProtocolError("a list with an entry that is too large")


def _convert_entries(values: list[Any]) -> list[Entry]:
    try:
        entries = msgspec.convert(values, list[Entry], builtin_types=(bytes,))
    except msgspec.ValidationError:
        return [_convert_entry(value) for value in values]
    if any(
        entry.etag is not None and len(entry.etag.encode()) > MAX_ETAG_OCTETS for entry in entries
    ):
        raise RemoteProtocolError("a list with an entry whose etag is too long")
    return entries


def _convert_entry(value: Any) -> Entry:
    """Give one entry, which may have keys that are not known."""
    if not isinstance(value, dict):
        raise RemoteProtocolError("a list with an entry that is no map")
    check_values((value,), 0)
    try:
        entry: Entry = convert_map(value, Entry)
    except Invalid as refusal:
        raise RemoteProtocolError(f"a list with an entry that makes no sense: {refusal}") from None
    return entry
