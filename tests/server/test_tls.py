"""TLS on the daemon's ports: what it agrees to, whom it lets in, how it takes a renewed certificate."""

from __future__ import annotations

import datetime
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from certificates import CLIENT, Made, make_certificate, write
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from doubles import DONE, HELP, HELP_REPLY, Log, content, get, put
from twistds import DEADLINE_SECONDS, Running, ask, run_daemon, run_twistd

from filetransfer.errors import CertificateUnusable
from filetransfer.server.service import LOOK_SECONDS
from filetransfer.server.tls import ServerTLS

HOUR = datetime.timedelta(hours=1)
LARGE = 5_000_000


def trusting(*made: Made) -> ssl.SSLContext:
    """Give a client that believes these."""
    context = ssl.create_default_context()
    for each in made:
        context.load_verify_locations(each.file)
    return context


def call(port: int, context: ssl.SSLContext) -> ssl.SSLSocket:
    """Connect, and shake hands."""
    plain = socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname="localhost")
    except BaseException:
        plain.close()
        raise


def read(peer: ssl.SSLSocket, count: int) -> bytes:
    """Read so many octets; fewer at the end."""
    octets = b""
    while len(octets) < count and (more := peer.recv(count - len(octets))):
        octets += more
    return octets


def ask_over_tls(port: int, context: ssl.SSLContext, octets: bytes, count: int) -> bytes:
    """Send octets, and give the answer, which has ``count``."""
    with call(port, context) as peer:
        peer.sendall(octets)
        return read(peer, count)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_certificate(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, made: Made) -> Iterator[Running]:
    """A daemon on a plain port and one over TLS."""
    arguments = ["--certificate", made.file, "--private-key", made.key_file, "--tls-port", "0"]
    # sslscan takes as many as it can get.
    arguments += ["--max-handshakes", "100000"]
    with run_daemon(tmp_path_factory.mktemp("daemon"), "--port", "0", *arguments) as running:
        yield running
        running.end()
        assert not any("Traceback" in line for line in running.log), running.log


@pytest.fixture
def port(daemon: Running) -> int:
    return find_port(daemon)


def find_port(daemon: Running) -> int:
    return int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+), TLS$")[1])


def test_serves_over_tls(daemon: Running, port: int, made: Made) -> None:
    octets = os.urandom(LARGE)
    requests = put("a", octets) + get("a")
    answer = DONE + content("a", octets)
    assert ask_over_tls(port, trusting(made), requests, len(answer)) == answer
    plain = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+)$")[1])
    assert ask(("127.0.0.1", plain), get("a")) == content("a", octets)


def test_says_what_its_certificate_is(daemon: Running, made: Made) -> None:
    line = daemon.wait_for("TLS: certificate for (.*), valid until (.*), its key is (.*)")
    assert line[1] == "localhost, 127.0.0.1, ::1"
    assert line[2] == f"{made.certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    assert line[3] == made.pin


def test_serves_without_a_plain_port_unless_that_is_typed(tmp_path: Path, made: Made) -> None:
    both = tmp_path / "both"
    both.touch(mode=0o600)
    both.write_bytes(Path(made.file).read_bytes() + Path(made.key_file).read_bytes())
    arguments = ["--certificate", str(both), "--tls-port", "0", "--interface", "0.0.0.0"]
    with run_daemon(tmp_path, *arguments) as daemon:
        port = int(daemon.wait_for(r"listening on 0\.0\.0\.0:([0-9]+), TLS$")[1])
        assert ask_over_tls(port, trusting(made), HELP, len(HELP_REPLY)) == HELP_REPLY
        daemon.wait_for("there are no accounts")
        daemon.end()
        assert sum("listening on" in line for line in daemon.log) == 1


def test_serves_over_tls_on_any_endpoint(tmp_path: Path, made: Made) -> None:
    address = str(tmp_path / "socket")
    variables = {
        "FILETRANSFER_CERTIFICATE": made.file,
        "FILETRANSFER_PRIVATE_KEY": made.key_file,
        "FILETRANSFER_TLS_LISTEN": f"unix:{address}",
    }
    with run_daemon(tmp_path, variables=variables) as daemon:
        daemon.wait_for("listening on unix:.*, TLS$")
        with socket.socket(socket.AF_UNIX) as plain:
            plain.connect(address)
            plain.settimeout(DEADLINE_SECONDS)
            with trusting(made).wrap_socket(plain, server_hostname="localhost") as peer:
                peer.sendall(HELP)
                assert read(peer, len(HELP_REPLY)) == HELP_REPLY


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_and_suites(port: int, made: Made, newest: ssl.TLSVersion) -> None:
    context = trusting(made)
    context.maximum_version = newest
    with call(port, context) as peer:
        assert peer.version() == newest.name.replace("v1_", "v1.")
        cipher = peer.cipher()
        assert cipher is not None
        assert "GCM" in cipher[0] or "CHACHA20" in cipher[0]
        assert peer.compression() is None
        peer.sendall(HELP)
        assert read(peer, len(HELP_REPLY)) == HELP_REPLY


