"""Version 1, over the life of a connection: ends, half-ends, pauses, sizes, and what a second client sees meanwhile."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from conversing import (
    DONE,
    HELP,
    HELP_TEXT,
    NOT_FOUND,
    REFUSED,
    Peer,
    change,
    content,
    converse,
    get,
    put,
    summary,
)
from running import DEADLINE_SECONDS, Daemon

ways = pytest.mark.parametrize("is_octetwise", [False, True], ids=["one-segment", "octet-by-octet"])

BULK = bytes(range(256)) * 1200
"""300 KiB: more than is held in memory."""


def list_blocks(daemon: Daemon) -> int:
    """Octets that the files in the root take on the disk, those of the store's own too."""
    return sum(
        os.lstat(Path(directory, name)).st_blocks * 512
        for directory, _, names in os.walk(daemon.root)
        for name in names
    )


def list_parts(daemon: Daemon) -> set[Path]:
    return set((daemon.root / ".ft-store" / "parts").iterdir())


# Rule 1.


@ways
def test_connection_stays_open(daemon: Daemon, is_octetwise: bool) -> None:
    """The next request is sent when the one before is answered; the answer needs no further octet."""
    with Peer(daemon.port, is_octetwise=is_octetwise) as peer:
        for sent, answered in [
            (HELP, HELP_TEXT),
            (put(b"a", b"12"), DONE),
            (get(b"a"), content(b"a", b"12")),
            (b"\x00", REFUSED),
            (put(b"/a", b"12"), REFUSED),
            (get(b"missing"), NOT_FOUND),
            (change(b"a", b"b"), DONE),
            (b"\xc0", b"\x80"),
            (put(b"e", b""), DONE),
            (get(b"e"), content(b"e", b"")),
            (b"\x60", HELP_TEXT),
        ]:
            peer.send(sent)
            assert peer.receive(len(answered)) == answered, sent
        peer.half_close()
        assert peer.receive_all() == b""


# Every request, cut inside.
CUT = {
    "put": put(b"new", b"body"),
    "put, empty": put(b"new", b""),
    "get": get(b"old"),
    "change": change(b"old", b"new"),
    "summary": summary(b"old"),
}


@pytest.mark.parametrize("ending", [Peer.half_close, Peer.reset], ids=["half-close", "reset"])
@pytest.mark.parametrize("octets", CUT.values(), ids=CUT)
def test_request_cut_at_every_octet_does_nothing(
    daemon: Daemon, octets: bytes, ending: Callable[[Peer], None]
) -> None:
    (daemon.root / "old").write_bytes(b"1")
    for cut in range(1, len(octets)):
        with Peer(daemon.port) as peer:
            peer.send(octets[:cut])
            ending(peer)
            if ending is Peer.half_close:
                assert peer.receive_all() == b"", cut
        assert [each.name for each in daemon.list_visible()] == ["old"], cut


def test_put_cut_while_it_replaces_leaves_the_old(daemon: Daemon) -> None:
    (daemon.root / "old").write_bytes(b"old")
    octets = put(b"old", BULK)
    for cut in [8, 9, 4096, 65536 + 8, 200_000, len(octets) - 1]:
        for ending in (Peer.half_close, Peer.reset):
            with Peer(daemon.port) as peer:
                peer.send(octets[:cut])
                ending(peer)
                if ending is Peer.half_close:
                    assert peer.receive_all() == b""
            assert converse(daemon.port, get(b"old")) == content(b"old", b"old")
    assert [each.name for each in daemon.list_visible()] == ["old"]


def test_what_was_asked_before_a_cut_is_answered(daemon: Daemon) -> None:
    octets = put(b"a", b"1") + get(b"a") + HELP
    answered = DONE + content(b"a", b"1") + HELP_TEXT
    for rest in (b"\x05a", b"\x01b\0\0\0\x09x", b"\x41a", b"\x25"):
        assert converse(daemon.port, octets + rest) == answered
    assert [each.name for each in daemon.list_visible()] == ["a"]


def test_half_close_while_answers_wait(daemon: Daemon) -> None:
    """All that was read is answered, though the client ended long before."""
    (daemon.root / "n").write_bytes(b"1 2 3")
    (daemon.root / "bulk").write_bytes(BULK)
    octets = summary(b"n") + get(b"bulk") + put(b"new", BULK) + get(b"new")
    with Peer(daemon.port) as peer:
        peer.send(octets)
        peer.half_close()
        answered = peer.receive_all()
    assert answered.endswith(content(b"bulk", BULK) + DONE + content(b"new", BULK))
    assert answered.startswith(b"\x4bsummary.txt")


# Rule 2.


