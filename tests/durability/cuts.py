"""What a power cut leaves of a recorded run: of files and names, or of the blocks of a disk.

Both replay the events of :mod:`forgetful` up to the moment of the cut. What was synced is there. What was not is
*pending*, and the draw decides how much of it is there, too:

    nothing   none of it: the cache was never written out
    all       all of it: the cache was just written out
    prefix    what came first
    subset    each name, and each 4 KiB of each write, by itself: torn and reordered
    names     every name and size, and no octets: files of the right length full of zeros

:class:`Names` is harder than any file system in use. A file's fsync saves its octets and not its name; a name is
safe when its directory has been synced; a rename is one change, which is safe when both of its directories have been.

:class:`Blocks` is a disk with a volatile cache under a real file system: what was written before the last flush is
there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from forgetful import ROOT, Event

MANNERS = ("nothing", "all", "prefix", "subset", "names")
PIECE = 4096
"""Octets that a power cut does not tear: a sector of today's disks.

With 512, what a loop device calls a sector, XFS found its metadata damaged and could not be mounted after 10 of 1,000
cuts: file systems count on it that a block of theirs is written whole.
"""


@dataclass(slots=True)
class _Change:
    """A change of names that is pending: what each (directory, name) becomes, and the directories not yet synced."""

    order: int
    names: dict[tuple[int, bytes], int | None]
    unsynced: set[int]


@dataclass(frozen=True, slots=True)
class _Draw:
    """How much is kept of what is pending; ``limit`` is the end of a prefix."""

    random: Random
    manner: str
    limit: int

    def keeps(self, order: int) -> bool:
        match self.manner:
            case "nothing":
                return False
            case "prefix":
                return order <= self.limit
            case "subset":
                return self.random.random() < 0.5
        return True


@dataclass(slots=True)
class _File:
    stable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, int, bytes | None]] = field(default_factory=list)
    """Order, offset and octets of a write; order, size and None of a truncation."""

    def draw(self, draw: _Draw) -> bytes:
        content = bytearray(self.stable)
        for order, offset, octets in self.pending:
            if octets is None:
                if draw.keeps(order):
                    _resize(content, offset)
            elif draw.manner == "names":
                _resize(content, max(len(content), offset + len(octets)))
            else:
                for start, piece in _tear(offset, octets):
                    if draw.keeps(order):
                        _write(content, start, piece)
        return bytes(content)

    def sync(self) -> None:
        for _, offset, octets in self.pending:
            if octets is None:
                _resize(self.stable, offset)
            else:
                _write(self.stable, offset, octets)
        self.pending.clear()


class Names:
    """Files and directories, as the recording leaves them."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._directories = {ROOT}
        self._now: dict[tuple[int, bytes], int | None] = {}
        self._stable: dict[tuple[int, bytes], tuple[int, int | None]] = {}
        self._pending: list[_Change] = []
        self._order = 0

    def replay(self, event: Event) -> None:
        """Let one more event have happened."""
        self._order += 1
        _, kind, number, *rest = event
        getattr(self, f"_replay_{kind}")(number, *rest)

    def draw(self, random: Random, manner: str) -> dict[str, bytes]:
        """Give what a cut at this moment leaves: path to octets; of a directory, path and ``/`` to none."""
        draw = _Draw(random, manner, random.randint(0, self._order))
        below = self._draw_names(draw)
        contents: dict[str, bytes] = {}
        ways = [("", ROOT)]
        while ways:
            prefix, directory = ways.pop()
            for name, number in below.get(directory, ()):
                path = prefix + os.fsdecode(name)
                if number in self._directories:
                    contents[f"{path}/"] = b""
                    ways.append((f"{path}/", number))
                else:
                    contents[path] = self._files[number].draw(draw)
        return contents

    def _draw_names(self, draw: _Draw) -> dict[int, list[tuple[bytes, int]]]:
        """Give what each directory has in it."""
        names = dict(self._stable)
        for change in self._pending:
            if draw.keeps(change.order):
                for key, number in change.names.items():
                    if change.order > names.get(key, (0, None))[0]:
                        names[key] = change.order, number
        below: dict[int, list[tuple[bytes, int]]] = {}
        for (directory, name), (_, number) in names.items():
            if number is not None:
                below.setdefault(directory, []).append((name, number))
        return below

    def _replay_create(self, number: int, is_directory: bool) -> None:
        if is_directory:
            self._directories.add(number)
        else:
            self._files[number] = _File()

    def _replay_enter(self, directory: int, name: bytes, number: int) -> None:
        self._change({(directory, name): number})

    def _replay_leave(self, directory: int, name: bytes) -> None:
        self._change({(directory, name): None})

    def _replay_rename(self, directory: int, name: bytes, to: int, to_name: bytes) -> None:
        self._change({(directory, name): None, (to, to_name): self._now[directory, name]})

    def _change(self, names: dict[tuple[int, bytes], int | None]) -> None:
        self._now.update(names)
        self._pending.append(_Change(self._order, names, {directory for directory, _ in names}))

    def _replay_write(self, number: int, offset: int, octets: bytes) -> None:
        self._files[number].pending.append((self._order, offset, octets))

    def _replay_truncate(self, number: int, size: int) -> None:
        self._files[number].pending.append((self._order, size, None))

    def _replay_sync(self, number: int) -> None:
        if number in self._directories:
            self._sync_directory(number)
        else:
            self._files[number].sync()

    def _sync_directory(self, number: int) -> None:
        pending = []
        for change in self._pending:
            change.unsynced.discard(number)
            if change.unsynced:
                pending.append(change)
                continue
            for key, what in change.names.items():
                if change.order > self._stable.get(key, (0, None))[0]:
                    self._stable[key] = change.order, what
        self._pending = pending


