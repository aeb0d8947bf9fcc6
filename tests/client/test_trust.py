"""Whom the client believes: real TLS, against a server of Python's own."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from certificates import CLIENT, Made, make_certificate
from plain_servers import HELP_TEXT, Peer, PlainServer
from reactors import run
from tls_servers import end_properly, serve_tls

from filetransfer.client import Session, Statistics, connect
from filetransfer.client.known import KnownServers
from filetransfer.client.trust import Trust
from filetransfer.errors import (
    CertificateUnusable,
    ConnectFailed,
    ConnectTimeout,
    LocalProtocolError,
    TransferInterrupted,
    TransferTimeout,
    Untrusted,
)
from filetransfer.tls.pins import read_pin

HOUR = datetime.timedelta(hours=1)
LARGE = 5_000_000


@pytest.fixture
def authority(tmp_path: Path) -> Made:
    return make_certificate(tmp_path, "authority", is_authority=True)


@pytest.fixture
def good(tmp_path: Path, authority: Made) -> Made:
    return make_certificate(tmp_path, "good", issuer=authority)


def ask(server: PlainServer, trust: Trust, host: str = "127.0.0.1", **options: Any) -> str:
    """Ask for HELP, once."""

    async def work() -> str:
        async with connect(host, server.port, tls=trust, **{"tries": 1} | options) as session:
            return await session.help()

    return run(work())


def refuse(server: PlainServer, trust: Trust, host: str = "127.0.0.1") -> str:
    """Give what the refusal says; the server has not been asked for anything then."""
    with pytest.raises(Untrusted) as refused:
        ask(server, trust, host)
    assert "\n" not in str(refused.value)
    assert str(server.port) in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_believes_what_its_authority_signed(good: Made, authority: Made, host: str) -> None:
    with serve_tls(good) as server:
        assert ask(server, Trust(ca_file=authority.file), host) == HELP_TEXT


def test_large_bodies_there_and_back(tmp_path: Path, good: Made, authority: Made) -> None:
    octets = os.urandom(LARGE)
    (tmp_path / "a").write_bytes(octets)

    async def act(session: Session) -> None:
        await session.put(tmp_path / "a")
        await session.get("a", tmp_path / "b")

    async def work(port: int) -> None:
        trust = Trust(ca_file=authority.file)
        async with connect("localhost", port, tls=trust) as session:
            await act(session)

    with serve_tls(good) as server:
        run(work(server.port))
        assert server.files["a"] == octets
    assert (tmp_path / "b").read_bytes() == octets


def test_believes_a_self_signed_certificate_that_is_its_own_authority(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)
    with serve_tls(made) as server:
        assert ask(server, Trust(ca_file=made.file)) == HELP_TEXT


def test_believes_an_authority_below_another(tmp_path: Path, authority: Made) -> None:
    below = make_certificate(tmp_path, "below", issuer=authority, is_authority=True)
    made = make_certificate(tmp_path, issuer=below, chain=[below])
    with serve_tls(made) as server:
        assert ask(server, Trust(ca_file=authority.file)) == HELP_TEXT
        assert ask(server, Trust(ca_file=below.file)) == HELP_TEXT
    lonely = make_certificate(tmp_path, "lonely", issuer=below)
    with serve_tls(lonely) as server:
        assert "below" in refuse(server, Trust(ca_file=authority.file))


def test_believes_what_this_machine_knows(
    good: Made, authority: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve_tls(good) as server:
        assert "not known here: authority" in refuse(server, Trust())
        monkeypatch.setenv("SSL_CERT_FILE", authority.file)
        assert ask(server, Trust()) == HELP_TEXT


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another name": (
        {"hosts": ["example.org", "192.0.2.1"]},
        "for example.org, 192.0.2.1, not for ",
    ),
    "no name": ({"hosts": []}, "for nobody, not for "),
    "expired": ({"ends": -HOUR}, "the certificate expired at "),
    "not yet valid": ({"begins": HOUR}, "the certificate is valid only from "),
    "for clients": ({"purpose": CLIENT}, "is not one for a server, but for a client"),
    "unknown authority": ({"issuer": None}, "not known here: stranger"),
    "self-signed": ({"issuer": None}, "is self-signed"),
    "signed by no authority": ({}, "may not sign"),
}


@pytest.mark.parametrize("fault", WRONG)
def test_says_what_is_wrong_with_a_certificate(tmp_path: Path, authority: Made, fault: str) -> None:
    options, words = WRONG[fault]
    issuer = authority
    chain: list[Made] = []
    if fault == "unknown authority":
        options = {"issuer": make_certificate(tmp_path, "stranger", is_authority=True)}
    if fault == "signed by no authority":
        issuer = make_certificate(tmp_path, "leaf", issuer=authority)
        chain = [issuer]
    made = make_certificate(tmp_path, **{"issuer": issuer, "chain": chain} | options)
    with serve_tls(made) as server:
        assert words in refuse(server, Trust(ca_file=authority.file))
        assert not server.files


def test_a_signature_that_is_wrong(tmp_path: Path, authority: Made) -> None:
    impostor = make_certificate(
        tmp_path, "authority-2", is_authority=True, common_names=["authority"]
    )
    made = make_certificate(tmp_path, issuer=impostor)
    with serve_tls(made) as server:
        assert "is not signed by whom it names" in refuse(server, Trust(ca_file=authority.file))


def test_a_name_is_looked_at_with_every_authority(good: Made, tmp_path: Path) -> None:
    """The certificate itself is in the file, and yet it is for somebody else."""
    made = make_certificate(tmp_path, hosts=["example.org"])
    with serve_tls(made) as server:
        assert "not for 127.0.0.1" in refuse(server, Trust(ca_file=made.file))


# Pins.


def test_a_pinned_key_is_enough(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, hosts=["example.org"], ends=-HOUR, purpose=CLIENT)
    with serve_tls(made) as server:
        for text in (made.pin, f"sha256:{made.digest.hex()}"):
            assert ask(server, Trust(pins=[bytes(32), read_pin(text)])) == HELP_TEXT


def test_another_key_than_the_pinned(good: Made) -> None:
    with serve_tls(good) as server:
        said = refuse(server, Trust(pins=[bytes(32)]))
        assert good.pin in said
        assert "not pinned" in said


def test_a_pin_is_looked_at_beside_the_authority(good: Made, authority: Made) -> None:
    with serve_tls(good) as server:
        trust = Trust(ca_file=authority.file, pins=[bytes(32)])
        assert "not pinned" in refuse(server, trust)
        trust = Trust(ca_file=authority.file, pins=[good.digest])
        assert ask(server, trust) == HELP_TEXT


def test_an_authority_is_looked_at_beside_the_pin(tmp_path: Path, authority: Made) -> None:
    made = make_certificate(tmp_path)
    with serve_tls(made) as server:
        trust = Trust(ca_file=authority.file, pins=[made.digest])
        assert "self-signed" in refuse(server, trust)


# What is remembered.


def test_the_first_key_is_believed_and_kept(tmp_path: Path) -> None:
    known = KnownServers(tmp_path / "state")
    told: list[str] = []
    first = Trust(known=known, believes_first_key=True, tell=told.append)
    made = make_certificate(tmp_path)
    with serve_tls(made) as server:
        assert ask(server, first) == HELP_TEXT
        [line] = told
        assert made.pin in line
        assert known.file.read_text() == f"127.0.0.1:{server.port} {made.pin}\n"
        assert known.file.stat().st_mode & 0o777 == 0o600
        assert known.file.parent.stat().st_mode & 0o777 == 0o700
        # From now on it is believed without being asked to.
        assert ask(server, first) == ask(server, Trust(known=known)) == HELP_TEXT
        assert told == [line]
        assert known.file.read_text().count("\n") == 1
        assert "self-signed" in refuse(server, Trust())


def test_a_key_that_has_changed(tmp_path: Path) -> None:
    known = KnownServers(tmp_path / "state")
    old = make_certificate(tmp_path, "old")
    new = make_certificate(tmp_path, "new")
    with serve_tls(new) as server:
        known.remember("127.0.0.1", server.port, old.digest)
        before = known.file.read_text()
        for trust in (Trust(known=known), Trust(known=known, believes_first_key=True)):
            said = refuse(server, trust)
            assert "HAS CHANGED" in said
            assert all(words in said for words in (old.pin, new.pin, str(known.file)))
        assert known.file.read_text() == before
        # Somebody who says whom to believe is not asked about the past.
        assert ask(server, Trust(known=known, pins=[new.digest])) == HELP_TEXT
        assert ask(server, Trust(known=known, ca_file=new.file)) == HELP_TEXT
        assert "HAS CHANGED" in refuse(server, Trust(known=known))


def test_a_line_that_is_spoilt_lets_nobody_in(tmp_path: Path) -> None:
    known = KnownServers(tmp_path)
    with serve_tls(make_certificate(tmp_path)) as server:
        known.file.write_text(f"127.0.0.1:{server.port} sha256:nonsense\n")
        assert "HAS CHANGED" in refuse(server, Trust(known=known, believes_first_key=True))


def test_a_server_that_was_not_believed_is_not_remembered(tmp_path: Path) -> None:
    known = KnownServers(tmp_path / "state")
    with serve_tls(make_certificate(tmp_path)) as server:
        refuse(server, Trust(known=known))
    assert not known.file.exists()


def test_a_server_that_was_believed_is_remembered(
    tmp_path: Path, good: Made, authority: Made
) -> None:
    known = KnownServers(tmp_path / "state")
    with serve_tls(good) as server:
        ask(server, Trust(known=known, ca_file=authority.file))
        assert known.file.read_text() == f"127.0.0.1:{server.port} -\n"
        ask(server, Trust(known=known, ca_file=authority.file))
        assert known.file.read_text().count("\n") == 1
        assert known.forbids_clear("127.0.0.1", server.port)


@pytest.mark.parametrize(
    ("host", "port", "is_forbidden"),
    [
        ("nas.example", 9001, True),
        # Where it speaks in the clear, if it does.
        ("nas.example", 9000, True),
        ("NAS.example.", 9000, True),
        ("other.example", 9001, False),
        ("2001:db8::1", 9000, True),
        # Looks like loopback, and is none.
        ("127.0.0.1.example", 9000, True),
        ("localhost", 9001, True),
        ("localhost", 9000, False),
        ("127.0.0.2", 9001, True),
        ("127.0.0.2", 9000, False),
        ("::1", 9001, True),
        ("::1", 9000, False),
    ],
)
def test_who_is_not_spoken_to_in_the_clear(
    tmp_path: Path, host: str, port: int, is_forbidden: bool
) -> None:
    known = KnownServers(tmp_path)
    for reached in (
        *("nas.example", "2001:db8::1", "127.0.0.1.example"),
        *("localhost", "127.0.0.2", "::1"),
    ):
        known.remember(reached, 9001)
    assert known.forbids_clear(host, port) is is_forbidden


def test_what_cannot_be_remembered(tmp_path: Path, good: Made, authority: Made) -> None:
    (tmp_path / "state").touch()
    told: list[str] = []
    known = KnownServers(tmp_path / "state")
    with serve_tls(good) as server:
        trust = Trust(known=known, ca_file=authority.file, tell=told.append)
        assert ask(server, trust) == HELP_TEXT
        assert "cannot remember" in told[0]


def test_a_first_key_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device", "/state")

    monkeypatch.setattr(KnownServers, "remember", fail)
    known = KnownServers(tmp_path)
    with serve_tls(make_certificate(tmp_path)) as server:
        said = refuse(server, Trust(known=known, believes_first_key=True))
        assert "No space left" in said


def test_a_first_key_needs_a_place() -> None:
    with pytest.raises(LocalProtocolError):
        connect("localhost", tls=Trust(believes_first_key=True))


# Our own certificate.


def test_shows_its_own_certificate(tmp_path: Path, good: Made, authority: Made) -> None:
    mine = make_certificate(tmp_path, "mine", issuer=authority, purpose=CLIENT)
    both = tmp_path / "both"
    both.write_bytes(Path(mine.file).read_bytes() + Path(mine.key_file).read_bytes())
    with serve_tls(good, client_ca=authority) as server:
        shown = Trust(ca_file=authority.file, certificate=mine.file, private_key=mine.key_file)
        assert ask(server, shown) == HELP_TEXT
        assert ask(server, Trust(ca_file=authority.file, certificate=str(both))) == HELP_TEXT


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_does_not_believe_us(
    tmp_path: Path, good: Made, authority: Made, newest: ssl.TLSVersion
) -> None:
    stranger = make_certificate(tmp_path, "stranger", purpose=CLIENT)
    with serve_tls(good, client_ca=authority, newest=newest) as server:
        trust = Trust(
            ca_file=authority.file, certificate=stranger.file, private_key=stranger.key_file
        )
        with pytest.raises(Untrusted, match=r"does not accept this client: .*unknown ca"):
            ask(server, trust)
        if newest is ssl.TLSVersion.TLSv1_3:
            with pytest.raises(Untrusted, match="certificate required"):
                ask(server, Trust(ca_file=authority.file))


@pytest.mark.parametrize("what", ["ca_file", "certificate", "private_key"])
@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_files_that_cannot_be_used(
    tmp_path: Path, good: Made, what: str, content: bytes | None
) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    options = {what: str(bad)}
    if what == "private_key":
        options["certificate"] = good.file
    with pytest.raises(CertificateUnusable, match="bad"):
        connect("localhost", tls=Trust(**options))  # type: ignore[arg-type]
    with pytest.raises(CertificateUnusable, match="certificate"):
        connect("localhost", tls=Trust(private_key=good.key_file))


@pytest.mark.parametrize("host", ["", "a b", "näme..x", "a/b"])
def test_hosts_that_cannot_be(host: str) -> None:
    with pytest.raises(LocalProtocolError):
        connect(host, tls=Trust())


# What is no TLS at all.


def test_a_server_in_the_clear(authority: Made) -> None:
    """Ours, as anybody's that goes by the protocol, closes at once (section 1, rule 11)."""
    with (
        PlainServer(lambda peer: None) as server,
        pytest.raises(ConnectFailed, match="is this the port for TLS"),
    ):
        ask(server, Trust(ca_file=authority.file))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x80", bytes(2000)])
