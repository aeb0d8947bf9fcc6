"""Patterns of names: ``*.csv``, ``2024/**/[a-f]*``.

``*`` and ``?`` stand for characters of one component, ``[...]`` for one of several, ``**`` for any number of
directories; a leading dot must be there in the pattern, too, as in a shell. What exists under the very name is meant by
it, whatever it looks like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from filetransfer.errors import LocalProtocolError, NotFound

if TYPE_CHECKING:
    from filetransfer.client.session import Session

_MAGIC = frozenset("*?[")


def is_pattern(name: str) -> bool:
    """Tell whether a name may stand for several."""
    return not _MAGIC.isdisjoint(name)


def match_path(path: str, pattern: str, *, has_dots: bool = False) -> bool:
    """Tell whether a pattern stands for a path, among others. ``has_dots``: also for what begins with a dot."""
    from wcmatch import glob

    flags = glob.GLOBSTAR | glob.FORCEUNIX | glob.CASE | (glob.DOTGLOB if has_dots else 0)
    return bool(glob.globmatch(path, pattern, flags=flags))


def find_directory(pattern: str) -> str:
    """Give the directory in which all lies that a pattern may stand for; empty for the root."""
    fixed: list[str] = []
    for component in pattern.split("/")[:-1]:
        if is_pattern(component):
            break
        fixed.append(component)
    return "/".join(fixed)


async def find_names(session: Session, name: str, *, has_directories: bool = False) -> list[str]:
    """Give the paths on the server that a name stands for, in the order of a listing.

    Args:
        session: with the server.
        name: a path, or a pattern.
        has_directories: whether a pattern stands for directories, too, and not for files only.

    Raises:
        NotFound: a pattern that stands for nothing.
        RequestRefused, TransferInterrupted, RemoteProtocolError: as for :meth:`Session.list`.
    """
    if not is_pattern(name):
        return [name]
    try:
        await session.stat(name)
    except LocalProtocolError:
        # This server cannot be asked for a listing either: the name is taken at its word.
        return [name]
    except NotFound:
        return await _expand(session, name, has_directories)
    return [name]


async def _expand(session: Session, pattern: str, has_directories: bool) -> list[str]:
    directory = find_directory(pattern)
    depth = pattern.count("/") - directory.count("/") - bool(directory)
    entries = session.list(directory or None, recursive=depth > 0 or "**" in pattern)
    found = [
        entry.path
        async for entry in entries
        if (has_directories or entry.kind == "file") and match_path(entry.path, pattern)
    ]
    if not found:
        raise NotFound("nothing has a name like that", about="path")
    return found