def test_version_2_is_agreed_on_by_tls(port: int, made: Made) -> None:
    context = trusting(made)
    context.set_alpn_protocols(["filetransfer/2", "http/1.1"])
    with call(port, context) as peer:
        assert peer.selected_alpn_protocol() == "filetransfer/2"
        # The greeting comes at once: no E0.
        greeting = read(peer, 4)
        assert greeting[0] == 0
        assert b"version" in read(peer, int.from_bytes(greeting[1:], "big"))


def test_other_protocols_are_not_chosen(port: int, made: Made) -> None:
    context = trusting(made)
    context.set_alpn_protocols(["http/1.1"])
    with call(port, context) as peer:
        assert peer.selected_alpn_protocol() is None
        peer.sendall(b"\xe0")
        assert read(peer, 1) == b"\xe0"


OLD = ["-tls1", "-tls1_1"]
WEAK = ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "aNULL"]
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def run_openssl(port: int, *arguments: str, given: bytes = b"") -> tuple[int, str]:
    """Run openssl s_client; gives its status and what it said."""
    done = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *arguments],
        input=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.decode(errors="replace")


@needs_openssl
@pytest.mark.parametrize(
    "arguments",
    [
        *[[old, "-cipher", "ALL:@SECLEVEL=0"] for old in OLD],
        *[["-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0"] for suite in WEAK],
        ["-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"],
    ],
    ids=" ".join,
)
def test_what_is_old_or_weak_is_refused(daemon: Running, port: int, arguments: list[str]) -> None:
    before = len(daemon.log)
    status, said = run_openssl(port, *arguments)
    assert status != 0, said
    assert "alert" in said
    daemon.wait_for("TLS failed: (unsupported protocol|no shared cipher|.*)")
    assert before < len(daemon.log) or "TLS failed" in "".join(daemon.log)


@needs_openssl
def test_nothing_is_renegotiated(port: int) -> None:
    _, said = run_openssl(port, "-tls1_2", given=b"R\n")
    assert "RENEGOTIATING" in said
    assert "no renegotiation" in said.lower() or "handshake failure" in said.lower()
    assert "Compression: NONE" in said


@needs_openssl
def test_no_session_is_resumed(port: int, tmp_path: Path) -> None:
    file = str(tmp_path / "session")
    for version in ("-tls1_2", "-tls1_3"):
        run_openssl(port, version, "-sess_out", file)
        if os.path.exists(file):
            _, said = run_openssl(port, version, "-sess_in", file)
            assert "New, TLSv1" in said


