"""Connections that end where they should not: nothing is visible, nothing is left open."""

from collections.abc import Callable

import pytest
from doubles import DONE, HELP, HELP_REPLY, Peer, Rig, content, get, put, summary

from filetransfer.errors import NotFound
from filetransfer.server import exchanges

BULK = bytes(range(256)) * 4096

Ending = Callable[[Peer], None]
ENDINGS = pytest.mark.parametrize("end", [Peer.end, Peer.lose], ids=["half-close", "reset"])


def assert_nothing_is_left(rig: Rig) -> None:
    rig.finish()
    assert not rig.store.files
    assert not rig.store.open_uploads
    assert not rig.store.open_downloads
    assert not rig.summaries.waiting


@ENDINGS
@pytest.mark.parametrize("is_small", [True, False], ids=["small", "bulk"])
@pytest.mark.parametrize("has_time", [True, False], ids=["settled", "at once"])
def test_put_cut_at_every_octet(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, end: Ending, is_small: bool, has_time: bool
) -> None:
    if not is_small:
        monkeypatch.setattr(exchanges, "MAX_SMALL_OCTETS", 3)
    octets = put("name", b"0123456789")
    for cut in range(1, len(octets)):
        peer = rig.connect()
        peer.send(octets[:cut])
        if has_time:
            rig.settle()
        end(peer)
        assert_nothing_is_left(rig)
        assert peer.received == b""
        if peer.wire.connected:
            assert peer.wire.is_closing


@ENDINGS
def test_put_cut_while_octets_are_being_written(rig: Rig, end: Ending) -> None:
    peer = rig.connect()
    peer.send(put("a", BULK[:300_000], size=len(BULK)))
    rig.threads.run_one()  # it is open
    peer.send(BULK[300_000:600_000])
    assert len(rig.threads) == 1
    end(peer)
    assert rig.store.open_uploads  # nobody closes what a thread writes to
    assert_nothing_is_left(rig)


@ENDINGS
def test_put_cut_while_it_is_opened_in_vain(rig: Rig, end: Ending) -> None:
    peer = rig.connect()
    peer.send(put("a", BULK[:10], size=len(BULK)))
    rig.store.failures["open_upload"] = NotFound("no parent")
    end(peer)
    assert_nothing_is_left(rig)
    assert peer.received == b""


@ENDINGS
def test_refused_put_cut_in_its_body(rig: Rig, end: Ending) -> None:
    peer = rig.connect()
    peer.send(put("..", b"123", size=10))
    end(peer)
    assert_nothing_is_left(rig)
    assert peer.received == b""


@pytest.mark.parametrize("body", [b"1", BULK], ids=["small", "bulk"])
def test_put_that_came_whole_is_published_for_a_peer_that_is_gone(rig: Rig, body: bytes) -> None:
    """It was asked for, and the peer may have lost no more than the answer."""
    peer = rig.connect()
    peer.send(put("a", body))
    rig.settle()
    assert rig.store.waiting
    peer.lose()
    rig.finish()
    assert rig.store.files == {"a": body}


