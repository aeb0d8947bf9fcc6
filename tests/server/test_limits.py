"""What one peer may take: whoever takes too much, or gives too little in too much time, is turned away or cut."""

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

import pytest
from certificates import make_certificate
from doubles import DONE, HELP, HELP_REPLY, Log, Rig, content, get, put
from reactors import HeldThreads, run
from serving import Serving, serve, until
from twistds import DEADLINE_SECONDS, Running, run_daemon
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from filetransfer.server import factory
from filetransfer.server.addresses import NOWHERE, group_address
from filetransfer.server.factory import MIN_CROWD
from filetransfer.server.limits import (
    MAX_LOOKS,
    Admission,
    Limits,
    Sweep,
    count_bodies,
    fit_connections,
)
from filetransfer.server.process import return_free_memory

LIMITS = Limits(max_connections=8, max_connections_per_address=3, max_handshakes=2)


@pytest.mark.parametrize(
    ("address", "group"),
    [
        (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1"),
        (IPv6Address("TCP", "2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:2::1", 1), "2001:db8:1:2::/64"),
        (IPv6Address("TCP", "2001:db8:1:3::1", 1), "2001:db8:1:3::/64"),
        (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::/64"),
        (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
        (UNIXAddress(b"/run/socket"), NOWHERE),
    ],
)
def test_whom_a_peer_is_counted_with(address: object, group: str) -> None:
    assert group_address(address) == group


@pytest.mark.parametrize(
    ("wanted", "descriptors", "count"),
    [(8192, 2**20, 8192), (10_000, 20_000, 10_000), (20_000, 20_000, 13_162), (10, 100, 1)],
)
def test_connections_leave_descriptors_for_their_uploads(
    wanted: int, descriptors: int, count: int
) -> None:
    assert fit_connections(wanted, descriptors) == count
    assert count_bodies(count, descriptors) >= max(1, (descriptors - 256) // 6)


def address(last: int) -> IPv4Address:
    return IPv4Address("TCP", f"192.0.2.{last}", 1)


def test_connections_of_an_address(threads: HeldThreads, log: Log) -> None:
    rig = Rig(threads, limits=LIMITS)
    peers = [rig.connect(address(1)) for _ in range(3)]
    for _ in range(100):
        assert not rig.serves(address(1))
    assert 0 < sum("its address has as many" in line for line in log.lines) < 50
    rig.connect(address(2))
    peers[0].lose()
    rig.connect(address(1))
    assert not rig.serves(address(1))


def test_connections_in_all(threads: HeldThreads, log: Log) -> None:
    rig = Rig(threads, limits=LIMITS)
    peers = [rig.connect(UNIXAddress(b"")) for _ in range(8)]
    assert not rig.serves(address(1))
    assert "as many connections as there may be" in log.lines[-1]
    for peer in peers:
        peer.lose()
    assert not rig.factory.admission.counts
    assert rig.factory.admission.count == 0
    rig.connect(address(1))


def test_handshakes_of_an_address() -> None:
    admission = Admission(LIMITS)
    told = [admission.may_shake_hands("a", 5.0) for _ in range(3)]
    assert told == [True, True, False]
    assert admission.may_shake_hands("b", 5.9)
    assert admission.may_shake_hands("a", 6.0)
    assert all(admission.may_shake_hands(NOWHERE, 6.0) for _ in range(10))


class Timed:
    """A server whose clock the test moves, by the second, and a peer of it."""

    def __init__(
        self, threads: HeldThreads, limits: Limits | None = None, *, descriptors: int = 1024
    ) -> None:
        self.rig = Rig(threads, limits=limits, descriptors=descriptors)
        self.peer = self.rig.connect()
        self.pass_seconds(1)

    def pass_seconds(self, seconds: int) -> None:
        """Look once a second, until the peer is cut."""
        for _ in range(seconds):
            self.rig.clock.advance(1)
            self.rig.factory.sweep()
            self.rig.settle()

    @property
    def is_cut(self) -> bool:
        return self.peer.wire.is_aborted


@pytest.fixture
def timed(threads: HeldThreads) -> Timed:
    return Timed(threads)


def test_peer_that_asks_for_nothing(timed: Timed, log: Log) -> None:
    timed.pass_seconds(299)
    assert not timed.is_cut
    timed.pass_seconds(2)
    assert timed.is_cut
    assert "192.0.2.1:50000: failed: it asked for nothing in 300 s" in log.lines


def test_peer_that_asks_for_nothing_more(timed: Timed) -> None:
    timed.pass_seconds(200)
    timed.peer.send(HELP)
    timed.pass_seconds(299)
    assert not timed.is_cut
    timed.pass_seconds(3)
    assert timed.is_cut


def test_peer_that_asks_now_and_then_may_stay(timed: Timed) -> None:
    for _ in range(5):
        timed.pass_seconds(290)
        timed.peer.send(HELP)
    assert not timed.is_cut
    assert timed.peer.received == HELP_REPLY * 5


def test_peers_that_ask_for_nothing_when_it_is_crowded(threads: HeldThreads) -> None:
    timed = Timed(threads, Limits(max_connections=4, crowded_seconds=20))
    asking = timed.rig.connect()
    asking.send(HELP)
    timed.rig.connect()
    timed.pass_seconds(30)
    assert not timed.is_cut
    timed.rig.connect()
    timed.pass_seconds(1)
    assert timed.is_cut
    assert not asking.wire.is_aborted


@pytest.mark.parametrize("head", [b"\x05ab", b"\xe0\x00\x00", put("ab")[:4]])
def test_slowloris(timed: Timed, head: bytes) -> None:
    """However often an octet comes."""
    timed.peer.send(head[:-1])
    timed.pass_seconds(15)
    timed.peer.send(head[-1:])
    timed.pass_seconds(5)
    assert not timed.is_cut
    timed.pass_seconds(2)
    assert timed.is_cut


@pytest.mark.parametrize("size", [60_000, 2_000_000])
def test_body_that_trickles(timed: Timed, size: int, log: Log) -> None:
    timed.peer.send(put("a", b"", size=size))
    for _ in range(58):
        timed.peer.send(bytes(1000))
        timed.pass_seconds(1)
    assert not timed.is_cut
    timed.pass_seconds(4)
    assert timed.is_cut
    assert any("failed: it sent 5" in line for line in log.lines)
    timed.peer.lose()
    timed.rig.finish()
    assert not timed.rig.store.files
    assert not timed.rig.store.open_uploads


def test_body_that_moves_fast_enough(timed: Timed) -> None:
    timed.peer.send(put("a", b"", size=200_000))
    for _ in range(200):
        timed.peer.send(bytes(1000) + bytes(1000) * (timed.rig.clock.seconds() % 10 < 1))
        timed.pass_seconds(1)
    assert not timed.is_cut


def test_refused_body_that_trickles(timed: Timed) -> None:
    timed.peer.send(put("..", b"1", size=60_000))
    timed.pass_seconds(65)
    assert timed.is_cut


def test_time_in_which_the_disk_hangs_does_not_count(timed: Timed) -> None:
    timed.peer.send(put("a", bytes(200_000), size=2_000_000))
    assert len(timed.rig.threads)
    for _ in range(500):
        timed.rig.clock.advance(1)
        timed.rig.factory.sweep()
    assert not timed.is_cut


def test_request_that_is_at_work_for_long(timed: Timed) -> None:
    timed.peer.send(put("a", b"1"))
    timed.pass_seconds(1000)
    assert not timed.is_cut
    timed.rig.finish()
    assert timed.peer.received == DONE


@pytest.mark.parametrize("size", [60_000, 2_000_000])
def test_peer_that_does_not_read(timed: Timed, size: int, log: Log) -> None:
    timed.rig.store.files["a"] = bytes(size)
    timed.peer.wire.is_stuck = True
    timed.peer.send(get("a") * 3)
    timed.pass_seconds(59)
    assert not timed.is_cut
    timed.pass_seconds(4)
    assert timed.is_cut
    timed.peer.lose()
    timed.rig.finish()
    assert not timed.rig.store.open_downloads


def test_peer_that_does_not_take_the_end(timed: Timed) -> None:
    """The connection is closing, but what was written does not leave."""
    timed.rig.store.files["a"] = bytes(60_000)
    timed.peer.wire.is_stuck = True
    timed.peer.send(get("a"))
    timed.peer.end()
    assert timed.peer.wire.is_closing
    timed.pass_seconds(63)
    assert timed.is_cut


def test_requests_under_way(threads: HeldThreads) -> None:
    rig = Rig(threads, limits=Limits(max_requests=2))
    peer = rig.connect()
    peer.send(put("a", b"1") + put("b", b"1") + put("c", b"1"))
    assert len(rig.store.waiting) == 2
    rig.finish()
    assert peer.received == DONE * 3


def test_time_in_which_others_have_all_descriptors_does_not_count(threads: HeldThreads) -> None:
    timed = Timed(threads, descriptors=0)
    receiving, waiting = timed.peer, timed.rig.connect()
    receiving.send(put("a", b"", size=1_000_000))
    timed.rig.settle()
    waiting.send(HELP)
    for _ in range(400):
        receiving.send(b"1" * 2000)
        timed.pass_seconds(1)
    assert not waiting.wire.is_aborted
    assert not waiting.received
    receiving.send(b"1" * 200_000)
    timed.rig.finish()
    timed.pass_seconds(1)
    assert waiting.received == HELP_REPLY


def test_memory_of_all(threads: HeldThreads) -> None:
    """Who waits for memory that others hold goes on when they gave it back."""
    rig = Rig(threads, limits=Limits(max_held_octets_in_all=1000))
    first, second = rig.connect(), rig.connect()
    first.send(put("a", bytes(1000)))
    second.send(put("b", b"1"))
    assert len(rig.store.waiting) == 1
    rig.finish()
    assert first.received == DONE
    rig.factory.sweep()
    rig.finish()
    assert second.received == DONE
    assert rig.factory.held_octets == 0


def test_upload_that_is_too_large(threads: HeldThreads, log: Log) -> None:
    rig = Rig(threads, limits=Limits(max_upload_octets=100_000))
    peer = rig.connect()
    for size, answer in ((100_000, DONE), (100_001, b"\xa0")):
        peer.send(put("a", bytes(size)))
        rig.finish()
        assert peer.received.endswith(answer)
    assert any("too-large" in line for line in log.lines)
    assert len(rig.store.files["a"]) == 100_000


def test_sweep_of_many_takes_turns(threads: HeldThreads) -> None:
    rig = Rig(threads)
    looked: list[int] = []
    sweep = Sweep(rig.clock, lambda: range(2 * MAX_LOOKS + 1), lambda each, _: looked.append(each))
    sweep.begin()
    assert len(looked) == MAX_LOOKS
    # Those that wait longest are not put off by the next one.
    sweep.begin()
    rig.turn()
    assert sorted(looked) == list(range(2 * MAX_LOOKS + 1))


def test_memory_of_a_crowd_is_given_back(
    threads: HeldThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[None] = []
    monkeypatch.setattr(factory, "return_free_memory", lambda: given.append(None))
    rig = Rig(threads)
    peers = [rig.connect(UNIXAddress(b"")) for _ in range(MIN_CROWD)]
    for count in (50, 50, 50, 50):
        rig.factory.sweep()
        for _ in range(count):
            peers.pop().lose()
    for _ in range(3):
        rig.factory.sweep()
    assert len(given) == 1
    return_free_memory()


def test_what_is_told_of_the_limits(threads: HeldThreads) -> None:
    rig = Rig(threads, limits=Limits(max_requests=7))
    assert rig.factory.greeting.limits["pipeline"] == 7


def has_cut(serving: Serving, count: int) -> bool:
    return sum("failed: it took" in line for line in serving.log.lines) == count


def test_slow_readers_on_real_sockets(tmp_path: Path) -> None:
    """They take nothing: neither small answers nor bulk ones. Whoever does take them is served."""
    limits = Limits(rate_seconds=0.5, min_rate=10_000)

    async def work() -> None:
        async with serve(tmp_path / "root", limits=limits) as serving:
            (serving.root / "small").write_bytes(bytes(60_000))
            (serving.root / "bulk").write_bytes(bytes(20_000_000))
            for count, name in enumerate(("small", "bulk"), 1):
                caller = await serving.call()
                caller.transport.pauseProducing()
                caller.send(get(name) * 200)
                await until(partial(has_cut, serving, count))
                caller.transport.resumeProducing()
                await caller.receive_all()
            patient = await serving.call()
            patient.send(get("small"))
            answer = await patient.receive(60_000)
            assert answer == content("small", bytes(60_000))

    run(work())


@contextmanager
def serve_tls(directory: Path, *arguments: str) -> Iterator[tuple[Running, int]]:
    """Run a daemon over TLS; gives it and its port."""
    made = make_certificate(directory)
    tls = ["--certificate", made.file, "--private-key", made.key_file, "--tls-port", "0"]
    with run_daemon(directory, *tls, "--interface", "127.0.0.1", *arguments) as daemon:
        yield daemon, int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+), TLS$")[1])
        assert daemon.end() == 0
        assert not any("Traceback" in line for line in daemon.log), daemon.log


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS)


def shake_hands(peer: socket.socket) -> ssl.SSLSocket:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(peer)


def is_closed(peer: socket.socket) -> bool:
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


def test_silence_and_half_a_handshake_over_tls(tmp_path: Path) -> None:
    with (
        serve_tls(tmp_path, "--handshake-seconds", "1") as (daemon, port),
        connect(port) as silent,
        connect(port) as half,
        shake_hands(connect(port)) as whole,
    ):
        # The header of a record, and nothing of what it announces.
        half.sendall(bytes.fromhex("16030100ff"))
        assert is_closed(silent)
        assert is_closed(half)
        daemon.wait_for("failed: it ended no handshake in [12] s")
        whole.sendall(HELP)
        assert whole.recv(100) == HELP_REPLY


def test_handshakes_over_tls_in_one_second(tmp_path: Path) -> None:
    with serve_tls(tmp_path, "--max-handshakes", "5") as (daemon, port), ExitStack() as peers:
        # However the second changes while they connect: not all of the last ones may begin.
        first, *others = [peers.enter_context(connect(port)) for _ in range(50)]
        with shake_hands(first) as shaken:
            shaken.sendall(HELP)
            assert shaken.recv(100) == HELP_REPLY
        closed, _, _ = select.select(others, [], [], DEADLINE_SECONDS)
        assert closed
        assert all(map(is_closed, closed))
        daemon.wait_for("turned away: too many handshakes in a second")


def test_connections_over_tls_of_one_address(tmp_path: Path) -> None:
    with serve_tls(tmp_path, "--max-connections-per-address", "1") as (daemon, port):
        with connect(port) as first, connect(port) as second:
            assert is_closed(second)
            with shake_hands(first) as shaken:
                shaken.sendall(HELP)
                assert shaken.recv(100) == HELP_REPLY
        daemon.wait_for("turned away: its address has as many")


def test_flood_of_connections_leaves_descriptors_for_uploads(tmp_path: Path) -> None:
    """Everyone who is let in uploads, by the route that needs most of them: as many at once as there are files for."""
    few = ("sh", "-c", 'ulimit -n 400; exec "$0" "$@"')
    body = bytes(1_000_000)
    address = str(tmp_path / "socket")
    with (
        run_daemon(tmp_path, "--listen", f"unix:{address}", before=few) as daemon,
        ExitStack() as peers,
    ):
        daemon.wait_for("at most 96 connections, not 8192: this process may open 400 files")
        connected = [peers.enter_context(socket.socket(socket.AF_UNIX)) for _ in range(600)]
        for peer in connected:
            peer.connect(address)
            peer.settimeout(DEADLINE_SECONDS)
        established = connected[:96]
        for peer in connected[96:]:
            assert is_closed(peer)
        for number, peer in enumerate(established):
            # What need not wait for room in the daemon: only some of them are read from yet.
            peer.sendall(put(str(number), body[:1000], size=len(body)))
        for peer in established:
            peer.sendall(body[1000:])
            assert peer.recv(1) == DONE
        # Whoever goes makes room for another.
        established[0].close()
        daemon.end()
        assert not any("Traceback" in line for line in daemon.log), daemon.log
