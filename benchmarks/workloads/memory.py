"""What an idle connection costs: the server's memory (PSS), with many of them and without."""

from __future__ import annotations

import contextlib
import resource

from benchmarks.bench import Bench
from benchmarks.peers.limit import LimitPeer
from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.ours import FileTransferPeer
from benchmarks.peers.peer import Peer
from benchmarks.peers.pyftpdlib import PyftpdlibPeer
from benchmarks.peers.twisted_ftp import TwistedFtpPeer
from benchmarks.peers.vsftpd import VsftpdPeer
from benchmarks.report import Report, Table, format_number
from benchmarks.wires.wire import Wire

MOST_PROCESSES = 200
KIBIBYTE = 1024
NAME = "octet"


def measure(bench: Bench) -> Report:
    """Measure one server after the other; memory does not depend on what else runs."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows = []
    for kind in bench.choose(
        FileTransferPeer, LimitPeer, NginxPeer, PyftpdlibPeer, TwistedFtpPeer, VsftpdPeer
    ):
        connections = min(bench.amounts.idle_connections, hard - 100)
        if kind.has_process_for_each:
            connections = min(connections, MOST_PROCESSES)
        with kind(bench.make_place(bench.areas[0])) as peer:
            (peer.root / NAME).write_bytes(b"x")
            # One that has come and gone: what is made once for all is not counted.
            _open(peer).close()
            before = peer.process.read_memory()
            with contextlib.ExitStack() as stack:
                for _ in range(connections):
                    stack.callback(_open(peer).close)
                after = peer.process.read_memory()
        rows.append(
            [
                kind.name,
                f"{connections:,}",
                format_number(before / KIBIBYTE**2),
                format_number(after / KIBIBYTE**2),
                format_number((after - before) / connections / KIBIBYTE),
            ]
        )
    return Report(
        [
            Table(
                "Memory of the server (PSS) with idle connections, each of which has made one request or, FTP, "
                "logged in",
                ["server", "connections", "before, MiB", "with them, MiB", "KiB a connection"],
                rows,
            )
        ]
    )


def _open(peer: Peer) -> Wire:
    wire = peer.open_wire()
    if wire.can_keep_alive:
        wire.measure_response(wire.make_get(NAME))
    return wire
