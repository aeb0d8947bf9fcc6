"""Requests of one connection: in which order they begin, and in which they are answered."""

import pytest
from doubles import (
    DONE,
    HELP,
    HELP_REPLY,
    NOT_FOUND,
    REFUSED,
    UNKNOWN,
    Rig,
    change,
    content,
    get,
    put,
    summary,
)

from filetransfer.store.interface import PublishOctets, Rename
from filetransfer.wire.messages import Statistics

BULK = bytes(range(256)) * 1024  # four times what is held in memory


def names(rig: Rig) -> list[str]:
    """Give the paths that the waiting commits change, in order."""
    return [
        commit.path for commit in rig.store.waiting if isinstance(commit, (PublishOctets, Rename))
    ]


def test_answers_come_in_the_order_of_requests(rig: Rig) -> None:
    rig.store.files = {"small": b"1", "bulk": BULK}
    peer = rig.connect()
    peer.send(
        get("small") + put("new", b"2") + HELP + b"\xa0" + get("bulk") + get("none") + put("x/y")
    )
    rig.finish()
    assert peer.received == (
        content("small", b"1")
        + DONE
        + HELP_REPLY
        + UNKNOWN
        + content("bulk", BULK)
        + NOT_FOUND
        + DONE
    )


def test_what_is_answered_at_once_waits_for_what_was_asked_before(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + HELP)
    assert peer.received == b""
    rig.store.commit()
    assert peer.received == DONE + HELP_REPLY


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_get_sees_the_put_before_it(rig: Rig, is_cached: bool) -> None:
    rig.store.is_cached = is_cached
    rig.store.files = {"a": b"old"}
    peer = rig.connect()
    peer.send(get("a") + put("a", b"new") + get("a"))
    rig.finish()
    assert peer.received == content("a", b"old") + DONE + content("a", b"new")


def test_commits_run_together(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(b"".join(put(f"f{i}", b"x") for i in range(100)))
    assert len(rig.store.submitted) == 1
    assert names(rig) == [f"f{i}" for i in range(100)]
    rig.store.commit()
    assert peer.received == DONE * 100


def test_bulk_puts_are_committed_together_too(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", BULK))
    rig.settle()
    peer.send(put("b", BULK))
    rig.settle()
    assert len(rig.store.waiting) == 2
    assert peer.received == b""
    rig.finish()
    assert peer.received == DONE * 2
    assert rig.store.files == {"a": BULK, "b": BULK}


def test_commits_that_are_done_in_another_order_are_answered_in_order(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + put("b", b"2"))
    first, second = rig.store.waiting
    second.done(second)
    assert peer.received == b""
    first.done(first)
    assert peer.received == DONE * 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (put("a", b"1"), put("a", b"2")),
        (put("a", b"1"), get("a")),
        (put("a", b"1"), summary("a")),
        (put("a", b"1"), change("a", "b")),
        (put("b", b"1"), change("a", "b")),
        (change("a", "b"), get("b")),
        (change("a", "b"), put("a", b"1")),
        (put("a", b"1"), put("a/b", b"1")),
        (put("a/b", b"1"), put("a", b"1")),
    ],
)
def test_a_request_that_conflicts_waits(rig: Rig, first: bytes, second: bytes) -> None:
    rig.store.files = {"a": b"0"}
    peer = rig.connect()
    peer.send(first)
    assert len(rig.store.waiting) == 1
    # Nor does what comes after it begin: answers would be held for nothing.
    peer.send(second + put("free", b"1"))
    assert len(rig.store.waiting) == 1
    rig.finish()
    for result in rig.summaries.waiting:
        result.callback(Statistics(0.0, 0.0, 0.0))
    rig.finish()
    assert rig.store.files["free"] == b"1"