@ways
@pytest.mark.parametrize("size", [0, 1, 1000, 16_000])
def test_small_response_comes_in_one_piece(daemon: Daemon, size: int, is_octetwise: bool) -> None:
    body = os.urandom(size)
    (daemon.root / "n").write_bytes(b"1 2 3")
    with Peer(daemon.port, is_octetwise=is_octetwise) as peer:
        peer.send(put(b"small", body))
        assert peer.receive_once() == DONE
        for _ in range(20):
            peer.send(get(b"small"))
            assert peer.receive_once() == content(b"small", body)
        peer.send(HELP)
        assert peer.receive_once() == HELP_TEXT
        peer.send(summary(b"n"))
        assert peer.receive_once().endswith(b"Max: 3.0\nMin: 1.0\nAvg: 2.0\n")


@pytest.mark.needs_root("strace")
@pytest.mark.parametrize("size", [65_536 - 10, 65_536])
def test_response_of_64_kib_leaves_in_one_write(daemon: Daemon, size: int, tmp_path: Path) -> None:
    """Asked of the kernel: how such a response arrives is up to both machines."""
    (daemon.root / "small").write_bytes(b"x" * size)
    trace = tmp_path / "trace"
    with Peer(daemon.port) as peer:
        peer.send(HELP)
        assert peer.receive(len(HELP_TEXT)) == HELP_TEXT
        arguments = ["-f", "-e", "trace=write,writev,sendto,sendmsg", "-p", str(daemon.pid)]
        tracer = subprocess.Popen(
            ["strace", "-o", str(trace), *arguments], stderr=subprocess.PIPE, text=True
        )
        try:
            assert tracer.stderr is not None
            assert "attached" in tracer.stderr.readline()
            peer.send(get(b"small"))
            assert peer.receive(size + 10) == content(b"small", b"x" * size)
            peer.send(HELP)
            assert peer.receive(len(HELP_TEXT)) == HELP_TEXT, "strace has seen what was before"
        finally:
            tracer.terminate()
            tracer.communicate(timeout=DEADLINE_SECONDS)
    assert trace.read_text().count(f" = {size + 10}\n") == 1


@pytest.mark.parametrize("size", [65_526, 65_527, 65_536, 65_537, 300_000, 5_000_000])
def test_bodies_around_the_limits_of_memory(daemon: Daemon, size: int) -> None:
    body = os.urandom(size)
    octets = put(b"b", body) + get(b"b") + HELP
    assert converse(daemon.port, octets) == DONE + content(b"b", body) + HELP_TEXT
    assert (daemon.root / "b").read_bytes() == body


def test_refused_bulk_is_discarded(daemon: Daemon) -> None:
    """Rule 4: all of it, and the connection goes on."""
    octets = b"".join(put(name, BULK) for name in (b"..", b"no/x", b".ft-x")) + put(b"a", BULK)
    assert converse(daemon.port, octets) == REFUSED * 3 + DONE
    assert (daemon.root / "a").read_bytes() == BULK


def test_refusal_waits_for_the_body(daemon: Daemon) -> None:
    with Peer(daemon.port) as peer:
        peer.send(put(b"..", BULK)[:-1])
        assert converse(daemon.port, HELP) == HELP_TEXT
        assert peer.has_nothing_to_read()
        peer.send(BULK[-1:])
        assert peer.receive(1) == REFUSED


def test_pipeline_of_downloads(daemon: Daemon) -> None:
    (daemon.root / "bulk").write_bytes(BULK)
    (daemon.root / "small").write_bytes(b"small")
    answered = content(b"bulk", BULK) + content(b"small", b"small") + HELP_TEXT
    octets = get(b"bulk") + get(b"small") + HELP
    assert converse(daemon.port, octets * 30) == answered * 30


def test_client_that_reads_late(daemon: Daemon) -> None:
    """Back-pressure is never a refusal."""
    (daemon.root / "bulk").write_bytes(BULK)
    with Peer(daemon.port, receive_buffer=4096) as peer:
        peer.send(get(b"bulk") * 40 + put(b"new", b"x"))
        for _ in range(3):
            assert converse(daemon.port, HELP) == HELP_TEXT, "others are served meanwhile"
        peer.half_close()
        assert peer.receive_all() == content(b"bulk", BULK) * 40 + DONE


# Rule 6.


def test_claim_of_4_gib_allocates_nothing(daemon: Daemon) -> None:
    if shutil.disk_usage(daemon.root).free < 8 << 30:
        pytest.skip("needs 8 GiB of free disk, for a claim of 4 to be taken")
    assert converse(daemon.port, HELP) == HELP_TEXT
    before = read_peak_memory(daemon)
    head = b"\x04huge\xff\xff\xff\xff"
    with Peer(daemon.port) as peer:
        peer.send(head + BULK)
        # Until what was sent has arrived in the part: the daemon has then done all that a claim makes it do.
        deadline = time.monotonic() + DEADLINE_SECONDS
        while list_blocks(daemon) < len(BULK):
            assert peer.has_nothing_to_read(), "neither answered nor ended"
            assert time.monotonic() < deadline, daemon.log
        assert list_blocks(daemon) < 64 << 20
        peer.half_close()
        assert peer.receive_all() == b""
    assert daemon.list_visible() == []
    assert list_blocks(daemon) < 1 << 20
    assert read_peak_memory(daemon) - before < 32 << 20


