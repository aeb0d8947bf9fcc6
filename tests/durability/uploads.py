"""A client that uploads and remembers every acknowledgement, and the judge of what is found afterwards.

An :class:`Uploader` speaks version 1 over a raw socket, in bursts of pipelined PUTs and CHANGEs: small files and bulk
ones, new names and replaced ones. What it asked stands in its :class:`Ledger`. Names are used by one uploader alone,
so that the ledger's order is the order of the requests.

    a file's state     absent ---- put A ---- put B ---- moved away
    asked at                       1.0        2.0        3.0
    acknowledged at                1.5        2.5        never
    a cut at 1.2 may leave         absent or A
    a cut at 2.7                   B, and nothing else
    a cut at 3.1                   B or absent

Anything that was never asked for is torn; anything older than the last acknowledgement is lost.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

DIRECTORIES = ("", "d0/", "d1/")
"""Where uploads go: the root, and two directories that must be there."""

_NEVER = float("inf")
_SMALL = (0, 1, 100, 4096, 8192, 30_000, 65_536)
_DONE = b"\0"


def digest_of(octets: bytes) -> str:
    """Give the digest by which contents are told apart."""
    return hashlib.sha256(octets).hexdigest()


@dataclass(slots=True)
class _Step:
    """A name's new state: a digest, or None for absent."""

    state: str | None
    asked: float
    acknowledged: float = _NEVER


@dataclass(slots=True)
class _Move:
    digest: str | None
    name: str
    to: str
    steps: tuple[_Step, _Step]


@dataclass(slots=True)
class Verdict:
    """What was found.

    Attributes:
        acknowledged: acknowledgements that were checked.
        lost: one line for each file that is not what was acknowledged.
        torn: one line for each file that nobody ever uploaded so.
    """

    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)

    def add(self, other: Verdict) -> None:
        """Count another one's findings in."""
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.torn += other.torn

    def __str__(self) -> str:
        return "\n".join(
            [
                f"{self.acknowledged} acknowledgements, {len(self.lost)} lost, {len(self.torn)} torn",
                *self.lost[:10],
                *self.torn[:10],
            ]
        )


class Ledger:
    """What one uploader asked, and when it was acknowledged."""

    def __init__(self) -> None:
        self._steps: dict[str, list[_Step]] = {}
        self._moves: list[_Move] = []

    def put(self, name: str, octets: bytes) -> tuple[_Step, ...]:
        """Note a PUT that is about to be asked."""
        return (self._add(name, digest_of(octets)),)

    def move(self, name: str, to: str) -> tuple[_Step, ...]:
        """Note a CHANGE that is about to be asked."""
        digest = self._steps[name][-1].state
        steps = (self._add(name, None), self._add(to, digest))
        self._moves.append(_Move(digest, name, to, steps))
        return steps

    def names(self) -> list[str]:
        """Give the names that there are if all that was asked has been done."""
        return [name for name, steps in self._steps.items() if steps[-1].state is not None]

    def acknowledgements(self) -> list[float]:
        """Give their moments."""
        return [
            step.acknowledged
            for steps in self._steps.values()
            for step in steps
            if step.acknowledged != _NEVER
        ]

    def settle(self, found: Mapping[str, str]) -> None:
        """Take what was found for the truth: whatever was under way has ended one way or the other."""
        self._steps = {name: [_Step(found[name], 0, 0)] for name in self._steps if name in found}
        self._moves.clear()

    def judge(self, found: Mapping[str, str], cut: float = _NEVER) -> Verdict:
        """Compare with what is there.

        Args:
            found: path to digest of every file.
            cut: the moment up to which acknowledgements count.
        """
        verdict = Verdict()
        for name, steps in self._steps.items():
            verdict.acknowledged += sum(step.acknowledged < cut for step in steps)
            self._judge_name(name, steps, found.get(name), cut, verdict)
        for move in self._moves:
            self._judge_move(move, found, cut, verdict)
        return verdict

    def _judge_name(
        self, name: str, steps: list[_Step], state: str | None, cut: float, verdict: Verdict
    ) -> None:
        last = max((i for i, step in enumerate(steps) if step.acknowledged < cut), default=-1)
        allowed = {step.state for step in steps[max(last, 0) :] if step.asked < cut}
        if last < 0:
            allowed.add(None)
        if state in allowed:
            return
        if state is not None and state not in {step.state for step in steps}:
            verdict.torn.append(f"{name} is torn")
        if last >= 0:
            what = "missing" if state is None else "not what was acknowledged"
            verdict.lost.append(f"{name} is {what}")

    def _judge_move(
        self, move: _Move, found: Mapping[str, str], cut: float, verdict: Verdict
    ) -> None:
        """While a CHANGE is under way the file is under one name or the other."""
        away, to = move.steps
        before = self._steps[move.name][self._steps[move.name].index(away) - 1]
        is_last = self._steps[move.name][-1] is away and self._steps[move.to][-1] is to
        if not is_last or away.acknowledged < cut or before.acknowledged >= cut:
            return
        if move.name not in found and move.to not in found:
            verdict.lost.append(f"{move.name} is gone, and is not {move.to} either")

    def _add(self, name: str, state: str | None) -> _Step:
        step = _Step(state, time.monotonic())
        self._steps.setdefault(name, []).append(step)
        return step


