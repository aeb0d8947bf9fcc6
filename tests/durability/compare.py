"""The same power cuts and kills for other servers.

``python tests/durability/compare.py [NAME ...]``, as root, in a clone with an editable install (``pip install -e .``).

Each server stores its files on ext4, with default options, on a disk with a volatile cache (see
``test_power_cut.py``). A client uploads one file after the other, each under a new name. At the moment at which it is
told that all is well the power is cut; what had been flushed by then is there. Then: is the file there, and whole?

For the kill, the server and its children get SIGKILL in the middle of an upload: what is under the final name?

It prints the table of docs/durability.rst. Servers that are not installed are left out, with a line that says so.
"""

from __future__ import annotations

import ftplib
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import cuts
import forgetful
import images
from uploads import digest_of

from benchmarks.peers.nginx import NginxPeer
from benchmarks.peers.openssh import OpensshPeer
from benchmarks.peers.ours import DurableFileTransferPeer
from benchmarks.peers.peer import Command, Place
from benchmarks.peers.pyftpdlib import PyftpdlibPeer
from benchmarks.peers.rsync import RsyncPeer
from benchmarks.peers.vsftpd import VsftpdPeer
from benchmarks.processes import Failed, run_command
from filetransfer import __version__

SIZES = (4096, 100_000, 2_000_000)
COUNT = 21
KILLED_SIZE = 400_000_000

Store = Callable[[Any, Path, str], None]
"""Uploads a file to a peer under a name; returns when the client is told that all is well."""


class CarefulOpensshPeer(OpensshPeer):
    """With the extension by which a client asks the server for an fsync."""

    def _sftp(self, words: str) -> Command:
        return super()._sftp(words.replace("put ", "put -f "))


class CarefulRsyncPeer(RsyncPeer):
    """With rsync's own option."""

    def _rsync(self, *words: str | Path) -> Command:
        return super()._rsync("--fsync", *words)


def store_by_command(peer: Any, source: Path, name: str) -> None:
    """Run the peer's client: its end is the acknowledgement."""
    command = peer.store_one(source, name)
    run_command(command.arguments, directory=command.directory, environment=command.environment)


def store_by_ftp(peer: Any, source: Path, name: str) -> None:
    """STOR; "226 Transfer complete" is the acknowledgement."""
    with ftplib.FTP() as client, source.open("rb") as stream:
        client.connect("127.0.0.1", peer.port)
        client.login()
        client.storbinary(f"STOR {name}", stream)


@dataclass(frozen=True, slots=True)
class Subject:
    """A row of the table."""

    name: str
    peer: type[Any]
    store: Store
    version: Sequence[str]


SUBJECTS = (
    Subject("filetransfer", DurableFileTransferPeer, store_by_command, ()),
    Subject("vsftpd", VsftpdPeer, store_by_ftp, ("dpkg-query", "-Wf${Version}", "vsftpd")),
    Subject(
        "pyftpdlib",
        PyftpdlibPeer,
        store_by_ftp,
        (sys.executable, "-c", "import pyftpdlib; print(pyftpdlib.__ver__)"),
    ),
    Subject(
        "OpenSSH, put",
        OpensshPeer,
        store_by_command,
        ("dpkg-query", "-Wf${Version}", "openssh-server"),
    ),
    Subject(
        "OpenSSH, put -f",
        CarefulOpensshPeer,
        store_by_command,
        ("dpkg-query", "-Wf${Version}", "openssh-server"),
    ),
    Subject("rsync daemon", RsyncPeer, store_by_command, ("dpkg-query", "-Wf${Version}", "rsync")),
    Subject(
        "rsync --fsync",
        CarefulRsyncPeer,
        store_by_command,
        ("dpkg-query", "-Wf${Version}", "rsync"),
    ),
    Subject("nginx, PUT", NginxPeer, store_by_command, ("dpkg-query", "-Wf${Version}", "nginx")),
)