class Blocks:
    """The blocks of one disk, which is a file of the recording.

    Args:
        number: of that file.
        image: a file of the host, sparse, for what is stable.
    """

    def __init__(self, number: int, image: Path) -> None:
        self._number = number
        self._image = image
        self._descriptor = os.open(image, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._pending: list[tuple[int, bytes]] = []

    def replay(self, event: Event) -> None:
        """Let one more event have happened."""
        _, kind, number, *rest = event
        if number != self._number:
            return
        match kind, *rest:
            case "truncate", int(size):
                os.ftruncate(self._descriptor, size)
            case "write", int(offset), bytes(octets):
                self._pending.append((offset, octets))
            case "sync", *_:
                for offset, octets in self._pending:
                    os.pwrite(self._descriptor, octets, offset)
                self._pending.clear()

    def draw(self, random: Random, manner: str, image: Path) -> None:
        """Make an image of what a cut at this moment leaves.

        Args:
            random: decides.
            manner: one of MANNERS; ``names`` is as ``subset``: a disk knows no names.
            image: is written, sparse.
        """
        copy_sparse(self._image, image)
        with image.open("r+b", buffering=0) as stream:
            limit = random.randint(0, len(self._pending))
            for index, (offset, octets) in enumerate(self._pending):
                if manner in ("subset", "names"):
                    pieces = [piece for piece in _tear(offset, octets) if random.random() < 0.5]
                elif manner == "all" or (manner == "prefix" and index < limit):
                    pieces = [(offset, octets)]
                else:
                    pieces = []
                for start, piece in pieces:
                    os.pwrite(stream.fileno(), piece, start)

    def close(self) -> None:
        """Forget the image."""
        os.close(self._descriptor)
        self._image.unlink()


@dataclass(frozen=True, slots=True)
class Cut:
    """A moment at which the power is cut.

    Attributes:
        index: how many events have happened.
        moment: acknowledgements received before it must be kept.
        manner: how much of the rest is kept; one of MANNERS.
        seed: of the draw.
    """

    index: int
    moment: float
    manner: str
    seed: int


def plan_cuts(
    events: Sequence[Event], acknowledged: Sequence[float], count: int, random: Random
) -> list[Cut]:
    """Choose moments: half of them anywhere, half right after an acknowledgement came.

    Args:
        events: the recording.
        acknowledged: the moments of acknowledgements.
        count: how many cuts.
        random: decides.

    Returns:
        The cuts, in the order in which they happen.
    """
    moments = [event[0] for event in events]
    first = next((i for i, moment in enumerate(moments) if moment > min(acknowledged)), 0)
    cuts = []
    for which in range(count):
        if which % 2:
            index = random.randint(first, len(events))
        else:
            after = random.choice(acknowledged)
            index = next((i for i in range(first, len(moments)) if moments[i] > after), len(events))
        moment = moments[index] if index < len(events) else float("inf")
        manner = MANNERS[which // 2 % len(MANNERS)]
        cuts.append(Cut(index, moment, manner, random.getrandbits(32)))
    return sorted(cuts, key=lambda cut: cut.index)


def replay_to_cuts(
    state: Names | Blocks, events: Sequence[Event], cuts: Sequence[Cut]
) -> Iterator[Cut]:
    """Give each cut when the state is as it was then."""
    done = 0
    for cut in cuts:
        for event in events[done : cut.index]:
            state.replay(event)
        done = cut.index
        yield cut


def copy_sparse(source: Path, destination: Path) -> None:
    """Copy a file and its holes."""
    size = source.stat().st_size
    with source.open("rb") as read, destination.open("wb") as written:
        written.truncate(size)
        offset = 0
        while offset < size:
            try:
                offset = os.lseek(read.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(read.fileno(), offset, os.SEEK_HOLE)
            os.lseek(written.fileno(), offset, os.SEEK_SET)
            while offset < end:
                offset += os.sendfile(written.fileno(), read.fileno(), offset, end - offset)


def _tear(offset: int, octets: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while start < len(octets):
        end = min(start + PIECE - (offset + start) % PIECE, len(octets))
        yield offset + start, octets[start:end]
        start = end


def _resize(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


def _write(content: bytearray, offset: int, octets: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(octets)] = octets
