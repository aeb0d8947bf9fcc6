"""What ft-client is told about TLS, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from certificates import CLIENT, Made, make_certificate
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)
from plain_servers import HELP_TEXT, PlainServer
from programs import Ran, ft_client
from tls_servers import serve_tls

from filetransfer.cli.exit_status import ExitStatus


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make_certificate(tmp_path / "made")


def ask(directory: Path, *arguments: str, **variables: str) -> Ran:
    variables = {"XDG_STATE_HOME": str(directory / "state")} | variables
    return ft_client(*arguments, "help", cwd=directory, **variables)


def expect_help(ran: Ran, *errors: str) -> None:
    assert (ran.status, ran.output) == (0, HELP_TEXT + "\n"), ran.errors
    assert len(ran.errors.splitlines()) == len(errors), ran.errors
    for words in errors:
        assert words in ran.errors


def test_ways_to_believe_a_server(tmp_path: Path, made: Made) -> None:
    with serve_tls(made) as server:
        tls = f"tls://{server.address}"
        expect_help(ask(tmp_path, "--server", tls, "--ca-file", made.file))
        expect_help(ask(tmp_path, "--server", tls, FT_CA_FILE=made.file))
        expect_help(ask(tmp_path, "--server", tls, "--pin", made.pin))
        other = f"sha256:{bytes(32).hex()}"
        expect_help(ask(tmp_path, FT_SERVER=tls, FT_PIN=f"{other}, sha256:{made.digest.hex()}"))
        # Whoever says whom to believe wants TLS, and does not have to say so.
        expect_help(ask(tmp_path, "--server", server.address, "--pin", made.pin))
        expect_help(ask(tmp_path, "--server", server.address, "--tls", SSL_CERT_FILE=made.file))
        assert ask(tmp_path, "--server", tls, "--pin", other).status == ExitStatus.UNTRUSTED


def test_believes_the_first_key_and_shouts_at_the_second(tmp_path: Path, made: Made) -> None:
    with serve_tls(made) as server:
        tls = f"tls://{server.address}"
        first = ask(tmp_path, "--server", tls, "--trust-on-first-use")
        expect_help(first, "is believed from now on by its key " + made.pin)
        expect_help(ask(tmp_path, "--server", tls))
        known = tmp_path / "state" / "ft-client" / "servers"
        pin = made.pin
        known.write_text(known.read_text().replace(pin, "sha256:" + "A" * 43 + "="))
        for option in ([], ["--trust-on-first-use"]):
            changed = ask(tmp_path, "--server", tls, *option)
            assert changed.status == ExitStatus.UNTRUSTED
            assert "HAS CHANGED" in changed.errors
            assert str(known) in changed.errors


def test_who_was_reached_over_tls_is_not_spoken_to_in_the_clear(tmp_path: Path, made: Made) -> None:
    with serve_tls(made) as server:
        expect_help(ask(tmp_path, "--server", f"tls://{server.address}", "--pin", made.pin))
    known = tmp_path / "state" / "ft-client" / "servers"
    known.write_text(known.read_text() + "nas.invalid:9001 -\n")
    elsewhere = ask(tmp_path, "--server", "nas.invalid:9000")
    assert elsewhere.status == ExitStatus.UNTRUSTED
    assert "nas.invalid was reached over TLS before" in elsewhere.errors
    assert "tls://nas.invalid" in elsewhere.errors
    with PlainServer() as plain:
        # On loopback, another port is another server.
        expect_help(ask(tmp_path, "--server", plain.address))
        known.write_text(f"{plain.address} -\n")
        refused = ask(tmp_path, "--server", plain.address)
        assert refused.status == ExitStatus.UNTRUSTED
        assert "127.0.0.1 was reached over TLS before" in refused.errors
        assert "--no-tls" in refused.errors
        assert plain.connections == 1
        expect_help(ask(tmp_path, "--server", plain.address, "--no-tls"))
        expect_help(ask(tmp_path, "--server", plain.address, FT_TLS="0"))
        # Another user has not reached it.
        expect_help(ask(tmp_path, "--server", plain.address, XDG_STATE_HOME=str(tmp_path / "new")))


def test_nothing_is_asked_of_a_server_in_the_clear_when_tls_was_wanted(tmp_path: Path) -> None:
    asked: list[bytes] = []

    with PlainServer(lambda peer: asked.append(peer.read_some())) as server:
        ran = ask(tmp_path, "--server", f"tls://{server.address}", "--retry", "0")
    assert ran.status == ExitStatus.TEMPORARY
    assert "is this the port for TLS?" in ran.errors
    assert [octets[:2] for octets in asked] == [b"\x16\x03"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pin", "nonsense"], "is no pin"),
        (["--pin", "sha256:abcd"], "is no pin"),
        (["--no-tls", "--ca-file", "x"], "--no-tls goes neither"),
        (["--no-tls", "--server", "tls://x"], "--no-tls goes neither"),
        (["--private-key", "x"], "--private-key goes with --certificate"),
        (["--passphrase-file", "x"], "--passphrase-file goes with --certificate"),
        (
            ["--certificate", "c", "--passphrase-file", "x", "--passphrase-command", "y"],
            "exclude each other",
        ),
        (["--passphrase", "secret"], "No such option"),
        (["--server", "tls://"], "tls://"),
    ],
)
def test_what_does_not_go_together(tmp_path: Path, arguments: list[str], words: str) -> None:
    ran = ask(tmp_path, *arguments)
    assert ran.status == ExitStatus.USAGE
    assert words in ran.errors


@pytest.fixture
def locked(tmp_path: Path) -> Made:
    """Give a client's certificate, whose key has the passphrase "open sesame"."""
    made = make_certificate(tmp_path / "client", "anna", purpose=CLIENT)
    encryption = BestAvailableEncryption(b"open sesame")
    octets = made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)
    Path(made.key_file).write_bytes(octets)
    return made


