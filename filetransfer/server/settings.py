"""The daemon's settings: one frozen object, from the options of ``twistd filetransfer`` and from the environment.

Every option ``--some-name`` can also be given as ``FILETRANSFER_SOME_NAME``; an option that is typed wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from twisted.python import usage

from filetransfer import __version__
from filetransfer.server.limit_options import LIMIT_OPTIONS, read_limits
from filetransfer.server.limits import Limits
from filetransfer.server.logs import LogFormat

_PREFIX = "FILETRANSFER_"
_TRUE = ("1", "yes", "true", "on")
_FALSE = ("0", "no", "false", "off", "")
_MODE = re.compile("0*[0-7]{1,3}", re.ASCII)
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
# As Twisted reads one: a backslash takes its meaning from what follows.
_ENDPOINT = re.compile(r"(?:\\.|\S)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSSettings:
    """What the daemon was told about TLS.

    Attributes:
        certificate: a file of PEM, with those that lead to its authority.
        private_key: a file of PEM; None when the key is in the same file.
        client_ca: a file of PEM: the authorities that every client must have a certificate of; None asks for none.
        port: as for :class:`Settings`.
        endpoints: as for :class:`Settings`; what they describe is plain, TLS is put on it.
    """

    certificate: str
    private_key: str | None = None
    client_ca: str | None = None
    port: int | None = 9001
    endpoints: tuple[str, ...] = ()

    @property
    def files(self) -> tuple[str, ...]:
        """Those that are read, now and when they change."""
        files = (self.certificate, self.private_key, self.client_ca)
        return tuple(file for file in files if file is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the daemon was told.

    Attributes:
        root: the served directory, as it was given.
        port: TCP port, 0 to 65535 (0: any free one); None when only ``endpoints`` are listened on.
        interface: the address to listen on; None for loopback, IPv4 and IPv6.
        endpoints: Twisted's descriptions of further places to listen on.
        tls: where TLS is spoken, and how; None for nowhere.
        is_read_only: whether PUT and CHANGE are refused.
        exits_on_disk_failure: whether the daemon ends, with status 1, when the disk has failed for the second time;
            if not, it goes on serving, read-only.
        file_mode: permission bits of published files, 0 to 0o777.
        directory_mode: permission bits of directories that the daemon makes, 0 to 0o777.
        durability: ``"none"`` leaves every fsync out.
        summary: ``"bare"`` answers SUMMARY as the article's own server does.
        drain_seconds: how long transfers may go on when the daemon is told to end, >= 0.
        limits: what connections may take.
        user: whom the daemon becomes when its sockets are bound, a name or a number; None to stay who it is.
        group: the same; None for the user's own.
        has_landlock: whether the daemon takes from itself what it does not need, where the kernel can do that.
        log_format: of the log's lines.
        has_request_log: whether there is a line for each request.
        writes_log: whether the log is ours to write, and not that of one of twistd's own observers.
        log_file: twistd's, an absolute path; None for standard output.
        pid_file: twistd's, an absolute path; None for none.
    """

    root: str = "files"
    port: int | None = 9000
    interface: str | None = None
    endpoints: tuple[str, ...] = ()
    tls: TLSSettings | None = None
    is_read_only: bool = False
    exits_on_disk_failure: bool = False
    file_mode: int = 0o640
    directory_mode: int = 0o750
    durability: Literal["full", "none"] = "full"
    summary: Literal["framed", "bare"] = "framed"
    drain_seconds: float = 30.0
    limits: Limits = field(default_factory=Limits)
    user: str | None = None
    group: str | None = None
    has_landlock: bool = True
    log_format: LogFormat = "text"
    has_request_log: bool = False
    writes_log: bool = False
    log_file: str | None = None
    pid_file: str | None = None


def _port_of(option: str) -> Callable[[str], int]:
    def read_port(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) > 65535:
            raise ValueError(f"{option} is a number from 0 to 65535, not {text!r}")
        return int(text)

    return read_port


def _mode_of(option: str) -> Callable[[str], int]:
    def read_mode(text: str) -> int:
        if not _MODE.fullmatch(text):
            raise ValueError(f"{option} is an octal number from 0 to 777, not {text!r}")
        return int(text, 8)

    return read_mode


def _seconds_of(option: str) -> Callable[[str], float]:
    def read_seconds(text: str) -> float:
        if not _DECIMAL.fullmatch(text):
            raise ValueError(f"{option} is a number of seconds, 0 or more, not {text!r}")
        return float(text)

    return read_seconds