@pytest.mark.skipif(shutil.which("sslscan") is None, reason="needs sslscan")
def test_sslscan_finds_nothing(port: int) -> None:
    done = subprocess.run(
        ["sslscan", "--no-colour", f"127.0.0.1:{port}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    accepted = [
        line.split() for line in done.stdout.splitlines() if "bits" in line and "TLSv1" in line
    ]
    suites = {words[4] for words in accepted if words[0] in ("Preferred", "Accepted")}
    assert suites
    assert all("GCM" in suite or "CHACHA20" in suite for suite in suites), suites
    assert all(suite.startswith(("TLS_", "ECDHE-")) for suite in suites), suites
    for version in ("SSLv2", "SSLv3", "TLSv1.0", "TLSv1.1"):
        assert f"{version:<9} disabled" in done.stdout
    assert "Session renegotiation not supported" in done.stdout


@pytest.mark.parametrize("octets", [HELP, b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03", b"\x00" * 20_000])
def test_peers_that_speak_no_tls(daemon: Running, port: int, octets: bytes) -> None:
    ask(("127.0.0.1", port), octets)
    assert not any("Traceback" in line for line in daemon.log), daemon.log


def test_a_failed_handshake_is_one_line(tmp_path: Path, made: Made) -> None:
    arguments = ["--certificate", made.file, "--private-key", made.key_file, "--tls-port", "0"]
    with run_daemon(tmp_path, *arguments) as daemon:
        port = find_port(daemon)
        count = 5
        for _ in range(count):
            ask(("127.0.0.1", port), b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(ssl.SSLError):
            call(port, trusting())
        daemon.end()
        lines = [line for line in daemon.log if "TLS failed" in line]
        assert len(lines) == count + 1, daemon.log
        assert all("127.0.0.1:" in line for line in lines)
        assert not any("Traceback" in line for line in daemon.log)


@pytest.mark.parametrize("count", [1000, LARGE])
def test_an_end_without_close_notify_publishes_nothing(
    daemon: Running, port: int, made: Made, count: int
) -> None:
    with call(port, trusting(made)) as peer:
        # Closed without a word, as Python does unless it is told to unwrap.
        peer.sendall(put("cut", b"x" * count, size=count + 1))
    assert ask_over_tls(port, trusting(made), get("cut"), 1) == b"\x60"


# Clients' certificates.


def with_certificate(authority: Made, mine: Made | None) -> ssl.SSLContext:
    context = trusting(authority)
    if mine is not None:
        context.load_cert_chain(mine.file, mine.key_file)
    return context


def test_who_may_come_in(tmp_path: Path) -> None:
    authority = make_certificate(tmp_path, "authority", is_authority=True)
    stranger = make_certificate(tmp_path, "stranger", is_authority=True)
    server = make_certificate(tmp_path, "server", issuer=authority)
    client: dict[str, Any] = {"issuer": authority, "purpose": CLIENT, "hosts": []}
    good = {
        "anna": make_certificate(tmp_path, "anna", **client),
        "a b": make_certificate(tmp_path, "blank", **client, common_names=["a b"]),
    }
    pinned = [
        make_certificate(tmp_path, f"odd{number}", **client, common_names=names)
        for number, names in enumerate(
            [[], ["two", "names"], ["anonymous"], ["sha256:x"], ["a\nb"], [" a"]]
        )
    ]
    bad = {
        "expired at": make_certificate(tmp_path, "old", **client, ends=-HOUR),
        "is not one for a client, but for a server": make_certificate(
            tmp_path, "wrong", issuer=authority
        ),
        "not known here: stranger": make_certificate(
            tmp_path, "b", **client | {"issuer": stranger}
        ),
        "is self-signed": make_certificate(tmp_path, "c", purpose=CLIENT),
        "did not return a certificate": None,
    }
    arguments = [
        *("--certificate", server.file, "--private-key", server.key_file),
        *("--client-ca", authority.file, "--tls-port", "0", "--interface", "0.0.0.0"),
    ]
    with run_daemon(tmp_path, *arguments) as daemon:
        port = int(daemon.wait_for(r"listening on 0\.0\.0\.0:([0-9]+), TLS$")[1])
        identities = [(made, name) for name, made in good.items()]
        identities += [(made, made.pin) for made in pinned]
        for made, identity in identities:
            context = with_certificate(authority, made)
            assert ask_over_tls(port, context, HELP, len(HELP_REPLY)) == HELP_REPLY
            daemon.wait_for(rf"127\.0\.0\.1:[0-9]+ is '{identity.replace('+', '[+]')}'$")
        for words, none in bad.items():
            with pytest.raises(OSError):  # noqa: PT011 - an alert, or a reset that overtakes it
                ask_over_tls(port, with_certificate(authority, none), HELP, 1)[0]
            daemon.wait_for(f"127.0.0.1:[0-9]+: TLS failed: .*{words}")
        daemon.end()
        assert sum("TLS failed" in line for line in daemon.log) == len(bad)
        assert not any("no accounts" in line for line in daemon.log)
        assert not any("Traceback" in line for line in daemon.log)


# Renewal.


def make_tls(made: Made, **options: Any) -> ServerTLS:
    return ServerTLS(made.file, made.key_file, **options)


def test_a_renewed_certificate_is_taken_and_nobody_is_dropped(tmp_path: Path) -> None:
    old = make_certificate(tmp_path)
    arguments = ["--certificate", old.file, "--private-key", old.key_file, "--tls-port", "0"]
    with run_daemon(tmp_path, *arguments) as daemon:
        port = find_port(daemon)
        only_old = trusting(old)
        with call(port, only_old) as peer:
            peer.sendall(put("a", b"1" * 1000, size=2000))
            new = make_certificate(tmp_path)
            daemon.process.send_signal(signal.SIGHUP)
            daemon.wait_for(f"its key is {new.pin.replace('+', '[+]')}")
            assert ask_over_tls(port, trusting(new), HELP, len(HELP_REPLY)) == HELP_REPLY
            with pytest.raises(ssl.SSLCertVerificationError):
                call(port, only_old)
            # The upload goes on.
            peer.sendall(b"1" * 1000)
            assert read(peer, 1) == DONE
        # A broken one is refused, and the last good one stays.
        Path(new.key_file).write_text("nonsense")
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for("the new certificate is not taken, the old one stays: .*server.key")
        assert ask_over_tls(port, trusting(new), get("a"), 2006) == content("a", b"1" * 2000)


def test_a_renewed_certificate_is_noticed(tmp_path: Path, log: Log) -> None:
    """A look, as the daemon takes one every ten seconds."""
    assert 0 < LOOK_SECONDS <= 60
    made = make_certificate(tmp_path)
    tls = make_tls(made)
    log.lines.clear()
    tls.look()
    assert not log.lines
    # Half of it: the key does not belong to the certificate. That is said once.
    renewed = make_certificate(tmp_path / "new")
    os.replace(renewed.file, made.file)
    tls.look()
    tls.look()
    assert [line for line in log.lines if "not taken" in line] == log.lines
    assert len(log.lines) == 1
    # The other half.
    os.replace(renewed.key_file, made.key_file)
    tls.look()
    assert renewed.pin in log.lines[1]
    tls.look()
    # Gone, and back again.
    os.rename(made.file, tmp_path / "away")
    tls.look()
    assert "cannot be read" in log.lines[2]
    tls.look()
    os.rename(tmp_path / "away", made.file)
    tls.look()
    assert renewed.pin in log.lines[3]
    assert len(log.lines) == 4


def test_an_expired_certificate_is_not_taken_for_another(tmp_path: Path, log: Log) -> None:
    made = make_certificate(tmp_path)
    tls = make_tls(made)
    log.lines.clear()
    make_certificate(tmp_path, ends=-HOUR)
    tls.reload()
    assert len(log.lines) == 1
    assert "expired" in log.lines[0]
    # But a daemon that is started with one serves: there may be clients that pin its key.
    make_tls(made)
    assert any("has expired" in line for line in log.lines)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o600])
def test_a_private_key_that_others_may_read(tmp_path: Path, log: Log, mode: int) -> None:
    made = make_certificate(tmp_path)
    os.chmod(made.key_file, mode)
    make_tls(made)
    warned = [line for line in log.lines if "chmod 600" in line]
    assert bool(warned) == (mode in (0o604, 0o660))


def break_key(made: Made) -> None:
    key = rsa.generate_private_key(65537, 1024 * 2)
    write(replace(made, key=key))


def encrypt_key(made: Made) -> None:
    Path(made.key_file).write_bytes(
        made.key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
        )
    )


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda made: os.unlink(made.file), "server.pem' cannot be read: No such file"),
        (lambda made: os.unlink(made.key_file), "server.key' cannot be read: No such file"),
        (lambda made: Path(made.file).write_bytes(b""), "holds no certificate in PEM"),
        (lambda made: Path(made.key_file).write_bytes(b"\x00"), "holds no private key"),
        (lambda made: os.replace(made.key_file, made.file), "cannot be read|holds no certificate"),
        (break_key, "is not that of the certificate"),
        (encrypt_key, "has a passphrase"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, spoil: Any, words: str) -> None:
    made = make_certificate(tmp_path)
    spoil(made)
    with pytest.raises(CertificateUnusable, match=words):
        make_tls(made)


def test_a_key_that_is_too_weak(tmp_path: Path) -> None:
    made = make_certificate(tmp_path, key=rsa.generate_private_key(65537, 1024))
    with pytest.raises(CertificateUnusable, match="key too small"):
        make_tls(made)


def test_a_daemon_that_cannot_begin_tls_says_so_in_one_line(tmp_path: Path, made: Made) -> None:
    status, lines = run_twistd(tmp_path, "--certificate", "missing.pem", "--tls-port", "0")
    assert status == 1
    assert "filetransfer: 'missing.pem' cannot be read" in lines[-1]
    assert not any("Traceback" in line for line in lines)
