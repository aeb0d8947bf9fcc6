"""LIST, STAT, DELETE and MAKE_DIRECTORY: what is there, and what is not to be there any more."""

from __future__ import annotations

from filetransfer.errors import Unsupported
from filetransfer.names import check_path
from filetransfer.server.exchange import Answer, Exchange
from filetransfer.server.uploads import delete_upload, stat_upload
from filetransfer.store import interface
from filetransfer.wire.messages import (
    Delete,
    MakeDirectory,
    Stat,
)


def stat(exchange: Exchange, request: Stat) -> Answer:
    """Say what is known of a path or of an upload."""
    if request.upload is not None:
        return stat_upload(exchange, request.upload)
    raise Unsupported("this server cannot do it")


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
