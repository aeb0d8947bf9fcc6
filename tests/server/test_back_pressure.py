"""Peers that do not read, or send faster than the disk writes: they wait, and cost a bounded amount of memory."""

import pytest
from doubles import DONE, HELP, HELP_REPLY, READ_OCTETS, Peer, Rig, content, get, put

from filetransfer.bodies.copied import BLOCK_OCTETS, MAX_PENDING_OCTETS

MEBIBYTE = 1024 * 1024
# Requests of 32 octets, whose answers have 36.
LONG_NAME = "x" * 31
MANY = 16 * 1024
REQUESTS, REPLIES = get(LONG_NAME) * MANY, content(LONG_NAME, b"") * MANY


def send_all(rig: Rig, peer: Peer, octets: bytes) -> None:
    peer.send(octets)
    rig.settle()


def test_peer_that_pipelines_and_never_reads_is_read_no_more(rig: Rig) -> None:
    rig.store.files = {LONG_NAME: b""}
    peer = rig.connect()
    peer.wire.is_stuck = True
    send_all(rig, peer, REQUESTS)
    assert len(peer.received) <= 2 * READ_OCTETS
    assert peer.unread_octets > len(REQUESTS) - 5 * READ_OCTETS
    peer.wire.is_stuck = False
    peer.wire.drain()
    rig.settle()
    assert peer.received == REPLIES


@pytest.mark.parametrize("size", [1, 1000, 64 * 1024, 64 * 1024 + 1, 200 * 1024, 3 * MEBIBYTE])
@pytest.mark.parametrize("is_cached", [True, False])
def test_peer_that_asks_for_files_and_never_reads(rig: Rig, size: int, is_cached: bool) -> None:
    rig.store.files = {"a": b"x" * size}
    rig.store.is_cached = is_cached
    count = min(100_000, 64 * MEBIBYTE // size)
    peer = rig.connect()
    peer.wire.is_stuck = True
    send_all(rig, peer, get("a") * count)
    assert len(peer.received) < 2 * MEBIBYTE
    assert peer.unread_octets >= len(get("a")) * count - 4 * READ_OCTETS
    assert len(rig.store.open_downloads) <= 1


@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 200 * 1024, 3 * MEBIBYTE])
def test_peer_that_reads_now_and_then_gets_all_of_it(rig: Rig, size: int) -> None:
    rig.store.files = {"a": bytes(range(256)) * 1024 * 12}
    rig.store.files["a"] = rig.store.files["a"][:size]
    peer = rig.connect()
    peer.wire.is_stuck = True
    send_all(rig, peer, get("a") * 5 + put("b", b"1") + get("a") * 5 + HELP)
    for _ in range(1000):
        peer.wire.is_stuck = False
        peer.wire.drain()
        peer.wire.is_stuck = True
        rig.finish()
    expected = content("a", rig.store.files["a"])
    assert peer.received == expected * 5 + DONE + expected * 5 + HELP_REPLY


def test_download_begun_for_a_slow_peer_lets_the_next_request_run(rig: Rig) -> None:
    """The transport had asked for a pause when the download became its producer."""
    rig.store.files = {"small": b"x" * 64 * 1024, "bulk": b"y" * (MEBIBYTE + 1)}
    peer = rig.connect()
    peer.wire.is_stuck = True
    send_all(rig, peer, get("small") * 2 + put("a", b"1") + get("bulk"))
    rig.store.commit()
    peer.wire.is_stuck = False
    peer.wire.drain()
    rig.finish()
    peer.send(HELP)
    rig.finish()
    assert peer.received.endswith(b"y" + HELP_REPLY)


def test_uploader_that_is_faster_than_the_disk_waits(rig: Rig) -> None:
    size = 20 * MEBIBYTE
    peer = rig.connect()
    peer.send(put("a", b"x" * size))
    rig.threads.run_one()  # it is open, and no write is ever done
    rig.turn()
    taken = size - peer.unread_octets
    assert taken <= BLOCK_OCTETS + MAX_PENDING_OCTETS + 2 * READ_OCTETS
    rig.settle()
    assert peer.unread_octets == 0
    rig.finish()
    assert peer.received == DONE
    assert len(rig.store.files["a"]) == size


def test_uploader_waits_until_its_file_is_open(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"x" * 10 * MEBIBYTE))
    assert peer.unread_octets >= 10 * MEBIBYTE - 2 * READ_OCTETS
    rig.finish()
    assert peer.received == DONE


def test_many_bulk_uploads_on_one_connection_wait_for_the_disk(rig: Rig) -> None:
    size = 300 * 1024
    peer = rig.connect()
    peer.send(b"".join(put(f"{i}", b"x" * size) for i in range(100)))
    for _ in range(3):
        rig.threads.run_one()
        rig.turn()
    assert 100 * size - peer.unread_octets < 4 * MEBIBYTE
    rig.finish()
    assert peer.received == DONE * 100


def test_peer_whose_requests_wait_is_read_until_its_end_can_be_seen(rig: Rig) -> None:
    rig.store.files = {"a": b"1", LONG_NAME: b""}
    rig.store.is_cached = False
    peer = rig.connect()
    peer.send(get("a") + HELP * 1000)
    assert peer.unread_octets == 0
    rig.store.is_cached = True
    peer.send(REQUESTS)
    assert peer.unread_octets > len(REQUESTS) - 3 * READ_OCTETS
    rig.settle()
    assert peer.received == content("a", b"1") + HELP_REPLY * 1000 + REPLIES