def test_servers_that_speak_something_else(authority: Made, answer: bytes) -> None:
    def converse(peer: Any) -> None:
        peer.read(1)
        peer.write(answer)

    with PlainServer(converse) as server, pytest.raises(ConnectFailed, match="TLS"):
        ask(server, Trust(ca_file=authority.file))


def test_a_server_that_says_nothing(authority: Made) -> None:
    with (
        PlainServer(lambda peer: peer.read_until_end()) as server,
        pytest.raises(ConnectTimeout),
    ):
        ask(server, Trust(ca_file=authority.file), connect_timeout_seconds=0.2)


@pytest.mark.parametrize(
    "suites", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA", "DHE-RSA-AES128-GCM-SHA256"]
)
def test_a_server_with_weak_suites_alone(tmp_path: Path, suites: str) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = make_certificate(tmp_path, key=rsa.generate_private_key(65537, 2048))
    with (
        serve_tls(made, newest=ssl.TLSVersion.TLSv1_2, suites=suites) as server,
        pytest.raises(ConnectFailed, match="no TLS with it"),
    ):
        ask(server, Trust(ca_file=made.file))


def test_an_rsa_key(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    made = make_certificate(tmp_path, key=rsa.generate_private_key(65537, 2048))
    for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        with serve_tls(made, newest=newest) as server:
            assert ask(server, Trust(ca_file=made.file)) == HELP_TEXT


# Ends.

SAID = b"Max: 3.0\nMin: 1.0\nAvg: 2.0"


def ask_summary(made: Made, converse: Callable[[Peer], None], **options: Any) -> Statistics:
    def act(peer: Peer) -> None:
        peer.read(2)
        converse(peer)

    async def work(port: int) -> Statistics:
        trust = Trust(ca_file=made.file)
        options_of_all: dict[str, Any] = {"tls": trust, "tries": 1, "versions": (1,)}
        async with connect("localhost", port, **options_of_all | options) as session:
            return await session.summary("a")

    with serve_tls(made, act) as server:
        return run(work(server.port))


def test_an_end_without_close_notify_is_no_end_of_a_summary(tmp_path: Path) -> None:
    """What was cut off could have been "5.0"."""
    made = make_certificate(tmp_path)
    with pytest.raises(TransferInterrupted, match="lost"):
        ask_summary(made, lambda peer: peer.write(SAID[:-2]))

    def converse(peer: Peer) -> None:
        peer.write(SAID)
        end_properly(peer)

    assert ask_summary(made, converse).mean == 2.0


def test_a_silence_is_no_end_of_a_summary_over_tls(tmp_path: Path) -> None:
    made = make_certificate(tmp_path)

    def converse(peer: Peer) -> None:
        peer.write(SAID)
        peer.read_until_end()

    with pytest.raises(TransferTimeout):
        ask_summary(made, converse, timeout_seconds=1.5)
    assert ask_summary(made, lambda peer: peer.write(SAID + b"\n")).mean == 2.0


def test_a_body_that_is_cut_with_close_notify(tmp_path: Path) -> None:
    """Not even a proper end of the connection is the end of a body."""
    made = make_certificate(tmp_path)

    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"\x21a" + (1000).to_bytes(4, "big") + b"x" * 999)
        end_properly(peer)

    async def work(port: int) -> None:
        trust = Trust(ca_file=made.file)
        async with connect("localhost", port, tls=trust, tries=1, versions=(1,)) as session:
            await session.get("a", tmp_path / "a")

    with serve_tls(made, converse) as server, pytest.raises(TransferInterrupted):
        run(work(server.port))
    assert not (tmp_path / "a").exists()