def _one_of(option: str, *words: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in words:
            raise ValueError(f"{option} is one of {', '.join(words)}, not {text!r}")
        return text

    return choose


def _filled(option: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        if not text:
            raise ValueError(f"{option} needs a value, not an empty word")
        return text

    return check


_EXAMPLES = """
There are no accounts: whoever can connect can read and write. So the daemon
listens on loopback alone, unless an interface or an endpoint is named.

Examples:

  twistd -n filetransfer --port 9000
      serve ./files to this machine, in the foreground
  twistd -n filetransfer --root /srv/drop --interface 192.0.2.7
      serve /srv/drop to everybody who can reach 192.0.2.7
  twistd -n filetransfer --certificate server.pem --private-key server.key \\
      --client-ca ca.pem --interface 192.0.2.7
      serve ./files over TLS, on port 9001, to who has a certificate from ca.pem
  twistd -n filetransfer --listen unix:/run/filetransfer/socket --read-only
      serve ./files on a local socket, for reading

Every option can also be set in the environment, and what is typed wins:
FILETRANSFER_ROOT=/srv/drop, FILETRANSFER_READ_ONLY=1, and several endpoints
separated by blanks in FILETRANSFER_LISTEN (a blank in one has \\ before it).
"""


class Options(usage.Options):
    """The options of ``twistd filetransfer``."""

    longdesc = "Serve a directory; answer an upload when it is on disk."

    # Defaults are those of Settings: only what was given has a value here.
    optParameters: ClassVar[list[list[Any]]] = [
        [
            "port",
            "p",
            None,
            "TCP port to listen on, in the clear; 0 takes a free one. [default: 9000, or none with --certificate]",
            _port_of("--port"),
        ],
        [
            "tls-port",
            None,
            None,
            "TCP port to listen on, over TLS. [default with --certificate: 9001]",
            _port_of("--tls-port"),
        ],
        [
            "certificate",
            None,
            None,
            "Certificate for TLS, and those it was signed with: a file of PEM.",
            _filled("--certificate"),
        ],
        [
            "private-key",
            None,
            None,
            "Its private key. [default: in the same file]",
            _filled("--private-key"),
        ],
        [
            "client-ca",
            None,
            None,
            "Only clients with a certificate from these authorities are served over TLS.",
            _filled("--client-ca"),
        ],
        [
            "interface",
            "i",
            None,
            "Address to listen on. [default: loopback, 127.0.0.1 and ::1]",
            _filled("--interface"),
        ],
        [
            "root",
            "r",
            None,
            "Directory to serve; made if it is missing. [default: files]",
            _filled("--root"),
        ],
        [
            "file-mode",
            None,
            None,
            "Permissions of the files that are stored, octal. [default: 0640]",
            _mode_of("--file-mode"),
        ],
        [
            "directory-mode",
            None,
            None,
            "Permissions of the directories that are made, octal. [default: 0750]",
            _mode_of("--directory-mode"),
        ],
        [
            "durability",
            None,
            None,
            "full: answer an upload when it is on disk; none: do not wait for the disk. [default: full]",
            _one_of("--durability", "full", "none"),
        ],
        [
            "summary",
            None,
            None,
            "How SUMMARY is answered; bare: its text alone, for clients that want that. [default: framed]",
            _one_of("--summary", "framed", "bare"),
        ],
        [
            "drain-seconds",
            None,
            None,
            "How long transfers may go on when the daemon is told to end. [default: 30]",
            _seconds_of("--drain-seconds"),
        ],
        [
            "user",
            None,
            None,
            "Whom to become when the sockets are bound, a name or a number.",
            _filled("--user"),
        ],
        [
            "log-format",
            None,
            None,
            "How the log is written: text, or json, one object a line. [default: text]",
            _one_of("--log-format", "text", "json"),
        ],
        ["group", None, None, "The same. [default: the user's own]", _filled("--group")],
        *LIMIT_OPTIONS,
    ]
    optFlags: ClassVar[list[list[Any]]] = [
        ["read-only", None, "Refuse PUT and CHANGE."],
        ["log-requests", None, "Write a line for each request."],
        ["no-landlock", None, "Do not let the kernel confine the daemon to its files."],
        ["exit-on-disk-failure", None, "End when the disk fails, rather than go on read-only."],
    ]

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self["listen"] = []
        self["tls-listen"] = []
        self._environment = environment

    def getSynopsis(self) -> str:
        """Give the first line of the help text."""
        return "Usage: twistd [options of twistd] filetransfer [options]"

    def getUsage(self, width: int | None = None) -> str:
        """Give the help text. The examples stand below it: Twisted would refill their lines."""
        return super().getUsage(width) + _EXAMPLES

    def opt_listen(self, description: str) -> None:
        """Listen on this Twisted endpoint, such as unix:/run/x.sock; may be given several times."""
        prefix = description.partition(":")[0]
        if prefix in ("ssl", "tls"):
            raise usage.UsageError(
                f"--listen {prefix}: is not supported: say --tls-listen, with a plain endpoint such as "
                "tcp:9001, and --certificate"
            )
        self["listen"].append(description)

    def opt_tls_listen(self, description: str) -> None:
        """Listen on this Twisted endpoint over TLS; may be given several times."""
        if description.partition(":")[0] in ("ssl", "tls"):
            raise usage.UsageError("--tls-listen takes a plain endpoint, such as tcp:9001")
        self["tls-listen"].append(description)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"filetransfer {__version__}")  # noqa: T201
        raise SystemExit(0)

    def parseOptions(self, options: Any = None) -> None:
        """Parse what was typed; what was not is taken from the environment."""
        typed = list(options or [])
        self._refuse_unknown_variables()
        super().parseOptions(self._list_from_environment() + typed)  # type: ignore[no-untyped-call]

    def _refuse_unknown_variables(self) -> None:
        """Refuse a variable that is misspelt: a daemon that was to be read-only must not start otherwise."""
        known = {_variable(name) for name, *_ in [*self.optParameters, *self.optFlags, *_REPEATED]}
        for name in sorted(self._environment):
            if name.startswith(_PREFIX) and name not in known:
                raise usage.UsageError(f"{name}: there is no such option; --help lists them")

    def _list_from_environment(self) -> list[str]:
        """Give the environment's settings as options, to stand before those that were typed."""
        arguments = self._list_flags()
        for name, *_ in self.optParameters:
            text = self._environment.get(_variable(name))
            if text is not None:
                arguments += [f"--{name}", text]
        return arguments

    def _list_flags(self) -> list[str]:
        arguments = []
        for name, *_ in self.optFlags:
            text = self._environment.get(_variable(name), "").lower()
            if text not in _TRUE + _FALSE:
                raise usage.UsageError(
                    f"{_variable(name)} is {text!r}; it is one of: {', '.join(_TRUE + _FALSE[:-1])}"
                )
            if text in _TRUE:
                arguments.append(f"--{name}")
        return arguments

    def postOptions(self) -> None:
        """Take what was not typed and cannot stand before it from the environment; refuse what does not go together."""
        for (option,), add in zip(_REPEATED, (self.opt_listen, self.opt_tls_listen), strict=True):
            if not self[option]:
                for description in _ENDPOINT.findall(self._environment.get(_variable(option), "")):
                    add(description)
        if not self["certificate"]:
            for option in ("tls-port", "tls-listen", "private-key", "client-ca"):
                if self[option] not in (None, []):
                    raise usage.UsageError(f"--{option} goes with --certificate")
        has_endpoints = self["listen"] or self["tls-listen"]
        if has_endpoints and self["interface"] and self["port"] is self["tls-port"] is None:
            raise usage.UsageError("--interface goes with --port, not with --listen")
        if self["group"] and not self["user"]:
            raise usage.UsageError("--group goes with --user")


_REPEATED = (["listen"], ["tls-listen"])


def _variable(name: str) -> str:
    return _PREFIX + name.upper().replace("-", "_")


def _read_tls_settings(options: Mapping[str, Any]) -> TLSSettings | None:
    if options["certificate"] is None:
        return None
    port = options["tls-port"]
    if port is None and not options["tls-listen"]:
        port = 9001
    return TLSSettings(
        certificate=options["certificate"],
        private_key=options["private-key"],
        client_ca=options["client-ca"],
        port=port,
        endpoints=tuple(options["tls-listen"]),
    )


def read_settings(options: Options) -> Settings:
    """Give the settings that parsed options stand for, with what those of twistd, above them, say of its files."""
    given: dict[str, Any] = {
        name: options[option]
        for option, name in (
            ("root", "root"),
            ("port", "port"),
            ("interface", "interface"),
            ("file-mode", "file_mode"),
            ("directory-mode", "directory_mode"),
            ("durability", "durability"),
            ("summary", "summary"),
            ("drain-seconds", "drain_seconds"),
            ("log-format", "log_format"),
            ("user", "user"),
            ("group", "group"),
        )
        if options[option] is not None
    }
    tls = _read_tls_settings(options)
    if options["listen"] or tls is not None:
        # Whoever sets up TLS does not expect to be heard by everybody on another port.
        given.setdefault("port", None)
    given |= _list_files_of_twistd(options.parent or {})
    return Settings(
        endpoints=tuple(options["listen"]),
        tls=tls,
        limits=read_limits(options),
        is_read_only=bool(options["read-only"]),
        has_request_log=bool(options["log-requests"]),
        has_landlock=not options["no-landlock"],
        exits_on_disk_failure=bool(options["exit-on-disk-failure"]),
        **given,
    )


def _list_files_of_twistd(options: Mapping[str, Any]) -> dict[str, Any]:
    files: dict[str, Any] = {"pid_file": options.get("pidfile") or None}
    log_file = options.get("logfile")
    if options and not log_file and not options["nodaemon"]:
        log_file = "twistd.log"
    if log_file and log_file != "-":
        files["log_file"] = os.path.abspath(log_file)
    # With one of these twistd has an observer of its own.
    files["writes_log"] = bool(options) and not (options.get("logger") or options.get("syslog"))
    return files
