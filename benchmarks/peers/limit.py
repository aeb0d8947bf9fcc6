"""The limit: a plain sendfile and splice loop in C (c/limit.c)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.load import SOURCES, compile_c
from benchmarks.peers.peer import Peer
from benchmarks.wires.version1 import Version1Wire


class LimitPeer(Peer):
    """The C loop, compiled when it begins."""

    name = "plain C"
    is_durable = False

    def list_arguments(self) -> Sequence[str | Path]:
        program = self.scratch / "limit"
        compile_c(SOURCES / "limit.c", program)
        return [program, str(self.port), self.root, *(["sync"] if self.is_durable else [])]

    def open_wire(self) -> Version1Wire:
        return Version1Wire(self.port)


class DurableLimitPeer(LimitPeer):
    """The C loop with the recipe of textbooks: each upload fsyncs its file, renames it, fsyncs the directory."""

    name = "plain C, each for itself"
    is_durable = True
