"""Every option and its variable: what is taken, what wins, what is refused and how."""

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from twisted.python.usage import UsageError
from twisted.scripts._twistd_unix import ServerOptions

import filetransfer
from filetransfer.server.limit_options import LIMIT_OPTIONS
from filetransfer.server.limits import Limits
from filetransfer.server.service import makeService
from filetransfer.server.settings import Options, Settings, TLSSettings, read_settings


def parse(*typed: str, **environment: str) -> Settings:
    """Read settings, with only these variables in the environment."""
    options = Options({f"FILETRANSFER_{name}": text for name, text in environment.items()})
    options.parseOptions(typed)
    return read_settings(options)


def test_defaults() -> None:
    assert parse() == Settings()
    assert Settings() == Settings(
        root="files",
        port=9000,
        interface=None,
        endpoints=(),
        is_read_only=False,
        file_mode=0o640,
        directory_mode=0o750,
        durability="full",
        summary="framed",
        drain_seconds=30.0,
        user=None,
        group=None,
        has_landlock=True,
        log_format="text",
        has_request_log=False,
        writes_log=False,
        log_file=None,
        pid_file=None,
    )


VALUES: list[tuple[str, str, dict[str, Any]]] = [
    ("port", "9001", {"port": 9001}),
    ("port", "0", {"port": 0}),
    ("port", "65535", {"port": 65535}),
    ("interface", "192.0.2.7", {"interface": "192.0.2.7"}),
    ("interface", "::", {"interface": "::"}),
    ("root", "/srv/drop", {"root": "/srv/drop"}),
    ("root", "a b", {"root": "a b"}),
    ("file-mode", "600", {"file_mode": 0o600}),
    ("file-mode", "0644", {"file_mode": 0o644}),
    ("file-mode", "0", {"file_mode": 0}),
    ("directory-mode", "0777", {"directory_mode": 0o777}),
    ("durability", "none", {"durability": "none"}),
    ("durability", "full", {"durability": "full"}),
    ("summary", "bare", {"summary": "bare"}),
    ("summary", "framed", {"summary": "framed"}),
    ("drain-seconds", "0", {"drain_seconds": 0.0}),
    ("drain-seconds", "2.5", {"drain_seconds": 2.5}),
    ("user", "nobody", {"user": "nobody"}),
    ("log-format", "json", {"log_format": "json"}),
    ("certificate", "a.pem", {"port": None, "tls": TLSSettings(certificate="a.pem")}),
    *(
        (option, text, {"limits": Limits(**{option.replace("-", "_"): value})})
        for option, text, value in (
            ("max-connections", "1", 1),
            ("max-connections-per-address", "7", 7),
            ("max-handshakes", "8", 8),
            ("max-requests", "9", 9),
            ("max-held-octets", "65536", 65536),
            ("max-held-octets-in-all", "65537", 65537),
            ("max-upload-octets", "999999999999999999", 999_999_999_999_999_999),
            ("handshake-seconds", "0.5", 0.5),
            ("head-seconds", "1", 1.0),
            ("idle-seconds", "2", 2.0),
            ("crowded-seconds", "3", 3.0),
            ("min-rate", "4", 4),
            ("rate-seconds", "5", 5.0),
        )
    ),
    ("listen", "unix:/run/a", {"port": None, "endpoints": ("unix:/run/a",)}),
]


@pytest.mark.parametrize(("option", "text", "expected"), VALUES)
def test_every_option_and_its_variable(option: str, text: str, expected: Mapping[str, Any]) -> None:
    assert parse(f"--{option}", text) == Settings(**expected)
    assert parse(f"--{option}={text}") == Settings(**expected)
    assert parse(**{option.upper().replace("-", "_"): text}) == Settings(**expected)


def test_every_option_is_tried_here() -> None:
    options = Options({})
    tried = {f"{option}=" for option, *_ in VALUES} | {"group="}
    tried |= {"read-only", "exit-on-disk-failure", "no-landlock", "log-requests"}
    tried |= {"tls-port=", "tls-listen=", "private-key=", "client-ca="}
    assert {name for name in options.longOpt if name not in ("help", "version")} == tried


