"""The article's server, written from its description (programs/article.py)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import PROGRAMS, Peer
from benchmarks.wires.version1 import Version1Wire


class ArticlePeer(Peer):
    """A blocking loop in Python, one connection at a time."""

    name = "the article's"

    def list_arguments(self) -> Sequence[str | Path]:
        return [sys.executable, PROGRAMS / "article.py", str(self.port), self.root]

    def open_wire(self) -> Version1Wire:
        return Version1Wire(self.port)
