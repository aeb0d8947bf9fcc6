"""LIST, STAT, DELETE and MAKE_DIRECTORY: what is there, and what is not to be there any more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.threads import deferToThread

from filetransfer.bodies.copied import Gate
from filetransfer.digests import DEFAULT_ALGORITHM
from filetransfer.errors import RequestRefused
from filetransfer.names import Path, check_path
from filetransfer.server.exchange import Answer, Exchange
from filetransfer.server.uploads import delete_upload, stat_upload
from filetransfer.store import interface
from filetransfer.store.interface import Store
from filetransfer.wire.connection import ServerEnd
from filetransfer.wire.listing import encode_entry
from filetransfer.wire.messages import (
    BodyEnd,
    Delete,
    Entry,
    List,
    Listing,
    MakeDirectory,
    Response,
    Stat,
    Status,
)

CHUNK_OCTETS = 60 * 1024
"""Entries are sent in chunks of about this size: a listing of one chunk leaves in one write."""

ROOT = Path("")


async def list_(exchange: Exchange, request: List) -> Response | None:
    """List a directory."""
    path = ROOT if request.path is None else check_path(request.path)
    store = exchange.protocol.factory.store
    listing, octets, has_ended = await deferToThread(_open_listing, store, path, request)
    if not has_ended:
        exchange.answer_with_body(Listing(), OutgoingListing(listing, octets))
        return None
    listing.close()
    connection = exchange.protocol.connection
    header = connection.encode_run(len(octets)) if octets else b""
    end = BodyEnd(more=listing.more, hidden=listing.hidden)
    exchange.answer(Listing(), header + octets + connection.encode_body_end(end))
    return None


def _open_listing(store: Store, path: Path, request: List) -> tuple[interface.Listing, bytes, bool]:
    """Give a listing, the octets of its first entries, and whether those are all."""
    # Whatever it is, it is only compared.
    after = None if request.after is None else Path(request.after)
    listing = store.list_directory(
        path, is_recursive=request.recursive, after=after, limit=request.limit
    )
    try:
        octets, has_ended = _read_chunk(listing)
    except BaseException:
        listing.close()
        raise
    return listing, octets, has_ended


def _read_chunk(listing: interface.Listing) -> tuple[bytes, bool]:
    """Give the octets of the next entries, about a chunk, and whether those are the last."""
    octets = bytearray()
    while len(octets) < CHUNK_OCTETS:
        entries = listing.read()
        if not entries:
            return bytes(octets), True
        for entry in entries:
            octets += encode_entry(
                Entry(entry.path, entry.kind, entry.size, entry.modified, entry.mode, entry.etag)
            )
    return bytes(octets), False


class OutgoingListing:
    """The entries of a directory that has many.

    Args:
        listing: where they come from; it is closed with this.
        octets: the first of them, as they are sent.
    """

    def __init__(self, listing: interface.Listing, octets: bytes) -> None:
        self._listing = listing
        self._octets = octets

    async def send(
        self, transport: Any, connection: ServerEnd, moved: Callable[[int], None]
    ) -> None:
        """See :meth:`OutgoingBody.send <filetransfer.server.sending.OutgoingBody.send>`."""
        octets, has_ended = self._octets, False
        end = BodyEnd()
        async with Gate(transport) as gate:
            while octets:
                transport.write(connection.encode_run(len(octets)) + octets)
                moved(len(octets))
                await gate.wait_until_open()
                if has_ended:
                    break
                try:
                    octets, has_ended = await deferToThread(_read_chunk, self._listing)
                except RequestRefused as refusal:
                    end.refusal = refusal
                    break
            if end.refusal is None:
                end = BodyEnd(more=self._listing.more, hidden=self._listing.hidden)
            transport.write(connection.encode_body_end(end))
            await gate.wait_until_open()

    def close(self) -> None:
        """See :meth:`OutgoingBody.close <filetransfer.server.sending.OutgoingBody.close>`."""
        self._listing.close()


def stat(exchange: Exchange, request: Stat) -> Answer:
    """Say what is known of a path or of an upload."""
    if request.upload is not None:
        return stat_upload(exchange, request.upload)
    return _stat_path(exchange, check_path(request.path or ""))


async def _stat_path(exchange: Exchange, path: Path) -> Status:
    entry = await deferToThread(exchange.protocol.factory.store.stat, path)
    return Status(
        entry.kind,
        entry.size,
        entry.modified,
        entry.mode,
        entry.etag,
        {DEFAULT_ALGORITHM: entry.digest} if entry.digest else {},
    )


def delete(exchange: Exchange, request: Delete) -> Answer:
    """Remove a file, a directory, or what an upload has left."""
    if request.upload is not None:
        return delete_upload(exchange, request.upload)
    exchange.commit(
        interface.Delete(
            path=check_path(request.path or ""),
            is_recursive=request.recursive,
            if_match=request.if_match,
        )
    )
    return None


def make_directory(exchange: Exchange, request: MakeDirectory) -> Answer:
    """Make a directory."""
    path = check_path(request.path)
    exchange.commit(interface.MakeDirectory(path=path, makes_parents=request.parents))
    return None
