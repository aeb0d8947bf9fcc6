"""On which terms a file is put under a path, and the one rule that tells whether it may be.

Asked twice for each upload: when it is opened, so that nobody sends a body in vain, and by the one renamer immediately
before the rename, where nobody else changes anything through this store. A client asks, too, before it publishes what
it has fetched: so nothing in here needs what a store offers to a server.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from filetransfer.errors import (
    Exists,
    IsDirectory,
    PreconditionFailed,
    RequestRefused,
    refusal_from_os_error,
)
from filetransfer.store.records import compute_etag


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """On which terms a file is put under its path, and what it gets besides its octets.

    Preconditions are looked at when an upload is opened, and again immediately before the rename, by nobody else at the
    time. Source: protocol, section 2, "Preconditions" and "PUT and durability".

    Attributes:
        if_match: the etag that the path's file must have; None for any, or none.
        if_none_match: whether there must be nothing under the path.
        replaces: whether a file that is there is replaced; if not, it is :class:`~filetransfer.errors.Exists`.
        makes_parents: whether directories that are missing on the way are made, durably as well.
        modified: the file's time of modification, nanoseconds since 1970 UTC; None for that of its last octet.
        mode: permission bits, 0 to 0o777; None for those that the store was told.
    """

    if_match: str | None = None
    if_none_match: bool = False
    replaces: bool = True
    makes_parents: bool = False
    modified: int | None = None
    mode: int | None = None


NO_TERMS = Terms()
"""A file that is there is replaced, whatever it is; parents must be there."""


def check_replaceable(name: bytes | str, directory: int) -> None:
    """Refuse to publish under a name that is taken by anything but a regular file.

    Raises:
        IsDirectory: it is taken by a directory, a symbolic link or a special file.
        RequestRefused: another leaf, for another failed system call.
    """
    check_terms(look_at(name, directory), NO_TERMS)


def look_at(name: bytes | str, directory: int, *, about: str = "path") -> os.stat_result | None:
    """Give what is under a name of an open directory; None: nothing. Raises RequestRefused."""
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise refusal_from_os_error(error, about=about) from error


def check_terms(status: os.stat_result | None, terms: Terms, *, about: str = "path") -> None:
    """Refuse to put a file where the terms do not allow it.

    Args:
        status: of what is there; None: nothing.
        terms: see there.
        about: which of a request's names it is.

    Raises:
        PreconditionFailed: there is something where nothing may be, or not the file that must be.
        Exists: there is something, and the terms do not replace.
        IsDirectory: there is a directory, a symbolic link or a special file.
    """
    if status is None:
        if terms.if_match is not None:
            raise PreconditionFailed("there is no such file any more", about=about)
        return
    if terms.if_none_match or not terms.replaces:
        raise explain_taken(terms, about=about)
    if not stat.S_ISREG(status.st_mode):
        raise IsDirectory("is a directory or a special file", about=about)
    check_match(status, terms.if_match, about=about)


def check_match(status: os.stat_result, wanted: str | None, *, about: str = "path") -> None:
    """Refuse unless what is there has the wanted etag; None: any will do. Raises PreconditionFailed."""
    if wanted is not None:
        check_etag(compute_etag(status), wanted, about=about)


def check_etag(etag: str, wanted: str | None, *, about: str = "path") -> None:
    """As :func:`check_match`, for an etag that is known."""
    if wanted is not None and etag != wanted:
        raise PreconditionFailed("it has changed since: look at it again first", about=about)


def explain_taken(terms: Terms, *, about: str = "path") -> RequestRefused:
    """Give the refusal of one who may not replace what is there."""
    if terms.if_none_match:
        return PreconditionFailed("there is something of this name already", about=about)
    return Exists("exists already", about=about)
