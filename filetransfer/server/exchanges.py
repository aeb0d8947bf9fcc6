"""What each request does, one function a request, and the table of them.

Nothing here blocks: what might is done in a thread, and what is known not to (a small file in the page cache) needs
none. How a function answers is in ``exchange.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from twisted.internet.threads import deferToThread

from filetransfer.digests import (
    DEFAULT_ALGORITHM,
    digest_octets,
    is_known_algorithm,
    start_digest,
)
from filetransfer.errors import (
    OffsetMismatch,
    PreconditionFailed,
    RequestRefused,
    Unsupported,
)
from filetransfer.names import Path, check_path
from filetransfer.server.directories import delete, list_, make_directory, stat
from filetransfer.server.exchange import MAX_SMALL_OCTETS, Answer, Exchange
from filetransfer.server.sending import OutgoingFile
from filetransfer.server.uploads import put
from filetransfer.store.interface import NO_DIGESTS, Download, Publish, Rename, Upload
from filetransfer.store.terms import Terms
from filetransfer.wire.messages import (
    Authenticate,
    BodyEnd,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Digested,
    Get,
    Help,
    HelpText,
    List,
    MakeDirectory,
    Malformed,
    Put,
    Response,
    Stat,
    Summary,
    Unknown,
)

HELP_TEXT = "bye change get help put summary"


def get(exchange: Exchange, request: Get) -> Answer:
    """Send a file, or part of one."""
    path = check_path(request.path)
    if request.algorithm is not None and not is_known_algorithm(request.algorithm):
        raise Unsupported(f"the server cannot compute a digest by {request.algorithm!r}")
    download = exchange.protocol.factory.store.open_cached_download(path)
    if download is None:
        return _get_in_thread(exchange, request, path)
    try:
        octets = download.read_cached(MAX_SMALL_OCTETS)
    except BaseException:
        download.close()
        raise
    if octets is None and download.size <= MAX_SMALL_OCTETS:
        download.close()
        return _get_in_thread(exchange, request, path)
    _send(exchange, request, path, download, octets)
    return None


async def _get_in_thread(exchange: Exchange, request: Get, path: Path) -> None:
    download, octets = await deferToThread(_open_and_read, exchange, path)
    _send(exchange, request, path, download, octets)


def _open_and_read(exchange: Exchange, path: Path) -> tuple[Download, bytes | None]:
    download = exchange.protocol.factory.store.open_download(path)
    if download.size > MAX_SMALL_OCTETS:
        return download, None
    try:
        return download, download.read(0, download.size)
    except BaseException:
        download.close()
        raise


def _send(
    exchange: Exchange, request: Get, path: Path, download: Download, octets: bytes | None
) -> None:
    """Answer with a file: at once where it is small and was read, else when the response's turn has come."""
    try:
        content, count = _describe(exchange, request, path, download)
    except BaseException:
        download.close()
        raise
    if octets is None:
        # The whole file's digest, where it is on record, need not be computed once more.
        known = content.digest.get(DEFAULT_ALGORITHM, b"") if count == download.size else b""
        algorithm = request.algorithm or DEFAULT_ALGORITHM
        outgoing = OutgoingFile(
            download,
            request.offset,
            count,
            algorithm,
            known if algorithm == DEFAULT_ALGORITHM else b"",
        )
        exchange.answer_with_body(content, outgoing)
        return
    download.close()
    if count != download.size:
        octets = octets[request.offset : request.offset + count]
    exchange.answer(content, _frame_small(exchange, request, octets))


def _describe(
    exchange: Exchange, request: Get, path: Path, download: Download
) -> tuple[Content, int]:
    """Give the head of a file's body, and how many octets the body has."""
    _check_etag(request.if_match, download.etag)
    if request.offset > download.size:
        raise OffsetMismatch(f"the file ends at {download.size}", about="path")
    count = download.size - request.offset
    if request.count is not None:
        count = min(count, request.count)
    # 3 µs to find out, and only those hear it whose bodies have something behind them.
    digest = download.digest if exchange.protocol.connection.has_trailers else b""
    content = Content(
        path,
        download.size,
        request.offset,
        download.etag,
        download.modified,
        download.mode,
        {DEFAULT_ALGORITHM: digest} if digest else {},
    )
    return content, count


def _frame_small(exchange: Exchange, request: Get, octets: bytes) -> bytes:
    """Give a small body with what stands before and behind it."""
    connection = exchange.protocol.connection
    if not connection.has_trailers:
        return octets
    algorithm = request.algorithm or DEFAULT_ALGORITHM
    if algorithm == DEFAULT_ALGORITHM:
        digest = digest_octets(octets)
    else:
        running = start_digest(algorithm)
        running.update(octets)
        digest = running.digest()
    header = connection.encode_run(len(octets)) if octets else b""
    return header + octets + connection.encode_body_end(BodyEnd({algorithm: digest}))