def test_a_refused_request_lets_the_one_that_waited_for_it_run(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(change("none", "b") + put("b", b"1"))
    assert names(rig) == ["none"]
    rig.finish()
    assert peer.received == NOT_FOUND + DONE


def test_requests_without_a_conflict_overtake_nothing_but_the_disk(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a/b", b"1") + put("a/c", b"2") + put("ab", b"3") + change("d", "e"))
    assert len(rig.store.waiting) == 4


def test_connections_do_not_wait_for_each_other(rig: Rig) -> None:
    first, second = rig.connect(), rig.connect()
    first.send(put("a", b"1"))
    second.send(put("a", b"2") + HELP)
    assert len(rig.store.waiting) == 2
    rig.store.commit()
    assert first.received == DONE
    assert second.received == DONE + HELP_REPLY


def test_a_get_from_a_cold_disk_holds_back_what_comes_after(rig: Rig) -> None:
    rig.store.is_cached = False
    rig.store.files = {"a": b"1"}
    peer = rig.connect()
    peer.send(get("a") + put("b", b"2"))
    assert not rig.store.waiting
    rig.settle()
    assert peer.received == content("a", b"1")
    assert names(rig) == ["b"]


def test_a_summary_holds_back_what_comes_after(rig: Rig) -> None:
    rig.store.files = {"a": b"1"}
    peer = rig.connect()
    peer.send(summary("a") + HELP)
    rig.settle()
    assert peer.received == b""
    [result] = rig.summaries.waiting
    result.callback(Statistics(44.0, 10.0, 26.0))
    text = b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n"
    head = b"\x4bsummary.txt" + len(text).to_bytes(4, "big")
    assert peer.received == head + text + HELP_REPLY
    assert not rig.store.open_downloads


def test_replies_of_one_turn_leave_in_one_write(rig: Rig) -> None:
    rig.store.files = {"a": b"1" * 100}
    peer = rig.connect()
    peer.send((HELP + get("a") + get("none")) * 20)
    assert peer.writes == [(HELP_REPLY + content("a", b"1" * 100) + NOT_FOUND) * 20]


@pytest.mark.parametrize("is_cached", [True, False])
@pytest.mark.parametrize("has_cached_octets", [True, False])
@pytest.mark.parametrize("size", [0, 1, 64 * 1024])
def test_a_small_file_leaves_in_one_write_with_its_head(
    rig: Rig, is_cached: bool, has_cached_octets: bool, size: int
) -> None:
    rig.store.is_cached = is_cached
    rig.store.has_cached_octets = has_cached_octets
    rig.store.files = {"a": b"x" * size}
    peer = rig.connect()
    peer.send(get("a"))
    rig.settle()
    assert peer.writes == [content("a", b"x" * size)]
    assert not rig.store.open_downloads


@pytest.mark.parametrize("is_cached", [True, False])
def test_a_larger_file_follows_its_head(rig: Rig, is_cached: bool) -> None:
    rig.store.is_cached = is_cached
    octets = b"x" * (64 * 1024 + 1)
    rig.store.files = {"a": octets}
    peer = rig.connect()
    peer.send(get("a"))
    rig.settle()
    assert peer.received == content("a", octets)
    assert not rig.store.open_downloads


def test_256_requests_may_be_in_progress(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(b"".join(put(f"{i}", b"x") for i in range(300)))
    rig.settle()
    assert len(rig.store.waiting) == 256
    rig.finish()
    assert peer.received == DONE * 300


def test_more_requests_than_may_be_in_progress_are_answered_without_another_octet(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(HELP * 1000)
    rig.settle()
    assert peer.received == HELP_REPLY * 1000


def test_a_peer_with_thousands_of_requests_in_one_read_gives_others_a_turn(rig: Rig) -> None:
    busy, other = rig.connect(), rig.connect()
    # Their answers are so short that the transport never asks for a pause.
    busy.send(b"\xa0" * 2000)
    assert len(busy.received) < 2000
    other.send(HELP)
    assert other.received == HELP_REPLY
    assert len(busy.received) < 2000
    rig.settle()
    assert busy.received == UNKNOWN * 2000


def test_held_bodies_are_bounded(rig: Rig) -> None:
    body = b"x" * 64 * 1024
    peer = rig.connect()
    peer.send(b"".join(put(f"{i}", body) for i in range(40)))
    rig.settle()
    # A mebibyte of bodies, and what was read of the next ones.
    assert len(rig.store.waiting) == 16
    assert peer.unread_octets > 20 * len(body)
    rig.finish()
    assert peer.received == DONE * 40


def test_small_answers_that_wait_for_an_earlier_one_are_bounded(rig: Rig) -> None:
    rig.store.files = {"big": b"x" * 64 * 1024}
    peer = rig.connect()
    peer.send(put("slow", b"") + get("big") * 100)
    rig.settle()
    rig.store.files["big"] = b"y" * 64 * 1024
    rig.finish()
    # Those that had begun before saw the old file: 16 fill the mebibyte that is held.
    old, new = content("big", b"x" * 64 * 1024), content("big", b"y" * 64 * 1024)
    assert peer.received == DONE + old * 16 + new * 84


@pytest.mark.parametrize("octet_by_octet", [True, False])
def test_segmentation_makes_no_difference(rig: Rig, octet_by_octet: bool) -> None:
    rig.store.files = {"a": b"1"}
    octets = put("b", b"22") + get("a") + change("b", "c") + get("c") + put("", b"")[:1] + HELP
    peer = rig.connect()
    for piece in [octets[i : i + 1] for i in range(len(octets))] if octet_by_octet else [octets]:
        peer.send(piece)
        rig.finish()
    assert peer.received == (
        DONE + content("a", b"1") + DONE + content("c", b"22") + REFUSED + HELP_REPLY
    )