def test_tls() -> None:
    tls = ("--certificate", "c", "--private-key", "k", "--client-ca", "a")
    expected = TLSSettings(certificate="c", private_key="k", client_ca="a")
    assert parse(*tls) == Settings(port=None, tls=expected)
    assert expected.files == ("c", "k", "a")
    assert parse(*tls, "--port", "9000") == Settings(port=9000, tls=expected)
    assert parse(*tls, "--tls-port", "0") == Settings(port=None, tls=replace(expected, port=0))
    for description in ("unix:/a", "tcp6:9001"):
        listened = replace(expected, port=None, endpoints=(description,))
        assert parse(*tls, "--tls-listen", description) == Settings(port=None, tls=listened)
        assert parse(*tls, TLS_LISTEN=description) == Settings(port=None, tls=listened)
    both = replace(expected, port=1, endpoints=("unix:/a",))
    given = ("--tls-port", "1", "--tls-listen", "unix:/a", "--interface", "::")
    assert parse(*tls, *given) == Settings(port=None, interface="::", tls=both)


@pytest.mark.parametrize(
    "option", ["--tls-port=1", "--tls-listen=unix:/a", "--private-key=k", "--client-ca=a"]
)
def test_tls_needs_a_certificate(option: str) -> None:
    with pytest.raises(UsageError, match="goes with --certificate"):
        parse(option)


@pytest.mark.parametrize("prefix", ["tls", "ssl"])
def test_endpoints_that_bring_a_tls_of_their_own(prefix: str) -> None:
    with pytest.raises(UsageError, match="--tls-listen"):
        parse("--listen", f"{prefix}:9001")
    with pytest.raises(UsageError, match="plain endpoint"):
        parse("--certificate", "c", "--tls-listen", f"{prefix}:9001")


def test_short_options() -> None:
    assert parse("-p", "1", "-r", "x", "-i", "::1") == Settings(port=1, root="x", interface="::1")


def test_listen_may_be_repeated() -> None:
    both = ("unix:/a", "tcp6:9000")
    assert parse("--listen", both[0], "--listen", both[1]) == Settings(port=None, endpoints=both)
    assert parse(LISTEN=" unix:/a\n tcp6:9000 ") == Settings(port=None, endpoints=both)
    assert parse("--listen", both[0], "--port", "1") == Settings(port=1, endpoints=both[:1])


def test_listen_may_hold_blanks_in_the_environment() -> None:
    blanks = (r"unix:/my\ socket", r"unix:/a\\", "tcp6:9000")
    assert parse(LISTEN=" ".join(blanks)) == Settings(port=None, endpoints=blanks)


@pytest.mark.parametrize("text", ["1", "yes", "true", "on", "YES", "True"])
def test_read_only(text: str) -> None:
    assert parse("--read-only") == Settings(is_read_only=True)
    assert parse(READ_ONLY=text) == Settings(is_read_only=True)


@pytest.mark.parametrize("text", ["0", "no", "false", "off", "", "No"])
def test_not_read_only(text: str) -> None:
    assert parse(READ_ONLY=text) == Settings()
    assert parse("--read-only", READ_ONLY=text) == Settings(is_read_only=True)


def test_exit_on_disk_failure() -> None:
    assert parse("--exit-on-disk-failure") == Settings(exits_on_disk_failure=True)
    assert parse(EXIT_ON_DISK_FAILURE="1") == Settings(exits_on_disk_failure=True)


def test_no_landlock() -> None:
    assert parse("--no-landlock") == Settings(has_landlock=False)
    assert parse(NO_LANDLOCK="1") == Settings(has_landlock=False)


def test_log_requests() -> None:
    assert parse("--log-requests") == Settings(has_request_log=True)


def test_a_group_goes_with_a_user() -> None:
    assert parse("--user", "a", "--group", "b") == Settings(user="a", group="b")
    assert parse(USER="a", GROUP="b") == Settings(user="a", group="b")
    with pytest.raises(UsageError, match="--group"):
        parse("--group", "b")


@pytest.mark.parametrize(
    ("typed", "log_file", "pid_file"),
    [
        ([], "twistd.log", "twistd.pid"),
        (["--nodaemon", "--pidfile="], None, None),
        (["--nodaemon", "--logfile=-", "--pidfile=a"], None, "a"),
        (["--logfile=/var/log/x"], "/var/log/x", "twistd.pid"),
    ],
)
def test_files_of_twistd(typed: list[str], log_file: str | None, pid_file: str | None) -> None:
    options = ServerOptions()
    options.parseOptions([*typed, "filetransfer"])
    settings = read_settings(options.subOptions)
    assert settings.log_file == (log_file and os.path.abspath(log_file))
    assert settings.pid_file == (pid_file and os.path.abspath(pid_file))
    assert settings.writes_log


