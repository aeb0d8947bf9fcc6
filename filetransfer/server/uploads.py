"""PUT, and uploads that can be resumed.

A small body is held in memory and handed to the commit queue, any other is received into an upload.

An upload that can be resumed belongs to the newest connection that asks for it. The older one may not know yet that its
peer is gone, and have a thread that moves octets: the store lets it be told, and waits until it has let go.

Source: protocol, section 2, "PUT and durability" and "Resume of an upload".
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.internet.threads import deferToThread

from filetransfer.bodies.incoming import IncomingBody
from filetransfer.digests import DEFAULT_ALGORITHM, is_known_algorithm
from filetransfer.errors import (
    Busy,
    Cancelled,
    DigestMismatch,
    Invalid,
    NotFound,
    NotPermitted,
    TooLarge,
    TransferInterrupted,
    Unsupported,
)
from filetransfer.names import Path, check_path
from filetransfer.server.exchange import MAX_SMALL_OCTETS, TOO_LARGE, Answer, Exchange
from filetransfer.store.interface import (
    NO_DIGESTS,
    Digests,
    Publish,
    PublishedUpload,
    PublishOctets,
    Resumption,
    Store,
    Upload,
)
from filetransfer.store.terms import Terms
from filetransfer.wire.messages import BodyEnd, Done, Put, Status

_HANDOVER_SECONDS = 30.0
_DEFAULT_ALONE = {DEFAULT_ALGORITHM}


def put(exchange: Exchange, request: Put) -> Answer:
    """Store a file."""
    path = check_path(request.path)
    # A sender that does not know the size claims nothing.
    size = request.size or 0
    limit = exchange.protocol.factory.limits.max_upload_octets
    if limit is not None and size > limit:
        raise TooLarge(TOO_LARGE)
    exchange.protocol.factory.store.check_writable()
    mode = None if request.mode is None else request.mode & 0o777
    terms = _make_terms(
        request.if_match, request.if_none_match, request.parents, request.modified, mode
    )
    if request.upload is not None:
        _check_resumable(request)
        return _put_resumable(exchange, request, path, terms, request.upload)
    if request.offset:
        raise Invalid("an offset goes with an upload, and this request names none")
    if request.size is None or size > MAX_SMALL_OCTETS:
        return _put_bulk(exchange, request, path, terms)

    def publish(octets: bytes, end: BodyEnd) -> None:
        digests = _find_digests(exchange, request, end)
        exchange.commit(PublishOctets(path=path, octets=octets, terms=terms, digests=digests))

    exchange.hold_body(publish, size)
    return None


@lru_cache(maxsize=16)
def _make_terms(
    if_match: str | None, if_none_match: bool, parents: bool, modified: int | None, mode: int | None
) -> Terms:
    """Give the terms of a PUT. Those of the files of a tree are the same, mostly."""
    return Terms(
        if_match=if_match,
        if_none_match=if_none_match,
        makes_parents=parents,
        modified=modified,
        mode=mode,
    )


def _find_digests(exchange: Exchange, request: Put, end: BodyEnd) -> Digests:
    """Give the digests that the file must have: those before and behind the body that the server can compute."""
    if not exchange.protocol.connection.has_trailers:
        return NO_DIGESTS
    if not request.digest and end.digest.keys() == _DEFAULT_ALONE:
        return end.digest
    digests = {**request.digest, **end.digest}
    known = {name: digest for name, digest in digests.items() if is_known_algorithm(name)}
    if not known:
        if digests:
            raise Unsupported(f"the server can compute no digest by {', '.join(digests)}")
        raise Invalid("a PUT needs a digest of the file, before or behind its body")
    if any(digests[name] != digest for name, digest in request.digest.items()):
        raise DigestMismatch("the digests before and behind the body are not the same")
    return known


async def _put_bulk(exchange: Exchange, request: Put, path: Path, terms: Terms) -> None:
    body = exchange.receive_body()
    store = exchange.protocol.factory.store
    upload = await deferToThread(store.open_upload, path, request.size or 0, None, terms)
    await _receive(exchange, request, body, upload, terms)


async def _receive(
    exchange: Exchange,
    request: Put,
    body: IncomingBody,
    upload: Upload,
    terms: Terms,
    let_go: Callable[[], None] = lambda: None,
) -> None:
    """Receive a body into an upload, and have it published; ``let_go`` is called when no octet moves any more."""
    try:
        try:
            end = await body.receive_into(upload)
        finally:
            let_go()
        digests = _find_digests(exchange, request, end)
        # Here and not in the commit queue, where every small file of the batch would wait for this one's fsync.
        await deferToThread(upload.prepare, terms, digests)
    except (TransferInterrupted, Cancelled):
        await deferToThread(upload.keep)
        raise
    except BaseException:
        await deferToThread(upload.abort)
        raise
    exchange.commit(Publish(upload=upload, terms=terms, digests=digests))


def _check_resumable(request: Put) -> None:
    if request.size is None:
        raise Invalid("an upload that can be resumed has a size, and this request says none")
    if request.offset > request.size:
        raise Invalid("the offset lies behind the end of the file")


async def _put_resumable(
    exchange: Exchange, request: Put, path: Path, terms: Terms, token: bytes
) -> Done | None:
    body = exchange.receive_body()
    handover = _Handover(exchange)
    resumption = Resumption(
        token=token,
        identity=exchange.protocol.identity,
        offset=request.offset,
        number=next(exchange.protocol.factory.numbers),
        on_taken=handover.take,
    )
    store = exchange.protocol.factory.store
    published = await deferToThread(_find_published, store, resumption)
    if published is not None:
        if (published.path, published.size) != (path, request.size):
            raise NotPermitted("the upload was published under another path, or with another size")
        if await _is_the_same(published, request, body):
            return Done(published.size, published.etag, {DEFAULT_ALGORITHM: published.digest})
    upload = await deferToThread(store.open_upload, path, request.size or 0, resumption, terms)
    await _receive(exchange, request, body, upload, terms, handover.let_go)
    return None


def _find_published(store: Store, resumption: Resumption) -> PublishedUpload | None:
    """Give what became of an upload, if it was published; take it away from whoever has it, if it was not."""
    try:
        status = store.stat_upload(resumption.token, resumption.identity, resumption.number)
    except NotFound:
        return None
    return status if isinstance(status, PublishedUpload) else None


async def _is_the_same(published: PublishedUpload, request: Put, body: IncomingBody) -> bool:
    """Tell whether a file that is sent once more is the one that was published: a lost answer is no lost upload."""
    if request.digest:
        return request.digest.get(DEFAULT_ALGORITHM) == published.digest
    end: BodyEnd = await body.receive_into(_Nowhere())
    if end.digest.get(DEFAULT_ALGORITHM) != published.digest:
        raise DigestMismatch("the upload was published, with other octets: begin another one")
    return True


async def stat_upload(exchange: Exchange, token: bytes) -> Status:
    """Say how far an upload has come, or what it became; it belongs to whoever asks, from then on."""
    protocol = exchange.protocol
    stat = protocol.factory.store.stat_upload
    upload = await deferToThread(stat, token, protocol.identity, next(protocol.factory.numbers))
    digest = {DEFAULT_ALGORITHM: upload.digest}
    if isinstance(upload, PublishedUpload):
        return Status("published", upload.size, etag=upload.etag, digest=digest, path=upload.path)
    return Status(offset=upload.offset, digest=digest)


async def delete_upload(exchange: Exchange, token: bytes) -> Done:
    """Remove what an upload has left."""
    protocol = exchange.protocol
    delete = protocol.factory.store.delete_upload
    await deferToThread(delete, token, protocol.identity, next(protocol.factory.numbers))
    return Done()


class _Nowhere:
    """Takes a body that nobody needs, but for what stands behind it."""

    def write(self, octets: bytes | memoryview) -> None:
        pass


class _Handover:
    """Lets another connection have the upload of an exchange."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._has_let_go = threading.Event()

    def let_go(self) -> None:
        """Take note that this exchange moves no octets any more."""
        self._has_let_go.set()

    def take(self) -> None:
        """End the exchange and its connection; return when no octet moves any more. In a thread of the taker's.

        Raises:
            Busy: it takes long, because a disk hangs, say.
        """
        reactor: Any = self._exchange.protocol.factory.reactor
        reactor.callFromThread(self._end)
        if not self._has_let_go.wait(_HANDOVER_SECONDS):
            raise Busy("an older connection still has the upload: try again", retry_after=5)

    def _end(self) -> None:
        self._exchange.cancel()
        self._exchange.protocol.transport.abortConnection()
