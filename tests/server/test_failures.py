"""Faults of the server's own, of its disk and of its children: one request is refused, everything else goes on."""

import errno

import pytest
from doubles import (
    DONE,
    HELP,
    HELP_REPLY,
    NOT_FOUND,
    REFUSED,
    Log,
    Rig,
    change,
    get,
    os_refusal,
    put,
    summary,
)
from twisted.internet.defer import fail

from filetransfer.errors import Internal, NotNumeric

BULK = b"x" * 1024 * 1024


class Bug(Exception):
    """Nobody expects it."""


@pytest.mark.parametrize(
    ("octets", "call", "reply"),
    [
        (put("a", b"1"), "check_writable", REFUSED),
        (put("a", BULK), "open_upload", REFUSED),
        (put("a", BULK), "write", REFUSED),
        (put("a", BULK), "prepare", REFUSED),
        (get("file"), "open_download", NOT_FOUND),
        (get("file"), "read_cached", NOT_FOUND),
        (summary("file"), "open_download", NOT_FOUND),
    ],
)
def test_unexpected_exception_refuses_one_request(
    rig: Rig, log: Log, octets: bytes, call: str, reply: bytes
) -> None:
    rig.store.files = {"file": b"1"}
    rig.store.failures[call] = Bug("in /srv/secret")
    peer, other = rig.connect(), rig.connect()
    peer.send(octets + HELP)
    rig.finish()
    assert peer.received == reply + HELP_REPLY
    assert not peer.wire.disconnecting
    assert [type(failure) for failure in log.failures] == [Bug]
    other.send(HELP)
    assert other.received == HELP_REPLY
    assert not rig.store.open_downloads
    assert not rig.store.open_uploads


@pytest.mark.parametrize("call", ["read", "read_cached"])
def test_disk_that_cannot_be_read(rig: Rig, log: Log, call: str) -> None:
    rig.store.files = {"file": b"1"}
    rig.store.is_cached = call == "read_cached"
    rig.store.failures[call] = os_refusal(errno.EIO)
    peer = rig.connect()
    peer.send(get("file") + HELP)
    rig.finish()
    assert peer.received == NOT_FOUND + HELP_REPLY
    assert not log.failures
    assert not rig.store.open_downloads


@pytest.mark.parametrize("is_cached", [True, False])
def test_file_that_is_too_large_for_version_1(
    rig: Rig, log: Log, is_cached: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from doubles import MemoryDownload

    rig.store.files = {"file": b"1"}
    rig.store.is_cached = is_cached
    opened = rig.store.open_download

    def open_large(path: str) -> MemoryDownload:
        download = opened(path)  # type: ignore[arg-type]
        download.size = 2**32
        return download

    monkeypatch.setattr(rig.store, "open_download", open_large)
    peer = rig.connect()
    peer.send(get("file") + HELP)
    rig.finish()
    assert peer.received == NOT_FOUND + HELP_REPLY
    assert "too-large" in log.lines[0]
    assert not rig.store.open_downloads


def test_refused_summary_is_logged_with_line_and_octet(rig: Rig, log: Log) -> None:
    rig.store.files = {"file": b"1"}
    rig.summaries.summarise = lambda *_: fail(NotNumeric("line 3, octet 17: not a number"))
    peer = rig.connect()
    peer.send(summary("file") + HELP)
    rig.finish()
    assert peer.received == NOT_FOUND + HELP_REPLY
    assert "line 3, octet 17" in log.lines[0]
    assert not rig.store.open_downloads


def test_child_that_fails_refuses_the_summary(rig: Rig, log: Log) -> None:
    rig.store.files = {"file": b"1"}
    rig.summaries.summarise = lambda *_: fail(Bug("the child ended"))
    peer = rig.connect()
    peer.send(summary("file") + HELP)
    rig.finish()
    assert peer.received == NOT_FOUND + HELP_REPLY
    assert [type(failure) for failure in log.failures] == [Bug]
    assert not rig.store.open_downloads


def test_download_that_fails_in_an_unexpected_way_fails_the_connection(
    rig: Rig, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its head has left: nothing else can be said."""
    rig.store.files = {"file": BULK}
    peer = rig.connect()
    peer.wire.is_stuck = True
    peer.send(get("file"))
    [download] = rig.store.open_downloads

    def fail_to_write(octets: bytes) -> None:
        raise Bug

    monkeypatch.setattr(peer.wire, "write", fail_to_write)
    peer.wire.is_stuck = False
    peer.wire.drain()
    rig.settle()
    assert peer.wire.is_aborted
    assert [type(failure) for failure in log.failures] == [Bug]
    assert download not in rig.store.open_downloads


def test_nothing_of_the_server_is_told_to_the_peer(rig: Rig) -> None:
    """Version 1 has an octet for each refusal, whatever its message is."""
    rig.store.files = {"file": b"1"}
    peer = rig.connect()
    for call, octets in [("check_writable", put("a", b"1")), ("open_download", get("file"))]:
        rig.store.failures[call] = Internal("/srv/secret is broken")
        peer.send(octets)
    rig.finish()
    assert peer.received == REFUSED + NOT_FOUND


def test_commit_that_was_refused_leaves_the_others_alone(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", b"1") + put("b", b"2"))
    rig.store.failures["commit"] = os_refusal(errno.ENOSPC)
    rig.finish()
    assert peer.received == REFUSED + DONE
    assert rig.store.files == {"b": b"2"}


@pytest.mark.parametrize(
    ("old", "new", "reply"),
    [
        ("file", "..", REFUSED),
        ("file", "", REFUSED),
        ("file", "other", REFUSED),
        ("none", "..", NOT_FOUND),
        ("none", "new", NOT_FOUND),
        ("..", "..", NOT_FOUND),
        ("..", "new", NOT_FOUND),
    ],
)
def test_change_is_refused_because_of_its_old_name_first(
    rig: Rig, old: str, new: str, reply: bytes
) -> None:
    rig.store.files = {"file": b"1", "other": b"2"}
    peer = rig.connect()
    peer.send(change(old, new) + HELP)
    rig.finish()
    assert peer.received == reply + HELP_REPLY
    assert rig.store.files == {"file": b"1", "other": b"2"}
    assert not rig.store.open_downloads