@pytest.mark.parametrize("typed", [["--syslog"], ["--logger", "os.path"]])
def test_log_that_twistd_writes(typed: list[str]) -> None:
    options = ServerOptions()
    options.parseOptions([*typed, "filetransfer"])
    assert not read_settings(options.subOptions).writes_log


@pytest.mark.parametrize("name", ["READONLY", "LISTENS", "", "read_only"])
def test_a_variable_that_is_misspelt(name: str) -> None:
    with pytest.raises(UsageError, match=f"^FILETRANSFER_{name}: there is no such option"):
        parse(**{name: "1"})


def test_what_is_typed_wins() -> None:
    assert parse("--port", "1", PORT="2", ROOT="x") == Settings(port=1, root="x")
    assert parse("--summary", "framed", SUMMARY="bare") == Settings()
    assert parse("--listen", "unix:/a", LISTEN="unix:/b unix:/c") == Settings(
        port=None, endpoints=("unix:/a",)
    )


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("port", "x"),
        ("port", ""),
        ("port", "-1"),
        ("port", "65536"),
        ("port", "9 000"),
        ("port", "\u0663"),
        ("port", "1e3"),
        ("interface", ""),
        ("root", ""),
        ("file-mode", ""),
        ("file-mode", "rw-r-----"),
        ("file-mode", "0o640"),
        ("file-mode", "888"),
        ("file-mode", "1777"),
        ("file-mode", "-1"),
        ("directory-mode", "8"),
        ("durability", "half"),
        ("durability", ""),
        ("summary", "Bare"),
        ("drain-seconds", "-1"),
        ("drain-seconds", "inf"),
        ("drain-seconds", "nan"),
        ("drain-seconds", "1e3"),
        ("drain-seconds", ""),
        ("user", ""),
        ("log-format", "JSON"),
        ("group", ""),
        ("listen", "ssl:443"),
        ("listen", "tls:443"),
    ],
)
def test_what_cannot_be_is_refused_by_name(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{option}\\b"):
        parse(f"--{option}", text)
    with pytest.raises(UsageError, match=f"--{option}\\b"):
        parse(**{option.upper().replace("-", "_"): text})


@pytest.mark.parametrize("option", [option for option, *_ in LIMIT_OPTIONS])
@pytest.mark.parametrize("text", ["0", "-1", "", "x", "none", "1e3", "0x1", "inf", "\u0663"])
def test_limits_are_above_0(option: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{option} is a .* above 0"):
        parse(f"--{option}", text)


def test_variable_that_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"FILETRANSFER_READ_ONLY.*'maybe'"):
        parse(READ_ONLY="maybe")


@pytest.mark.parametrize("typed", [["--nonsense"], ["files"], ["--port"], ["--read-only=1"]])
def test_what_is_no_option_is_refused(typed: list[str]) -> None:
    with pytest.raises(UsageError):
        parse(*typed)


def test_an_interface_without_a_port_makes_no_sense() -> None:
    with pytest.raises(UsageError, match="--interface"):
        parse("--listen", "unix:/a", "--interface", "::1")
    assert parse("--listen", "unix:/a", "--interface", "::1", "--port", "1").port == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--version")
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"filetransfer {filetransfer.__version__}\n"


def test_help_names_every_option_and_gives_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for option in Options({}).longOpt:
        assert f"--{option}" in text
    assert "\n  twistd -n filetransfer --port 9000\n" in text
    assert "FILETRANSFER_ROOT=" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_environment_is_that_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FILETRANSFER_PORT", "9009")
    options = Options()
    options.parseOptions([])
    assert read_settings(options).port == 9009


def test_making_the_service_opens_nothing(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """twistd becomes a daemon after this: neither a lock nor a socket would survive."""
    monkeypatch.chdir(tmp_path)
    options = Options({"FILETRANSFER_PORT": "0"})
    options.parseOptions([])
    makeService(options)
    assert not list(tmp_path.iterdir())