def test_bulk_put_that_came_whole_is_published_though_it_is_still_being_written(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", BULK[:100_000]))
    rig.threads.run_one()
    rig.turn()
    assert peer.unread_octets == 0
    assert len(rig.threads) == 1
    peer.lose()
    rig.finish()
    assert rig.store.files == {"a": BULK[:100_000]}
    assert not rig.store.open_uploads


def test_half_close_between_requests_ends_the_connection_when_all_is_answered(rig: Rig) -> None:
    rig.store.files = {"bulk": BULK}
    peer = rig.connect()
    peer.send(put("a", b"1") + get("bulk") + HELP)
    peer.end()
    assert not peer.wire.disconnecting
    rig.finish()
    assert peer.received == DONE + content("bulk", BULK) + HELP_REPLY
    assert peer.wire.is_closing
    assert not peer.wire.is_aborted


def test_half_close_without_a_request(rig: Rig) -> None:
    peer = rig.connect()
    peer.end()
    assert peer.wire.is_closing


def test_half_close_inside_a_request_lets_those_before_it_be_answered(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + put("b", b"2")[:-1])
    peer.end()
    assert not peer.wire.disconnecting
    rig.finish()
    assert peer.received == DONE
    assert peer.wire.is_closing
    assert rig.store.files == {"a": b"1"}


def test_half_close_behind_a_request_that_waits_for_another(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + get("a") + get("a"))
    peer.end()
    rig.finish()
    assert peer.received == DONE + content("a", b"1") * 2
    assert peer.wire.is_closing


def test_reset_while_a_commit_waits(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + get("a"))
    peer.lose()
    rig.finish()
    assert rig.store.files == {"a": b"1"}
    assert not rig.store.open_downloads
    assert peer.received == b""


@pytest.mark.parametrize("size", [1, len(BULK)])
def test_reset_while_a_get_waits_for_its_thread(rig: Rig, size: int) -> None:
    rig.store.is_cached = False
    rig.store.files = {"a": BULK[:size]}
    peer = rig.connect()
    peer.send(get("a"))
    peer.lose()
    rig.finish()
    assert not rig.store.open_downloads
    assert peer.received == b""


def test_reset_while_a_get_waits_for_its_thread_and_an_earlier_answer(rig: Rig) -> None:
    rig.store.is_cached = False
    rig.store.files = {"a": BULK}
    peer = rig.connect()
    peer.send(put("b", b"1") + get("a"))
    peer.lose()
    rig.settle()
    assert rig.store.waiting
    assert not rig.store.open_downloads
    rig.finish()


def test_reset_while_a_download_waits_for_its_turn(rig: Rig) -> None:
    rig.store.files = {"a": BULK}
    peer = rig.connect()
    peer.send(put("b", b"1") + get("a"))
    assert rig.store.open_downloads
    peer.lose()
    assert not rig.store.open_downloads
    rig.finish()


def test_reset_in_mid_download(rig: Rig) -> None:
    rig.store.files = {"a": BULK}
    peer = rig.connect()
    peer.wire.is_stuck = True
    peer.send(get("a") + get("a"))
    rig.settle()
    assert rig.store.open_downloads
    assert 0 < len(peer.received) < len(BULK)
    peer.lose()
    rig.finish()
    assert not rig.store.open_downloads


def test_reset_while_a_summary_runs(rig: Rig) -> None:
    rig.store.files = {"a": b"1"}
    peer = rig.connect()
    peer.send(summary("a"))
    rig.settle()
    assert rig.summaries.waiting
    peer.lose()
    assert rig.summaries.cancelled == 1
    assert not rig.store.open_downloads


def test_reset_while_the_file_of_a_summary_is_opened(rig: Rig) -> None:
    """No child is started for a peer that is gone."""
    rig.store.files = {"a": b"1"}
    peer = rig.connect()
    peer.send(summary("a"))
    peer.lose()
    rig.settle()
    assert not rig.summaries.waiting
    assert not rig.store.open_downloads


def test_file_that_shrinks_while_it_is_sent_fails_the_connection(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.store.files = {"a": BULK}
    peer = rig.connect()
    peer.wire.is_stuck = True
    peer.send(get("a"))
    rig.settle()
    [download] = rig.store.open_downloads
    import os

    os.truncate(download.fileno(), len(peer.received))
    peer.wire.is_stuck = False
    peer.wire.drain()
    rig.settle()
    assert peer.wire.is_aborted
    assert not rig.store.open_downloads


def test_connection_that_can_no_longer_be_written_to_is_failed(rig: Rig) -> None:
    peer = rig.connect()
    peer.wire.protocol = None  # type: ignore[attr-defined]
    [protocol] = rig.factory.connections
    protocol.writeConnectionLost()
    assert peer.wire.is_aborted


def test_connections_are_forgotten_when_they_end(rig: Rig) -> None:
    peer = rig.connect()
    assert len(rig.factory.connections) == 1
    peer.lose()
    assert not rig.factory.connections


@pytest.mark.parametrize(
    "octets", [b"GET / HTTP/1.1\r\n", b"PUT /a HTTP/1.1\r\n", b"\x16\x03\x01\x02\x00", get("a\nb")]
)
def test_peers_that_speak_something_else_are_cut_without_an_answer(rig: Rig, octets: bytes) -> None:
    for pieces in ([octets], [octets[i : i + 1] for i in range(len(octets))]):
        peer = rig.connect()
        for piece in pieces:
            peer.send(piece)
        assert peer.wire.is_closing
        assert peer.received == b""
        peer.send(HELP)
        rig.finish()
        assert peer.received == b""


def test_what_was_asked_before_the_peer_broke_the_rules_is_answered(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + get("x\ny") + put("b", b"2"))
    assert not peer.wire.disconnecting
    rig.finish()
    assert peer.received == DONE
    assert peer.wire.is_closing
    assert rig.store.files == {"a": b"1"}
