"""Files on their way between here and the server, and which way each goes.

large, and the server keeps what is cut off     over as many connections as it takes (``client/resuming.py``)
a pipe, or what else has no size                as it is read; copied first where the version must say a size
anything else                                   one exchange
"""

from __future__ import annotations

import os
from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread

from filetransfer.client.conversation import Conversation
from filetransfer.client.destinations import (
    LocalDestination,
    PathDestination,
    Stream,
    find_destination,
)
from filetransfer.client.exchanges import Preserve, Progress, Transferred
from filetransfer.client.get_exchange import GetExchange
from filetransfer.client.journal import UploadEntry
from filetransfer.client.put_exchange import PutExchange
from filetransfer.client.resuming import (
    FEATURE,
    MIN_OCTETS,
    Recovery,
    ResumableDownload,
    ResumableUpload,
)
from filetransfer.client.sources import (
    LocalSource,
    PathSource,
    Pipe,
    PipeSource,
    Source,
    find_source,
)
from filetransfer.errors import UnknownToVersion
from filetransfer.store.stable import Durability
from filetransfer.wire.messages import Get, Put


async def upload(
    recovery: Recovery,
    local: LocalSource,
    request: Put,
    *,
    preserve: Preserve,
    resume: bool,
    progress: Progress | None,
) -> Transferred:
    """Send a file. Arguments and errors as for :meth:`~filetransfer.client.session.Session.put`."""
    conversation = recovery.conversation
    source = await _find_source(recovery, local)
    try:
        if resume and isinstance(source, PathSource):
            path = os.path.abspath(source.path)
            if await _can_resume(recovery, path, request):
                return await ResumableUpload(recovery, path, request, preserve, progress).run()
        return await conversation.submit(
            PutExchange(source, request, preserve, conversation.is_durable, progress)
        )
    finally:
        source.close()


async def _can_resume(recovery: Recovery, path: str, request: Put) -> bool:
    if os.stat(path).st_size < MIN_OCTETS:
        return False
    recovery.was_begun(UploadEntry, recovery.server, request.path, path)
    await recovery.conversation.open()
    return recovery.conversation.has_feature(FEATURE)


async def _find_source(recovery: Recovery, local: LocalSource) -> Source:
    found = find_source(local)
    if not isinstance(found, Pipe):
        return found
    try:
        codec = await recovery.conversation.open()
        if not codec.needs_size:
            return PipeSource(found)
        source: Source = await deferToThread(found.spool)
    except BaseException:
        found.close()
        raise
    return source


async def download(
    recovery: Recovery,
    request: Get,
    local: LocalDestination | PathDestination,
    durability: Durability,
    *,
    preserve: Preserve,
    resume: bool,
    progress: Progress | None,
) -> Transferred:
    """Fetch a file. Arguments and errors as for :meth:`~filetransfer.client.session.Session.get`."""
    conversation = recovery.conversation
    if preserve and not (await conversation.open()).can_stat:
        raise UnknownToVersion("version 1 of the protocol tells neither times nor modes of files")
    destination = find_destination(local, durability)
    if not isinstance(destination, PathDestination):
        return await _fetch_into_stream(conversation, request, destination, preserve, progress)
    if resume and request.offset == 0 and request.count is None:
        return await ResumableDownload(recovery, request, destination, preserve, progress).run()
    return await _fetch(conversation, request, destination, preserve, progress)


async def _fetch_into_stream(
    conversation: Conversation,
    request: Get,
    destination: Stream | Callable[[], Stream],
    preserve: Preserve,
    progress: Progress | None,
) -> Transferred:
    stream = destination if isinstance(destination, Stream) else await deferToThread(destination)
    try:
        result = await _fetch(conversation, request, stream, preserve, progress)
    except BaseException:
        # Not waited for: a thread may be sitting in write(), with nobody reading at the other end.
        deferToThread(stream.close).addErrback(lambda _: None)
        raise
    await deferToThread(stream.close)
    return result


def _fetch(
    conversation: Conversation,
    request: Get,
    destination: PathDestination | Stream,
    preserve: Preserve,
    progress: Progress | None,
) -> Deferred[Transferred]:
    return conversation.submit(
        GetExchange(request, destination, conversation.publisher, preserve, progress)
    )
