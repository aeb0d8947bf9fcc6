"""A daemon does what a dictionary does, whatever is asked of it, in any order and any segmentation."""

import socket
import threading

from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from running import DEADLINE_SECONDS, Daemon

DONE, NOT_FOUND, UNKNOWN, REFUSED = b"\x00", b"\x60", b"\x80", b"\xa0"
HELP = b"\xdfbye change get help put summary"

GOOD_NAMES = ["a", "b", "d/a", "d/b", "é" * 15]
BAD_NAMES = ["d", "d/", "missing/a", "..", "../a", "/a", "a/a", ".ft-store", "a\x07"]
# Up to 64 KiB a body is held in memory, from 256 KiB on it goes by the kernel: one of each kind.
SUMMARIES = {
    b"1 2,3\n": b"Max: 3.0\nMin: 1.0\nAvg: 2.0\n",
    b"": None,
    b"1 x": None,
    b"7\n" * 50_000: b"Max: 7.0\nMin: 7.0\nAvg: 7.0\n",
    b"\xff" * 300_000: None,
}

names = strategies.sampled_from(GOOD_NAMES + BAD_NAMES)
bodies = strategies.sampled_from(list(SUMMARIES))
requests = strategies.one_of(
    strategies.tuples(strategies.just("put"), names, bodies),
    strategies.tuples(strategies.just("get"), names),
    strategies.tuples(strategies.just("change"), names, names),
    strategies.tuples(strategies.just("summary"), names),
    strategies.just(("help",)),
    strategies.just(("unknown",)),
)


class Model:
    """What the daemon is to answer, worked out from protocol and dictionary alone."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put(self, name: str, body: bytes) -> bytes:
        if not self.can_hold(name):
            return REFUSED
        self.files[name] = body
        return DONE

    def get(self, name: str) -> bytes:
        if name not in self.files:
            return NOT_FOUND
        body = self.files[name]
        return head(1, name) + len(body).to_bytes(4, "big") + body

    def change(self, old: str, new: str) -> bytes:
        if old not in self.files:
            return NOT_FOUND
        if not self.can_hold(new) or new in self.files:
            return REFUSED
        self.files[new] = self.files.pop(old)
        return DONE

    def summary(self, name: str) -> bytes:
        text = SUMMARIES[self.files[name]] if name in self.files else None
        if text is None:
            return NOT_FOUND
        return head(2, "summary.txt") + len(text).to_bytes(4, "big") + text

    def help(self) -> bytes:
        return HELP

    def unknown(self) -> bytes:
        return UNKNOWN

    def can_hold(self, name: str) -> bool:
        return name in GOOD_NAMES


def head(code: int, name: str) -> bytes:
    octets = name.encode()
    return bytes([code << 5 | len(octets)]) + octets


def say(kind: str, *words: str | bytes) -> bytes:
    """Give the octets of a request."""
    match kind, *words:
        case "put", str(name), bytes(body):
            return head(0, name) + len(body).to_bytes(4, "big") + body
        case "get", str(name):
            return head(1, name)
        case "change", str(old), str(new):
            return head(2, old) + bytes([len(new.encode())]) + new.encode()
        case "summary", str(name):
            return head(3, name)
        case "help", *_:
            return b"\x80"
    return b"\xa0"


def send(peer: socket.socket, *pieces: bytes) -> None:
    for piece in pieces:
        peer.sendall(piece)


def receive(peer: socket.socket, size: int) -> bytes:
    answer = bytearray()
    while len(answer) < size:
        received = peer.recv(1 << 20)
        assert received, bytes(answer[-100:])
        answer += received
    return bytes(answer)


class DaemonMachine(RuleBasedStateMachine):
    """Two peers, whose bursts of requests take turns."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__()
        self.daemon = daemon
        daemon.clear_root()
        (daemon.root / "d").mkdir()
        self.model = Model()
        self.peers = [socket.create_connection(("127.0.0.1", daemon.port)) for _ in range(2)]
        for peer in self.peers:
            peer.settimeout(DEADLINE_SECONDS)

    @rule(
        which=strategies.integers(0, 1),
        burst=strategies.lists(requests, min_size=1, max_size=12),
        cut=strategies.floats(0, 1),
    )
    def ask(self, which: int, burst: list[tuple[str, ...]], cut: float) -> None:
        expected = b"".join(getattr(self.model, kind)(*words) for kind, *words in burst)
        octets = b"".join(say(*request) for request in burst)
        peer, middle = self.peers[which], int(cut * len(octets))
        # Who pipelines must read while he writes.
        writer = threading.Thread(target=send, args=(peer, octets[:middle], octets[middle:]))
        writer.start()
        try:
            assert receive(peer, len(expected)) == expected
        finally:
            writer.join()

    @invariant()
    def the_files_are_those_of_the_model(self) -> None:
        root = self.daemon.root
        served = {
            str(path.relative_to(root)): path.read_bytes()
            for path in root.rglob("*")
            if path.is_file() and ".ft-store" not in path.parts
        }
        assert served == self.model.files

    def teardown(self) -> None:
        for peer in self.peers:
            peer.close()


def test_a_daemon_does_what_a_dictionary_does(daemon: Daemon) -> None:
    run_state_machine_as_test(
        lambda: DaemonMachine(daemon),
        settings=settings(
            max_examples=40,
            stateful_step_count=12,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
