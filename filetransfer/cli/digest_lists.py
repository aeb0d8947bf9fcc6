r"""The format of ``sha256sum``.

A line is a digest, two blanks (or a blank and an asterisk) and a name. One backslash before all of it says that those
in the name are doubled.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from filetransfer.cli.console import printable

# By the number of octets: the algorithms that are known by their lengths.
_ALGORITHMS = {32: "sha256", 16: "xxh3-128"}

_LINE = re.compile(r"(?P<escape>\\?)(?P<digest>(?:[0-9a-fA-F]{2})+) [ *](?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Listed:
    """A line of a list.

    Attributes:
        name: of the file.
        algorithm: of the digest.
        digest: its octets.
    """

    name: str
    algorithm: str
    digest: bytes


def format_line(name: str, digest: bytes) -> str:
    """Give a line, without its end."""
    escaped = name.replace("\\", "\\\\")
    return f"{'' if escaped == name else chr(92)}{digest.hex()}  {printable(escaped)}"


def read_list(lines: Iterable[str], source: str) -> list[Listed]:
    """Read a list. ``source``: what to call it. Raises ValueError: a line is none, or there is none."""
    listed = []
    for number, line in enumerate(lines, 1):
        matched = _LINE.fullmatch(line.rstrip("\r\n"))
        digest = bytes.fromhex(matched["digest"]) if matched else b""
        if matched is None or len(digest) not in _ALGORITHMS:
            raise ValueError(
                f"{source}, line {number}: a digest, two blanks and a name are expected"
            )
        name = matched["name"].replace(r"\\", "\\") if matched["escape"] else matched["name"]
        listed.append(Listed(name, _ALGORITHMS[len(digest)], digest))
    if not listed:
        raise ValueError(f"{source}: there is nothing to check")
    return listed
