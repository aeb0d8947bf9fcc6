"""filetransfer-certificate, and that what it says to type works: daemon and client as programs of their own."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from programs import DEADLINE_SECONDS, Ran, ft_client, list_names, make_environment

from filetransfer.cli.exit_status import ExitStatus
from filetransfer.errors import CertificateUnusable
from filetransfer.tls.authority import Authority
from filetransfer.tls.credentials import read_credentials

HOME = ("--host", "localhost", "--host", "127.0.0.1")


def run_command(*arguments: str, cwd: Path) -> Ran:
    done = subprocess.run(
        [sys.executable, "-c", "from filetransfer.cli.certificate import main; main()", *arguments],
        cwd=cwd,
        env=make_environment(),
        capture_output=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    ran = Ran(done.returncode, done.stdout, done.stderr)
    assert "Traceback" not in ran.errors, ran.errors
    return ran


def find_line(ran: Ran, beginning: str) -> list[str]:
    """Give the words of a line that is to be typed."""
    [line] = re.findall(rf"(?m)^  ({beginning} .*)$", ran.output)
    return shlex.split(line)


def test_makes_all_that_is_needed(tmp_path: Path) -> None:
    ran = run_command("make", *HOME, cwd=tmp_path)
    assert (ran.status, ran.errors) == (0, "")
    assert list_names(tmp_path / "tls") == ["ca.key", "ca.pem", "server.key", "server.pem"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "tls").iterdir()}
    assert modes == {"ca.key": 0o600, "ca.pem": 0o644, "server.key": 0o600, "server.pem": 0o644}
    made = read_credentials(str(tmp_path / "tls/server.pem"), str(tmp_path / "tls/server.key"))
    assert made.pin in ran.output
    shown = run_command("show", "tls/server.pem", cwd=tmp_path)
    assert "for: localhost, 127.0.0.1" in shown.output
    assert f"pin: {made.pin}" in shown.output


def test_renews_what_is_there_with_the_same_key(tmp_path: Path) -> None:
    run_command("make", *HOME, "--directory", "d", cwd=tmp_path)
    files = str(tmp_path / "d/server.pem"), str(tmp_path / "d/server.key")
    before = read_credentials(*files)
    authority = (tmp_path / "d/ca.pem").read_bytes()
    second = run_command("make", *HOME, "--directory", "d", "--days", "30", cwd=tmp_path)
    after = read_credentials(*files)
    assert second.status == 0
    assert after.pin == before.pin
    assert after.certificate.not_valid_after_utc < before.certificate.not_valid_after_utc
    assert (tmp_path / "d/ca.pem").read_bytes() == authority
    assert list_names(tmp_path / "d") == ["ca.key", "ca.pem", "server.key", "server.pem"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["make", "--host", "a b"], "'a b' is neither a name nor an address"),
        (["client", "../x"], "is no name for a certificate"),
        (["client", "ca"], "is no name for a certificate"),
        (["make", "--host", "a", "--directory", "spoilt"], "spoilt/ca.pem' holds no certificate"),
        (["make", "--host", "a", "--directory", "/proc/none"], "/proc/none"),
        (["show", "spoilt/ca.pem"], "holds no certificate"),
    ],
)
def test_what_cannot_be_made(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "spoilt").mkdir()
    (tmp_path / "spoilt/ca.pem").touch()
    ran = run_command(*arguments, cwd=tmp_path)
    assert ran.status == 1
    assert words in ran.errors
    assert ran.errors.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["make", "--days", "0"], ["show", "missing"], ["nonsense"]]
)
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    assert run_command(*arguments, cwd=tmp_path).status == 2


def test_an_authority_that_has_expired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("filetransfer.tls.authority.AUTHORITY_DAYS", 0)
    with pytest.raises(CertificateUnusable, match="has expired"):
        Authority(tmp_path / "d")


def test_its_own_name_is_the_default(tmp_path: Path) -> None:
    ran = run_command("make", cwd=tmp_path)
    assert f"tls://{socket.gethostname()} " in ran.output


def test_what_it_says_to_type_works(tmp_path: Path) -> None:
    """The daemon, and a client with the authority's file, with the pin, and with a certificate of its own."""
    ran = run_command("make", *HOME, cwd=tmp_path)
    anna = run_command("client", "anna", cwd=tmp_path)
    octets = os.urandom(6_000_000)
    (tmp_path / "a").write_bytes(octets)
    state = str(tmp_path / "state")
    for number, said in enumerate((ran, anna)):
        words = find_line(said, "twistd")
        if "--interface" in words:
            words[words.index("ADDRESS")] = "127.0.0.1"
        with Daemon(words, tmp_path) as port:
            for line in re.findall(r"(?m)^  (ft-client .*)$", said.output):
                typed = shlex.split(line)[1:-1]
                typed[typed.index("--server") + 1] = f"tls://127.0.0.1:{port}"
                # The authority's file was copied to where the client is.
                given = [f"tls/{word}" if word == "ca.pem" else word for word in typed]
                put = ft_client(*given, "put", "a", cwd=tmp_path, XDG_STATE_HOME=state)
                assert (put.status, put.errors) == (0, "")
                get = ft_client(*given, "get", "a", "-o", "b", cwd=tmp_path, XDG_STATE_HOME=state)
                assert (get.status, get.errors) == (0, "")
                assert (tmp_path / "b").read_bytes() == octets
            if number:
                nobody = ft_client(
                    *("--server", f"tls://127.0.0.1:{port}", "--ca-file", "tls/ca.pem", "help"),
                    cwd=tmp_path,
                    XDG_STATE_HOME=state,
                )
                assert nobody.status == ExitStatus.UNTRUSTED
                assert "does not accept this client" in nobody.errors


class Daemon:
    """The daemon, as it was said to be typed, but on a free port; gives that."""

    def __init__(self, words: list[str], directory: Path) -> None:
        twistd = os.fspath(Path(sys.executable).with_name(words[0]))
        environment = make_environment()
        self._process = subprocess.Popen(
            [twistd, "--pidfile=", *words[1:], "--tls-port", "0"],
            cwd=directory,
            env={name: text for name, text in environment.items() if "FILETRANSFER" not in name},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def __enter__(self) -> int:
        assert self._process.stdout is not None
        lines = []
        for line in self._process.stdout:
            lines.append(line)
            if found := re.search(r"listening on 127\.0\.0\.1:([0-9]+), TLS", line):
                return int(found[1])
        raise AssertionError("".join(lines))

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        assert self._process.stdout is not None
        self._process.stdout.read()
        self._process.stdout.close()
        self._process.wait(DEADLINE_SECONDS)