def cut_after_each(subject: Subject, directory: Path) -> tuple[int, int]:
    """Cut the power at each acknowledgement; how many files were missing, and how many torn."""
    outer, inner = directory / "outer", directory / "inner"
    uploaded: list[tuple[str, str, float]] = []
    with forgetful.record(outer, directory / "log") as recording:
        images.make_image(outer / "disk", "ext4")
        with images.mount_image(outer / "disk", inner):
            root = inner / "root"
            root.mkdir()
            os.sync()
            with subject.peer(Place(root, directory)) as peer:
                for number in range(COUNT):
                    name = f"file{number}"
                    octets = Random(number).randbytes(SIZES[number % len(SIZES)])
                    (directory / name).write_bytes(octets)
                    subject.store(peer, directory / name, name)
                    uploaded.append((name, digest_of(octets), time.monotonic()))
    return _look_after_each(recording.events, uploaded, directory)


def _look_after_each(
    events: list[forgetful.Event], uploaded: list[tuple[str, str, float]], directory: Path
) -> tuple[int, int]:
    (number,) = [event[4] for event in events if event[1] == "enter"]
    state = cuts.Blocks(number, directory / "stable")
    plan = []
    for _, _, moment in uploaded:
        index = next((i for i, event in enumerate(events) if event[0] > moment), len(events))
        plan.append(cuts.Cut(index, moment, "nothing", 0))
    missing = torn = 0
    image = directory / "left"
    for which, cut in enumerate(cuts.replay_to_cuts(state, events, plan)):
        name, digest, _ = uploaded[which]
        state.draw(Random(cut.seed), cut.manner, image)
        with images.mount_image(image, directory / "inner"):
            path = directory / "inner" / "root" / name
            if not path.exists():
                missing += 1
            elif digest_of(path.read_bytes()) != digest:
                torn += 1
    state.close()
    return missing, torn


def kill_in_the_middle(subject: Subject, directory: Path) -> str:
    """Kill the server in the middle of an upload; what is under the final name."""
    source = directory / "large"
    with source.open("wb") as stream:
        stream.truncate(KILLED_SIZE)
    root = directory / "killed"
    root.mkdir()
    others = _list_children(os.getpid())
    with subject.peer(Place(root, directory)) as peer:
        (server,) = _list_children(os.getpid()) - others
        client = threading.Thread(target=_ignore_failure, args=(subject.store, peer, source))
        client.start()
        while _measure(root) < KILLED_SIZE // 20:
            if not client.is_alive():
                return "?"
        for process in _list_tree(server):
            os.kill(process, signal.SIGKILL)
        client.join()
    final = root / "large"
    if not final.exists():
        return "nothing"
    return "whole" if final.stat().st_size == KILLED_SIZE else "torn"


def _ignore_failure(store: Store, peer: Any, source: Path) -> None:
    with suppress(Failed, OSError, EOFError, ftplib.Error):
        store(peer, source, "large")


def _measure(root: Path) -> int:
    """Give the octets that have been stored under any name."""
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            try:
                total += os.stat(os.path.join(directory, name)).st_blocks * 512
            except FileNotFoundError:
                continue
    return total


def _list_tree(process: int) -> Iterator[int]:
    children = _list_children(process)
    yield process
    for child in children:
        yield from _list_tree(child)


def _list_children(process: int) -> set[int]:
    return {
        int(child)
        for task in Path(f"/proc/{process}/task").iterdir()
        for child in (task / "children").read_text().split()
    }


def _main(names: Sequence[str]) -> None:
    _say(_ROW.format("server", "version", "lost", "torn", "after kill -9"))
    for subject in SUBJECTS:
        if names and subject.name not in names:
            continue
        if missing := subject.peer.list_missing():
            _say(f"{subject.name} is left out: {', '.join(missing)} is not installed")
            continue
        with tempfile.TemporaryDirectory(prefix="cut-") as scratch:
            missing, torn = cut_after_each(subject, Path(scratch))
            killed = kill_in_the_middle(subject, Path(scratch))
        version = images.run(*subject.version).strip() if subject.version else __version__
        _say(_ROW.format(subject.name, version, f"{missing + torn} of {COUNT}", torn, killed))


_ROW = "{:18} {:24} {:10} {:6} {}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    _main(sys.argv[1:])