class Uploader:
    """A client of the daemon.

    Args:
        prefix: of its names, which no other uploader has.
        seed: decides what it asks.
        max_bulk: octets of the largest bulk file.
        tick: called at each acknowledgement.

    Attributes:
        ledger: what it asked.
        refused: what the daemon said no to, one line each.
        acknowledged: how many requests were.
    """

    def __init__(
        self,
        prefix: str,
        seed: int,
        *,
        max_bulk: int = 1_500_000,
        tick: Callable[[], object] = lambda: None,
    ) -> None:
        self.ledger = Ledger()
        self.refused: list[str] = []
        self.acknowledged = 0
        self._prefix = prefix
        self._random = Random(f"{prefix} {seed}")
        self._max_bulk = max_bulk
        self._tick = tick
        self._count = 0

    def run(self, address: tuple[str, int], until: int) -> None:
        """Upload until that many requests more have been acknowledged, or the daemon is gone."""
        goal = self.acknowledged + until
        try:
            with socket.create_connection(address) as connection:
                while self.acknowledged < goal:
                    self.ask(connection, self.plan_burst())
        except ConnectionError:
            return

    def ask(
        self, connection: socket.socket, burst: Iterable[tuple[str, bytes, tuple[_Step, ...]]]
    ) -> None:
        """Send a burst in one go and wait for its answers. Raises ConnectionError when the daemon is gone."""
        requests = list(burst)
        connection.sendall(b"".join(octets for _, octets, _ in requests))
        waiting = iter(requests)
        for _ in range(len(requests)):
            answer = connection.recv(1)
            moment = time.monotonic()
            what, _, steps = next(waiting)
            if not answer:
                raise ConnectionResetError("the daemon is gone")
            if answer == _DONE:
                self.acknowledged += 1
                for step in steps:
                    step.acknowledged = moment
                self._tick()
            else:
                self.refused.append(f"{what}: answered {answer.hex()}")

    def plan_burst(self) -> list[tuple[str, bytes, tuple[_Step, ...]]]:
        """Give some requests: what each is, its octets, and its steps in the ledger."""
        random = self._random
        if random.random() < 0.15:
            return [self._plan_put(random.randint(65_537, self._max_bulk))]
        burst = []
        for _ in range(random.choice((1, 3, 8, 30))):
            names = self.ledger.names()
            if names and random.random() < 0.15:
                burst.append(self._plan_change(random.choice(names), self._new_name()))
            else:
                burst.append(self._plan_put(random.choice(_SMALL)))
        return burst

    def plan_put(self, name: str, octets: bytes) -> tuple[str, bytes, tuple[_Step, ...]]:
        """Give a PUT."""
        return f"PUT {name}", encode_put(name, octets), self.ledger.put(name, octets)

    def _plan_put(self, size: int) -> tuple[str, bytes, tuple[_Step, ...]]:
        names = self.ledger.names()
        is_new = not names or self._random.random() < 0.5
        name = self._new_name() if is_new else self._random.choice(names)
        return self.plan_put(name, self._random.randbytes(size))

    def _plan_change(self, name: str, to: str) -> tuple[str, bytes, tuple[_Step, ...]]:
        return f"CHANGE {name} {to}", encode_change(name, to), self.ledger.move(name, to)

    def _new_name(self) -> str:
        self._count += 1
        return f"{self._random.choice(DIRECTORIES)}{self._prefix}-{self._count}"


@contextmanager
def uploading(
    uploaders: Sequence[Uploader], address: tuple[str, int], until: int = sys.maxsize
) -> Iterator[None]:
    """Run each uploader in a thread of its own; at the end, wait until all have ended."""
    threads = [
        threading.Thread(target=uploader.run, args=(address, until)) for uploader in uploaders
    ]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def judge_all(
    uploaders: Sequence[Uploader], found: Mapping[str, str], cut: float = _NEVER
) -> Verdict:
    """Judge what is found by the ledgers of all."""
    verdict = Verdict()
    for uploader in uploaders:
        verdict.add(uploader.ledger.judge(found, cut))
    return verdict


def encode_put(name: str, octets: bytes) -> bytes:
    """Give the octets of a PUT in version 1."""
    return bytes([len(name)]) + name.encode() + struct.pack(">I", len(octets)) + octets


def encode_change(name: str, to: str) -> bytes:
    """Give the octets of a CHANGE in version 1."""
    return bytes([0x40 | len(name)]) + name.encode() + bytes([len(to)]) + to.encode()


def digest_tree(root: Path) -> dict[str, str]:
    """Give path and digest of every file below a root, but for the store's own."""
    found = {}
    for directory, names, files in os.walk(root):
        names[:] = [name for name in names if not name.startswith(".ft-")]
        for file in files:
            path = Path(directory, file)
            found[str(path.relative_to(root))] = digest_of(path.read_bytes())
    return found


def make_directories(root: Path) -> None:
    """Make what :data:`DIRECTORIES` names, durably."""
    for directory in DIRECTORIES:
        (root / directory).mkdir(exist_ok=True)
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    os.fsync(descriptor)
    os.close(descriptor)