def test_where_a_passphrase_is_from(tmp_path: Path, made: Made, locked: Made) -> None:
    (tmp_path / "secret").write_text("open sesame\nand more\n")
    with serve_tls(made, client_ca=locked) as server:

        def run(*arguments: str, **variables: str) -> Ran:
            tls = ("--server", f"tls://{server.address}", "--pin", made.pin, "--retry", "0")
            own = ("--certificate", locked.file, "--private-key", locked.key_file)
            return ask(tmp_path, *tls, *own, *arguments, **variables)

        expect_help(run("--passphrase-file", "secret"))
        expect_help(run("--passphrase-command", "sed -n 1p 'secret'"))
        expect_help(run(FT_PASSPHRASE="open sesame"))
        expect_help(run(FT_PASSPHRASE_FILE="secret", FT_PASSPHRASE="wrong"))
        for ran, words in [
            (run(), "has a passphrase, which nobody has given"),
            (run(FT_PASSPHRASE="wrong"), "the passphrase is not that of the private key"),
            (run("--passphrase-file", "missing"), "'missing' cannot be read: No such file"),
            (run("--passphrase-file", "/dev/null"), "/dev/null gives no passphrase"),
            (run("--passphrase-command", "false"), "failed with status 1"),
            (run("--passphrase-command", "no-such-program"), "cannot be run: No such file"),
            (run("--passphrase-command", ""), "cannot be run"),
        ]:
            assert ran.status == ExitStatus.OTHER
            [line] = ran.errors.splitlines()
            assert words in line
            assert "sesame" not in line


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    for option in ("--ca-file", "--certificate"):
        ran = ask(tmp_path, "--server", "tls://localhost", option, "missing.pem")
        assert ran.status == ExitStatus.OTHER
        assert "'missing.pem' cannot be read" in ran.errors
        assert ran.errors.count("\n") == 1