def test_claims_of_4_gib_that_send_nothing(daemon: Daemon) -> None:
    assert converse(daemon.port, HELP) == HELP_TEXT
    before = read_peak_memory(daemon)
    peers = [Peer(daemon.port) for _ in range(50)]
    for number, peer in enumerate(peers):
        peer.send(b"\x04hu%02d\xff\xff\xff\xff" % number)
    for peer in peers:
        peer.half_close()
        with peer:
            assert peer.receive_all() == b""
    assert daemon.list_visible() == []
    assert read_peak_memory(daemon) - before < 32 << 20


def test_largest_files(start_daemon: Callable[..., Daemon]) -> None:
    """2**32 - 1 octets are sent, 2**32 are not found."""
    # One of its own: of an address, so many refusals a minute have a line.
    daemon = start_daemon("--max-requests", "254")
    for name, size in (("most", 2**32 - 1), ("more", 2**32)):
        with (daemon.root / name).open("wb") as file:
            file.truncate(size)
    assert converse(daemon.port, get(b"more") + HELP) == NOT_FOUND + HELP_TEXT
    daemon.wait_for_log("4 GiB")
    with Peer(daemon.port) as peer:
        peer.send(get(b"most"))
        assert peer.receive(9) == b"\x24most\xff\xff\xff\xff"
        assert peer.receive(100_000) == bytes(100_000)
        peer.reset()
    assert converse(daemon.port, HELP) == HELP_TEXT


def read_peak_memory(daemon: Daemon) -> int:
    """The most that was resident, in octets."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


# Rule 9.


def test_download_goes_on_with_what_it_opened(daemon: Daemon) -> None:
    old, new = os.urandom(5_000_000), os.urandom(4_000_000)
    (daemon.root / "f").write_bytes(old)
    with Peer(daemon.port, receive_buffer=4096) as peer:
        peer.send(get(b"f"))
        assert peer.receive(6) == b"\x21f" + len(old).to_bytes(4, "big")
        assert converse(daemon.port, put(b"f", new) + get(b"f")) == DONE + content(b"f", new)
        assert peer.receive(len(old)) == old


def test_upload_is_invisible_until_it_is_whole(daemon: Daemon) -> None:
    (daemon.root / "f").write_bytes(b"old")
    with Peer(daemon.port) as peer:
        peer.send(put(b"f", BULK)[:-1])
        assert converse(daemon.port, get(b"f")) == content(b"f", b"old")
        assert [each.name for each in daemon.list_visible()] == ["f"]
        peer.send(BULK[-1:])
        assert peer.receive(1) == DONE
    assert converse(daemon.port, get(b"f")) == content(b"f", BULK)


# Rule 10, and read-only.


@ways
def test_bare_summary(start_daemon: Callable[..., Daemon], is_octetwise: bool) -> None:
    bare = start_daemon("--summary", "bare")
    octets = put(b"n", b"10 24 44") + summary(b"n") + summary(b"missing") + HELP
    assert converse(bare.port, octets, is_octetwise=is_octetwise) == (
        DONE + b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n" + NOT_FOUND + HELP_TEXT
    )


@ways
def test_read_only(start_daemon: Callable[..., Daemon], is_octetwise: bool) -> None:
    reading = start_daemon("--read-only")
    (reading.root / "a").write_bytes(b"a")
    octets = put(b"b", b"xyz") + put(b"a", BULK if not is_octetwise else b"x") + change(b"a", b"b")
    answered = converse(reading.port, octets + get(b"a"), is_octetwise=is_octetwise)
    assert answered == REFUSED * 3 + content(b"a", b"a")
    assert [each.name for each in reading.list_visible()] == ["a"]


def test_parts_are_gone_when_uploads_are(daemon: Daemon) -> None:
    """Whatever became of them."""
    before = list_parts(daemon)
    for octets in (put(b"a", BULK), put(b"..", BULK), put(b"b", BULK)[:-1], put(b"c", b"x")):
        converse(daemon.port, octets)
    deadline = time.monotonic() + DEADLINE_SECONDS
    while list_parts(daemon) - before:
        assert time.monotonic() < deadline
        converse(daemon.port, HELP)


def test_clients_do_not_wait_for_each_other(daemon: Daemon) -> None:
    """A hundred of them, each stopped inside of a request."""
    octets = put(b"new", b"body")
    peers = [Peer(daemon.port) for _ in range(100)]
    for number, peer in enumerate(peers):
        peer.send(octets[: number % len(octets)])
    assert converse(daemon.port, put(b"mine", b"x") + get(b"mine")) == DONE + content(b"mine", b"x")
    for number, peer in enumerate(peers):
        with peer:
            peer.send(octets[number % len(octets) :])
            assert peer.receive(1) == DONE
    assert converse(daemon.port, get(b"new")) == content(b"new", b"body")
