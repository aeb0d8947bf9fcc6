"""PUTs that cannot be done: the body goes by, one A0 is the answer, and the connection goes on."""

import errno

import pytest
from doubles import DONE, HELP, HELP_REPLY, REFUSED, Log, Peer, Rig, os_refusal, put

from filetransfer.errors import NoSpace, NotFound, NotPermitted
from filetransfer.server.exchanges import MAX_SMALL_OCTETS

SMALL = b"small"
# Its octets are requests themselves: a body that is not discarded to its end would be answered.
BULK = HELP * (4 * MAX_SMALL_OCTETS)


def finish(rig: Rig, peer: Peer, octets: bytes) -> None:
    """Send octets in pieces, and let everything happen after each."""
    for start in range(0, len(octets), 50_000):
        peer.send(octets[start : start + 50_000])
        rig.finish()
    assert peer.unread_octets == 0


def assert_one_refusal(rig: Rig, name: str, body: bytes) -> None:
    """PUT is refused, and what stands around it is not."""
    peer = rig.connect()
    finish(rig, peer, HELP + put(name, body) + HELP + put("next", b"1"))
    assert peer.received == HELP_REPLY + REFUSED + HELP_REPLY + DONE
    assert not peer.wire.disconnecting
    assert rig.store.files == {"next": b"1"}
    assert not rig.store.open_uploads


@pytest.mark.parametrize("body", [b"", SMALL, BULK], ids=["empty", "small", "bulk"])
@pytest.mark.parametrize(
    "name", ["..", "a/../b", "/a", ".ft-store/lock", "a\x00b", "a\x1bb", "\x85"]
)
def test_name_that_may_not_be(rig: Rig, name: str, body: bytes) -> None:
    assert_one_refusal(rig, name, body)


@pytest.mark.parametrize("body", [b"", SMALL, BULK], ids=["empty", "small", "bulk"])
@pytest.mark.parametrize("refusal", [NotPermitted("read-only"), NoSpace("no space")])
def test_refused_at_once(rig: Rig, refusal: Exception, body: bytes) -> None:
    rig.store.failures["check_writable"] = refusal
    assert_one_refusal(rig, "a", body)


@pytest.mark.parametrize("refusal", [NotFound("no parent"), NoSpace("no space")])
def test_bulk_upload_cannot_be_opened(rig: Rig, refusal: Exception) -> None:
    rig.store.failures["open_upload"] = refusal
    assert_one_refusal(rig, "a", BULK)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_write_fails(rig: Rig, number: int) -> None:
    rig.store.failures["write"] = os_refusal(number)
    assert_one_refusal(rig, "a", BULK)


def test_write_fails_in_mid_body(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("a", BULK[:200_000], size=3 * len(BULK)))
    rig.settle()
    rig.store.failures["write"] = os_refusal(errno.ENOSPC)
    peer.send(BULK[200_000:] + BULK)
    rig.settle()
    assert "write" not in rig.store.failures
    assert peer.received == b""
    finish(rig, peer, BULK + HELP)
    assert peer.received == REFUSED + HELP_REPLY
    assert not rig.store.files
    assert not rig.store.open_uploads


def test_last_write_fails(rig: Rig) -> None:
    """The body has ended when the disk says no."""
    peer = rig.connect()
    peer.send(put("a", BULK[:70_000]))
    rig.store.failures["write"] = os_refusal(errno.ENOSPC)
    peer.send(HELP)
    rig.finish()
    assert peer.received == REFUSED + HELP_REPLY
    assert not rig.store.open_uploads


def test_sync_fails(rig: Rig) -> None:
    rig.store.failures["prepare"] = os_refusal(errno.EIO)
    assert_one_refusal(rig, "a", BULK)


@pytest.mark.parametrize("body", [b"", SMALL], ids=["empty", "small"])
def test_commit_fails(rig: Rig, body: bytes) -> None:
    peer = rig.connect()
    peer.send(put("a", body) + HELP)
    rig.store.failures["commit"] = os_refusal(errno.ENOENT)
    rig.finish()
    assert peer.received == REFUSED + HELP_REPLY
    assert not rig.store.files


def test_no_octet_is_answered_before_the_body_has_gone_by(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("..", b"", size=10) + b"123456789")
    rig.finish()
    assert peer.received == b""
    peer.send(b"0")
    assert peer.received == REFUSED


def test_body_of_4_gib_that_is_refused_allocates_nothing(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(put("..", b"x", size=2**32 - 1))
    rig.finish()
    assert peer.received == b""
    assert not peer.wire.disconnecting


def test_a_name_without_octets_is_refused_without_a_size(rig: Rig) -> None:
    peer = rig.connect()
    peer.send(b"\x00")
    assert peer.received == REFUSED
    peer.send(b"\x00" + HELP)
    assert peer.received == REFUSED * 2 + HELP_REPLY


def test_refusals_are_logged_with_their_reason(rig: Rig, log: Log) -> None:
    rig.store.failures["check_writable"] = NoSpace("no space left")
    peer = rig.connect()
    peer.send(put("a", b"1"))
    [line] = log.lines
    assert line.startswith("192.0.2.1:50000: Put(path='a', size=1")
    assert line.endswith(" refused, no-space: no space left")


@pytest.mark.parametrize(
    "name", ["a\nb", "a\rb", "\x1b[2J", "\x00", "\u2028x", "\u202ex", "\x85", "{peer}", "%s"]
)
def test_no_name_breaks_out_of_its_line(rig: Rig, log: Log, name: str) -> None:
    peer = rig.connect()
    peer.send(put(name, b"1"))
    peer.send(b"\x21" + name.encode()[:1] + b"\x22\xc3\x28")
    rig.finish()
    assert log.lines
    for line in log.lines:
        assert line.isprintable(), line
        assert "{peer}" not in line or name == "{peer}"


def test_octets_that_are_no_text_are_logged_escaped(rig: Rig, log: Log) -> None:
    peer = rig.connect()
    peer.send(b"\x22\xff\xfe")
    assert peer.received == b"\x60"
    [line] = log.lines
    assert "\\udcff" in line
    line.encode()
