"""What all connections of a daemon share: the store, the limits, and how connections are made and looked after."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory
from twisted.logger import Logger

from filetransfer import __version__
from filetransfer.errors import ShuttingDown
from filetransfer.names import MAX_PATH_OCTETS
from filetransfer.server.addresses import describe_address, group_address
from filetransfer.server.limits import Admission, Limits, Sweep, Watch, count_bodies
from filetransfer.server.logs import PeerLines, RequestLog
from filetransfer.server.process import return_free_memory
from filetransfer.server.protocol import FileTransferProtocol
from filetransfer.server.summaries import Summaries
from filetransfer.server.turned_away import MAX_TURNED_AWAY, TurnedAway
from filetransfer.server.turns import Turns
from filetransfer.store.interface import Commit, Store
from filetransfer.wire.connection import FRAME_LIMITS
from filetransfer.wire.messages import Greeting, Unavailable

SOFTWARE = f"filetransfer {__version__}"
FEATURES = ("digests", "resume")
"""What this server promises; the words, and two more, are in docs/protocol.rst."""

MIN_CROWD = 200
"""When half of at least so many connections have ended, what they leave in memory is worth giving back."""

_log = Logger()


class FileTransferFactory(Factory):
    """Makes the protocols, and holds what all connections of a daemon share.

    Attributes:
        store: the served root; set before the first connection is made.
        summaries: the child processes that read files of numbers.
        reactor: calls back later.
        turns: at the work that takes long.
        limits: what connections may take.
        admission: how many there are, of whom.
        numbers: of the requests for uploads, in the order in which they come.
        connections: those that are open.
        held_octets: of bodies and replies in memory.
        request_log: has a line for each request; None for none.
        works: the coroutines of requests that have not ended, and of bodies that are sent; some go on a little when
            the peer is gone.
        is_draining: whether connections begin no more requests, and close.
    """

    protocol = FileTransferProtocol  # type: ignore[assignment]
    noisy = False

    def __init__(
        self,
        summaries: Summaries,
        reactor: Any,
        *,
        has_bare_summary: bool = False,
        features: Sequence[str] = FEATURES,
        limits: Limits | None = None,
        descriptors: int = 1024,
    ) -> None:
        self.store: Store
        self.summaries = summaries
        self.reactor = reactor
        self.has_bare_summary = has_bare_summary
        self._features = features
        self.limits = limits or Limits()
        self.admission = Admission(self.limits)
        told = {"path": MAX_PATH_OCTETS, "pipeline": self.limits.max_requests, **FRAME_LIMITS}
        self._greeting = Greeting(2, SOFTWARE, limits=told)
        self.turns = Turns()
        self.numbers = itertools.count(1)
        self.connections: set[FileTransferProtocol] = set()
        self._descriptors = descriptors
        self._turned_away: set[TurnedAway] = set()
        self.works: set[Deferred[Any]] = set()
        self.held_octets = 0
        self.is_draining = False
        self._put_off: dict[FileTransferProtocol, None] | None = None
        self.request_log: RequestLog | None = None
        self._number = 0
        self._most = 0
        self._peer_lines = PeerLines(reactor)
        self._sweep = Sweep(reactor, lambda: self.connections, self._look)

    def buildProtocol(self, addr: Any) -> Any:
        """Make the protocol of a connection; None closes it at once."""
        group = group_address(addr)
        objection = self.admission.find_objection(group)
        if not objection:
            return super().buildProtocol(addr)
        if self._peer_lines.may_log(group):
            peer = describe_address(addr)
            _log.info("{peer}: turned away: {reason}", peer=peer, reason=objection)
        return self._turn_away(objection)

    def _turn_away(self, objection: str) -> TurnedAway | None:
        if len(self._turned_away) >= MAX_TURNED_AWAY:
            return None
        protocol = TurnedAway(objection)
        protocol.factory = self
        self._turned_away.add(protocol)
        return protocol

    def forget_turned_away(self, protocol: TurnedAway) -> None:
        """Take note that somebody who was turned away is gone."""
        self._turned_away.discard(protocol)

    def admit(self, connection: FileTransferProtocol) -> None:
        """Take note of a connection that is open."""
        self._number += 1
        connection.number = self._number
        self.connections.add(connection)
        self.admission.add(connection.group)

    def dismiss(self, connection: FileTransferProtocol) -> None:
        """Take note that it is open no more."""
        self.connections.discard(connection)
        self.admission.remove(connection.group)

    def begin_drain(self) -> None:
        """Let connections end, and begin no more requests; those that still come are told why."""
        self.is_draining = True

    def may_shake_hands(self, connection: FileTransferProtocol | TurnedAway) -> bool:
        """Whether a connection may begin its handshake of TLS; if not, that is logged."""
        is_allowed = self.admission.may_shake_hands(connection.group, self.reactor.seconds())
        if not is_allowed:
            self.log_peer(connection, "{peer}: turned away: too many handshakes in a second")
        return is_allowed

    @property
    def has_descriptors(self) -> bool:
        """Whether there are files enough left to open for one more body."""
        works = len(self.works)
        # One may always be: where there are only small requests, nothing is worked out for each.
        return not works or works < count_bodies(self.admission.count, self._descriptors)

    def may_log(self, connection: FileTransferProtocol | TurnedAway) -> bool:
        """Whether there may be one more line about a peer."""
        return self._peer_lines.may_log(connection.group or connection.peer)

    def log_peer(
        self, connection: FileTransferProtocol | TurnedAway, text: str, **fields: Any
    ) -> None:
        """Log a line about a peer, unless there were many about it of late."""
        if self.may_log(connection):
            _log.info(text, peer=connection.peer, **fields)

    def sweep(self) -> None:
        """Look at all connections, whether they keep their times; to be called once a second."""
        self._sweep.begin()
        self._most = max(self._most, self.admission.count)
        if self._most >= MIN_CROWD and self.admission.count <= self._most // 2:
            self._most = self.admission.count
            return_free_memory()

    def _look(self, connection: FileTransferProtocol, now: float) -> None:
        if connection.is_lost:
            return
        if connection.watch is None:
            connection.watch = Watch(now)
        is_crowded = self.admission.is_crowded
        fault = connection.watch.find_fault(connection, self.limits, now, is_crowded=is_crowded)
        if fault:
            connection.fail_late(fault)
        else:
            connection.say_working(now)
            connection.go_on_if_stuck()

    @property
    def opening(self) -> Greeting | Unavailable:
        """What is said first in version 2."""
        if self.is_draining:
            error = ShuttingDown("the server is about to stop: try again", retry_after=1)
            return Unavailable(error)
        return self.greeting

    @property
    def greeting(self) -> Greeting:
        """What a server that serves says first. Connections share it: each holds it until its version is chosen."""
        features = [*self._features, *(["read-only"] if self.store.is_read_only else [])]
        if features != self._greeting.features:
            self._greeting = replace(self._greeting, features=features)
        return self._greeting

    def tell_of_commits(self, commits: list[Commit]) -> None:
        """Tell the exchanges of a batch of finished commits.

        Each connection goes on once, when the last one is told: replies leave in one write, and new commits reach the
        store as one batch. Pipelined PUTs of 4 KiB, one after the other and together: 17,300 and 20,500 a second.
        """
        put_off: dict[FileTransferProtocol, None] = {}
        self._put_off = put_off
        for commit in commits:
            try:
                commit.done(commit)
            except Exception:  # noqa: BLE001 - the other commits of the batch are answered all the same
                _log.failure("a bug in answering a commit")
        self._put_off = None
        for protocol in put_off:
            try:
                protocol.go_on()
            except Exception:  # noqa: BLE001 - as above
                _log.failure("a bug in going on after a commit")

    def puts_off(self, protocol: FileTransferProtocol) -> bool:
        """Whether a connection is to go on only when a whole batch of commits has been told; it is called then."""
        if self._put_off is None:
            return False
        self._put_off[protocol] = None
        return True