def _check_etag(wanted: str | None, etag: str) -> None:
    """Refuse unless a file has the etag that a request wants it to have. Raises PreconditionFailed."""
    if wanted is not None and wanted != etag:
        raise PreconditionFailed("the file is not the one that was asked for any more")


def change(exchange: Exchange, request: Change) -> Answer:
    """Give a file another name."""
    path = check_path(request.path)
    try:
        to = check_path(request.to, about="to")
    except RequestRefused as refusal:
        return _refuse_change(exchange, path, refusal)
    exchange.commit(Rename(path=path, to=to, replaces=request.replace, if_match=request.if_match))
    return None


async def _refuse_change(exchange: Exchange, path: Path, refusal: RequestRefused) -> None:
    """Refuse because of the new name, unless the old one is missing: that is said first (rule 8)."""
    download = await deferToThread(exchange.protocol.factory.store.open_download, path)
    download.close()
    raise refusal


async def summary(exchange: Exchange, request: Summary) -> Response:
    """Summarise a file of numbers."""
    path = check_path(request.path)
    with _take_turn(exchange):
        download = await deferToThread(exchange.protocol.factory.store.open_download, path)
        try:
            return await exchange.summarise(download, request)
        finally:
            download.close()


def _take_turn(exchange: Exchange) -> AbstractContextManager[None]:
    """Have a turn at work that takes long. A peer that cannot be told to come again has to wait instead."""
    if not exchange.protocol.connection.says_why:
        return nullcontext()
    return exchange.protocol.factory.turns.take(exchange.protocol.identity)


async def digest(exchange: Exchange, request: Digest) -> Response:
    """Give the digest of a file: the one on record, or the one that it has."""
    path = check_path(request.path)
    algorithm = request.algorithm or DEFAULT_ALGORITHM
    if not is_known_algorithm(algorithm):
        raise Unsupported(f"the server cannot compute a digest by {algorithm!r}")
    with _take_turn(exchange):
        download = await deferToThread(exchange.protocol.factory.store.open_download, path)
        try:
            _check_etag(request.if_match, download.etag)
            value = download.digest if algorithm == DEFAULT_ALGORITHM else b""
            if not value:
                value = await exchange.run_until_stopped(download.compute_digest, algorithm)
            return Digested({algorithm: value}, download.size, download.etag)
        finally:
            download.close()


async def copy(exchange: Exchange, request: Copy) -> None:
    """Copy a file."""
    path, to = check_path(request.path), check_path(request.to, about="to")
    terms = Terms(replaces=request.replace)
    store = exchange.protocol.factory.store

    def open_copy(should_stop: Callable[[], bool]) -> Upload:
        return store.open_copy(
            path, to, if_match=request.if_match, terms=terms, should_stop=should_stop
        )

    with _take_turn(exchange):
        upload = await exchange.run_until_stopped(open_copy)
        try:
            await deferToThread(upload.prepare, terms, NO_DIGESTS)
        except BaseException:
            await deferToThread(upload.abort)
            raise
    exchange.commit(Publish(upload=upload, terms=terms))


def help_(exchange: Exchange, request: Help) -> Answer:
    """Say what can be asked."""
    about = exchange.protocol.factory.greeting
    return HelpText(HELP_TEXT, REQUEST_NAMES, about.features, about.limits, about.software)


def authenticate(exchange: Exchange, request: Authenticate) -> Answer:
    """Say that nobody need say who he is."""
    raise Unsupported("there are no accounts on this server: ask without them")


def unknown(exchange: Exchange, request: Unknown) -> Answer:
    """Say that there is no such request."""
    raise Unsupported(f"there is no request with code {request.code}")


def malformed(exchange: Exchange, request: Malformed) -> Answer:
    """Say what is wrong with a request."""
    raise request.refusal


EXCHANGES: dict[type, Callable[[Exchange, Any], Answer]] = {
    Put: put,
    Get: get,
    Change: change,
    Summary: summary,
    Help: help_,
    Digest: digest,
    Authenticate: authenticate,
    Unknown: unknown,
    List: list_,
    Stat: stat,
    Delete: delete,
    MakeDirectory: make_directory,
    Copy: copy,
    Malformed: malformed,
}

REQUEST_NAMES = [
    *("PUT", "GET", "CHANGE", "SUMMARY", "HELP", "LIST", "STAT", "DELETE", "MAKE_DIRECTORY"),
    *("DIGEST", "COPY"),
]
