"""Files on their way, in either direction: what ``put``, ``get`` and ``cp`` do."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Work
from filetransfer.cli.promises import describe_moved
from filetransfer.cli.transfers import transfer_all
from filetransfer.errors import (
    Exists,
    FileTransferError,
    IsDirectory,
    NotFound,
    PreconditionFailed,
)

if TYPE_CHECKING:
    from filetransfer.store.stable import Durability

STANDARD_STREAM = "-"
"""Instead of a local file: standard input, or standard output."""

Pair = tuple[str, str]
"""From where, to where."""


def choose_name(file: str) -> str:
    """Give what something here is called on the server; empty for . and .., of which the contents are meant."""
    name = os.path.basename(file.rstrip("/"))
    return "" if name in (".", "..") else name


@dataclass(frozen=True, slots=True)
class Putting:
    """How files are stored.

    Attributes:
        preserve: keep times and modes.
        parents: make missing directories.
        no_clobber: replace nothing.
        if_match: replace only the file that has this etag.
        resume: go on with what was cut off, and keep what is.
    """

    preserve: bool = False
    parents: bool = False
    no_clobber: bool = False
    if_match: str | None = None
    resume: bool = True


async def put_files(work: Work, pairs: Sequence[Pair], putting: Putting) -> int:
    """Store local files under names on the server; gives the status."""

    async def put_one(pair: Pair) -> None:
        file, name = pair
        try:
            with work.moving(file) as bar:
                stored = await work.session.put(
                    0 if file == STANDARD_STREAM else file,
                    name,
                    preserve=putting.preserve,
                    parents=putting.parents,
                    if_match=putting.if_match,
                    if_none_match=putting.no_clobber,
                    resume=putting.resume,
                    progress=bar,
                )
        except PreconditionFailed as refusal:
            raise Exists("it exists") if putting.no_clobber else refusal from refusal
        except NotFound as refusal:
            raise _miss_directory(work, name) from refusal
        except IsADirectoryError as error:
            text = "is a directory; -r sends all that is in it"
            raise IsADirectoryError(error.errno, text, error.filename) from error
        note_move(work, file, name, describe_moved(stored))

    work.keeps_parts = putting.resume and all(file != STANDARD_STREAM for file, _ in pairs)
    work.progress.expect(len(pairs), _add_sizes([file for file, _ in pairs]))
    return await transfer_all(work, pairs, lambda pair: pair[0], put_one)


def _add_sizes(files: Sequence[str]) -> int:
    """Give the octets of all files, as far as they are known; those that cannot be looked at fail later."""
    octets = 0
    for file in files:
        try:
            octets += os.stat(file).st_size
        except OSError:
            continue
    return octets


@dataclass(frozen=True, slots=True)
class Getting:
    """How files are fetched.

    Attributes:
        durability: of what is written here.
        preserve: keep times and modes.
        no_clobber: replace nothing.
        if_match: fetch only the file that has this etag.
        resume: go on with what was cut off, and keep what is.
    """

    durability: Durability = "full"
    preserve: bool = False
    no_clobber: bool = False
    if_match: str | None = None
    resume: bool = True


async def get_files(work: Work, pairs: Sequence[Pair], getting: Getting) -> int:
    """Fetch files of the server to local paths; gives the status."""

    async def get_one(pair: Pair) -> None:
        name, target = pair
        if getting.no_clobber and target != STANDARD_STREAM and os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "is here already", target)
        try:
            with work.moving(name) as bar:
                fetched = await work.session.get(
                    name,
                    1 if target == STANDARD_STREAM else target,
                    if_match=getting.if_match,
                    preserve=getting.preserve,
                    resume=getting.resume,
                    durability=getting.durability,
                    progress=bar,
                )
        except IsDirectory as refusal:
            raise IsDirectory(f"{refusal}; -r fetches all that is in a directory") from refusal
        note_move(work, name, target, describe_moved(fetched))

    work.progress.expect(len(pairs))
    # One after the other into a stream: the octets of two files must not mix.
    is_stream = any(target == STANDARD_STREAM for _, target in pairs)
    work.keeps_parts = getting.resume and not is_stream
    at_once = {"at_once": 1} if is_stream else {}
    return await transfer_all(work, pairs, lambda pair: pair[0], get_one, **at_once)


async def copy_files(
    work: Work, pairs: Sequence[Pair], *, replace: bool, parents: bool = False
) -> int:
    """Copy files on the server to other names there; gives the status."""
    from filetransfer.client.copying import COPIES_AT_ONCE

    async def copy_one(pair: Pair) -> None:
        name, target = pair
        directory = target.rpartition("/")[0]
        if parents and directory:
            await work.session.make_directory(directory, parents=True)
        try:
            copied = await work.session.copy(name, target, replace=replace)
        except NotFound as refusal:
            raise await find_missing(work, refusal, name, target, "--parents") from refusal
        except IsDirectory as refusal:
            raise IsDirectory(f"{refusal}; -r copies all that is in a directory") from refusal
        note_move(work, name, target, describe_moved(copied))

    return await transfer_all(work, pairs, lambda pair: pair[0], copy_one, at_once=COPIES_AT_ONCE)


async def find_missing(
    work: Work, refusal: NotFound, name: str, target: str, remedy: str
) -> NotFound:
    """Find out what is missing of a file that gets, or is copied to, another name: the server does not tell.

    Args:
        work: to ask the server with.
        refusal: what it said.
        name: that the file has, or had.
        target: that it was to get.
        remedy: what makes a directory.
    """
    if refusal.about or "/" not in target:
        return refusal
    try:
        await work.session.stat(name)
    except (FileTransferError, OSError):
        return refusal
    return _miss_directory(work, target, remedy)


def _miss_directory(work: Work, name: str, remedy: str = "--parents") -> NotFound:
    text = f"the directory of {name} is missing on {work.session.server}; {remedy} makes it"
    return NotFound(text, about="to")


def note_move(work: Work, source: str, target: str, described: dict[str, object]) -> None:
    """Say that a file was moved."""
    work.console.note(
        f"{printable(source)} -> {printable(target)}: {described['size']} octets",
        {"action": work.command, "subject": source, "target": target, **described},
    )
