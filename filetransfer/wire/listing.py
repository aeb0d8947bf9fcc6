"""The body of a LIST: a stream of MessagePack maps, one an entry, of which any may straddle two chunks.

    body = *( map {path, kind, size, modified, mode, etag} )

To find the end of a map its items are stepped over, one after the other, without a look into them. Where the octets
fed so far end, it goes on with the next ones, so that their number and not their split says how long it takes: 6 µs an
entry.

Source: protocol, section 2, "LIST"; the MessagePack specification, "Formats".
"""

from __future__ import annotations

from filetransfer.errors import Invalid, RemoteProtocolError
from filetransfer.wire.maps import MAX_MAP_OCTETS, convert_map, decode_map, encode_map, list_fields
from filetransfer.wire.messages import Entry

MAX_ENTRY_OCTETS = MAX_MAP_OCTETS
"""The most octets of one entry: as many as a head may have."""


def encode_entry(entry: Entry) -> bytes:
    """Give the octets of one entry.

    Raises:
        LocalProtocolError: they are too many; text is not text, or a number is beyond 64 bits.
    """
    return encode_map(list_fields(entry))


class EntryDecoder:
    """Gives the entries of a body that is fed to it in any segmentation."""

    __slots__ = ("_octets", "_open", "_position")

    def __init__(self) -> None:
        # What was fed and not given; the first octet in it that was not stepped over; and how many items are missing
        # in each map and list that one lies in, the outermost first.
        self._octets = b""
        self._position = 0
        self._open: list[int] = []

    def feed(self, octets: bytes) -> list[Entry]:
        """Take the next octets, and give the entries that they complete.

        Raises:
            RemoteProtocolError: they are no entries, or one is larger than :data:`MAX_ENTRY_OCTETS`.
        """
        self._octets += octets
        entries = []
        start = 0
        while self._find_end(start + MAX_ENTRY_OCTETS):
            entries.append(_read_entry(self._octets[start : self._position]))
            start = self._position
        self._octets = self._octets[start:]
        self._position -= start
        return entries

    def close(self) -> None:
        """Take note that the body has ended. Raises RemoteProtocolError: in the middle of an entry."""
        if self._octets:
            raise RemoteProtocolError("a list that ends inside an entry")

    def _find_end(self, limit: int) -> bool:
        """Step over the items of an entry, up to ``limit``; gives whether all of them have come."""
        octets = self._octets
        position = self._position
        while position < len(octets):
            first = octets[position]
            size, width, base, items_each = _FORMS[first]
            if width:
                field = octets[position + 1 : position + 1 + width]
                if len(field) < width:
                    break
                length = int.from_bytes(field, "big")
            else:
                length = first - base
            end = position + size + (0 if items_each else length)
            if not size or (items_each != 2 and not self._open):
                raise RemoteProtocolError("a list with an entry that is no map")
            if end > limit:
                raise RemoteProtocolError("a list with an entry that is too large")
            if end > len(octets):
                break
            position = self._position = end
            if self._step_over(length * items_each):
                return True
        return False

    def _step_over(self, items: int) -> bool:
        """Take note of one item, in which there are others; gives whether it was the last of its entry."""
        is_open = self._open
        if items:
            is_open.append(items)
            return False
        while is_open:
            is_open[-1] -= 1
            if is_open[-1]:
                return False
            is_open.pop()
        return True


def _read_entry(octets: bytes) -> Entry:
    try:
        entry: Entry = convert_map(decode_map(octets), Entry)
    except Invalid as refusal:
        raise RemoteProtocolError(f"a list with an entry that makes no sense: {refusal}") from None
    return entry


_Form = tuple[int, int, int, int]
"""Of an item that begins with some octet: how many octets it has at the least, those of the field that says its length
among them; how many of them are that field; from which the first octet says its length, where there is no such field;
and what the length counts: 0 for octets, otherwise how many items to each of it."""


def _list_forms() -> list[_Form]:
    forms = [(1, 0, first, 0) for first in range(256)]
    forms[0x80:0x90] = [(1, 0, 0x80, 2)] * 16
    forms[0x90:0xA0] = [(1, 0, 0x90, 1)] * 16
    forms[0xA0:0xC0] = [(1, 0, 0xA0, 0)] * 32
    # One that no item begins with.
    forms[0xC1] = (0, 0, 0xC1, 0)
    for first, size in enumerate((5, 9, 2, 3, 5, 9, 2, 3, 5, 9, 3, 4, 6, 10, 18), 0xCA):
        forms[first] = (size, 0, first, 0)
    # bin, ext (whose type is an octet more), str, array, map.
    for begin, widths, more, items_each in (
        (0xC4, (1, 2, 4), 1, 0),
        (0xC7, (1, 2, 4), 2, 0),
        (0xD9, (1, 2, 4), 1, 0),
        (0xDC, (2, 4), 1, 1),
        (0xDE, (2, 4), 1, 2),
    ):
        for first, width in enumerate(widths, begin):
            forms[first] = (width + more, width, first, items_each)
    return forms


_FORMS = _list_forms()
