"""What the server tells of files, for people and for programs."""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from filetransfer.cli.console import printable

if TYPE_CHECKING:
    from filetransfer.client import Entry, Status

_FILE_TYPES = {"file": stat.S_IFREG, "directory": stat.S_IFDIR}


def format_name(entry: Entry, directory: str) -> str:
    """Give an entry's name as it is seen from a directory, with a slash behind that of a directory."""
    name = entry.path.removeprefix(f"{directory}/") if directory else entry.path
    return printable(name) + ("/" if entry.kind == "directory" else "")


def format_line(entry: Entry, directory: str) -> str:
    """Give mode, size, time and name of an entry."""
    size = "" if entry.size is None or entry.kind != "file" else str(entry.size)
    mode = format_mode(entry.kind, entry.mode)
    time = "" if entry.modified is None else format_time(entry.modified)
    return f"{mode} {size:>14} {time:<19} {format_name(entry, directory)}"


def format_mode(kind: str, mode: int | None) -> str:
    """Give kind and permissions as ``ls`` does; question marks where they are not known."""
    file_type = _FILE_TYPES.get(kind, 0)
    text = stat.filemode(file_type | (mode or 0))
    return text if mode is not None else text[0] + 9 * "?"


def format_time(nanoseconds: int) -> str:
    """Give a time, in nanoseconds since 1970 UTC, as local time to the second."""
    try:
        time = datetime.fromtimestamp(nanoseconds // 10**9, UTC).astimezone()
    except (ValueError, OverflowError, OSError):
        # A file may claim to be of the year 100,000.
        return f"@{nanoseconds // 10**9}"
    return time.strftime("%Y-%m-%d %H:%M:%S")


def describe_entry(entry: Entry) -> dict[str, object]:
    """Say for programs what an entry is. ``modified``: nanoseconds since 1970 UTC."""
    return {
        "subject": entry.path,
        "kind": entry.kind,
        "size": entry.size,
        "modified": entry.modified,
        "mode": entry.mode,
        "etag": entry.etag,
    }


def describe_status(status: Status) -> dict[str, object]:
    """Say for programs what is known of a path."""
    return {
        "kind": status.kind,
        "size": status.size,
        "modified": status.modified,
        "mode": status.mode,
        "etag": status.etag,
        "digest": status.digest or None,
    }
