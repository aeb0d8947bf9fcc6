"""The options of ``ft-client`` itself, each declared once: for --help, the environment, profiles and ``config show``.

They may stand before the command or after it. What stands nearest to the file names wins::

    after the command > before the command > FT_<OPTION> in the environment > the profile > the default
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import IO, Any

import click
from click.core import ParameterSource

from filetransfer.cli.console import PROGRAM, printable, write_message
from filetransfer.cli.profiles import Profile, Profiles, find_settings_file
from filetransfer.cli.values import (
    PROMISES,
    CountType,
    NamesType,
    PinsType,
    RateType,
    SecondsType,
    ServerType,
)


class SettingsFault(click.ClickException):
    """The settings file cannot be used: how the command is used is not what is wrong."""

    exit_code = 2

    def show(self, file: IO[Any] | None = None) -> None:
        """See :class:`click.ClickException`: one line, which says the file's name and the line in it."""
        write_message(f"{PROGRAM}: {printable(self.format_message())}")


class EnvironmentOption(click.Option):
    """An option that may also be given in the environment: ``--connect-timeout`` as ``FT_CONNECT_TIMEOUT``."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.envvar = find_variable(self)

    def handle_parse_result(
        self, ctx: click.Context, opts: Mapping[str, Any], args: list[str]
    ) -> tuple[Any, list[str]]:
        """See :class:`click.Parameter`; what is wrong in the environment is said to be there."""
        try:
            return super().handle_parse_result(ctx, opts, args)
        except click.BadParameter as error:
            if ctx.get_parameter_source(find_key(self)) is ParameterSource.ENVIRONMENT:
                error.param_hint = f"{find_variable(self)} (environment)"
            raise


option = partial(click.option, cls=EnvironmentOption)
"""Declares an option of one command: :func:`click.option`, for :class:`EnvironmentOption`."""


def find_name(declared: click.Option) -> str:
    """Give an option's long name without dashes, as profiles have it."""
    return max(declared.opts, key=len).lstrip("-")


def find_key(declared: click.Option) -> str:
    """Give the name of an option's parameter."""
    return find_name(declared).replace("-", "_")


def find_variable(declared: click.Option) -> str:
    """Give the environment variable that an option may be given in."""
    return "FT_" + find_key(declared).upper()


def _choose_profile(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Let the profile give the defaults of the options that are read after this one."""
    around = context.parent
    if around is not None and _is_typed(around) and not _is_typed(context):
        # It was chosen before the command.
        name = around.params["profile"]
    profiles = Profiles(find_settings_file())
    try:
        profile = profiles.choose(name)
        context.default_map = read_profile(profile)
    except ValueError as error:
        raise SettingsFault(str(error)) from error
    return profile.name or None


def _is_typed(context: click.Context) -> bool:
    return context.get_parameter_source("profile") is ParameterSource.COMMANDLINE


def _read_names(_: click.Context, __: click.Parameter, file: Any) -> tuple[str, ...]:
    """Give the names in a file, one a line; blank lines are none."""
    return tuple(name for line in file or () if (name := line.rstrip("\r\n")))


def _complete_profile(_: click.Context, __: click.Parameter, incomplete: str) -> list[str]:
    try:
        names = Profiles(find_settings_file()).list_names()
    except ValueError:
        # The command itself will say what is wrong with the file.
        return []
    return [name for name in names if name.startswith(incomplete)]


def read_profile(profile: Profile) -> dict[str, Any]:
    """Give the values that a profile has, by the names of parameters. Raises ValueError: one of them is none."""
    known = {find_name(each): each for each in PROFILED}
    values: dict[str, Any] = {}
    for key, value in profile.values.items():
        declared = known.get(key)
        if declared is None:
            raise profile.fault(key, "there is no such option")
        try:
            with click.Context(click.Command(None)) as context:
                declared.type_cast_value(context, value)
        except (click.BadParameter, TypeError) as error:
            text = error.message if isinstance(error, click.BadParameter) else str(error)
            raise profile.fault(key, text) from error
        values[find_key(declared)] = value
    return values


COMMON: tuple[click.Option, ...] = (
    EnvironmentOption(
        ["--profile"],
        metavar="NAME",
        is_eager=True,
        callback=_choose_profile,
        shell_complete=_complete_profile,
        help="Take settings from this profile; see ft-client help config.",
    ),
    EnvironmentOption(
        ["--server"],
        type=ServerType(),
        metavar="[tls://]HOST[:PORT]",
        default="localhost",
        show_default=True,
        help="The server to talk to. The port is 9000, or 9001 over TLS, unless another is given; an IPv6 address "
        "with a port is written [::1]:9000.",
    ),
    EnvironmentOption(
        ["--tls/--no-tls"],
        default=None,
        help="Encrypt with TLS, as tls:// before the server's name does too. --no-tls: do not, even with a server "
        "that was reached over TLS before.",
    ),
    EnvironmentOption(
        ["--ca-file"],
        metavar="FILE",
        type=click.Path(),
        help="TLS: trust the certificate authorities in this file (PEM), not those that this machine trusts.",
    ),
    EnvironmentOption(
        ["--pin"],
        type=PinsType(),
        help="TLS: trust the server with this key (sha256:...), whatever its certificate says; with --ca-file, both "
        "must be right.",
    ),
    EnvironmentOption(
        ["--trust-on-first-use"],
        is_flag=True,
        help="TLS: trust a server that is met for the first time, and from then on only with the key that it has "
        "now.",
    ),
    EnvironmentOption(
        ["--certificate"],
        metavar="FILE",
        type=click.Path(),
        help="TLS: prove who you are with this certificate (PEM), to a server that asks for one.",
    ),
    EnvironmentOption(
        ["--private-key"],
        metavar="FILE",
        type=click.Path(),
        help="The private key (PEM) of --certificate, unless it is in the same file.",
    ),
    EnvironmentOption(
        ["--passphrase-file"],
        metavar="FILE",
        type=click.Path(),
        help="The first line of this file is the passphrase of the private key. It may also be in the environment "
        "variable FT_PASSPHRASE, and there is no option for it itself: others could read it.",
    ),
    EnvironmentOption(
        ["--passphrase-command"],
        metavar="COMMAND",
        help="The first line that this command prints is the passphrase of the private key.",
    ),
    EnvironmentOption(["-4", "--ipv4"], is_flag=True, help="Use IPv4 only."),
    EnvironmentOption(["-6", "--ipv6"], is_flag=True, help="Use IPv6 only."),
    EnvironmentOption(
        ["--connect-timeout"],
        type=SecondsType(),
        metavar="SECONDS",
        default=10,
        show_default=True,
        help="Wait this long for a connection, each time.",
    ),
    EnvironmentOption(
        ["--timeout"],
        type=SecondsType(),
        metavar="SECONDS",
        default=60,
        show_default=True,
        help="Give up when nothing has moved for this long.",
    ),
    EnvironmentOption(
        ["--retry"],
        type=CountType(),
        metavar="N",
        default=2,
        show_default=True,
        help="Try up to N times more when a connection is refused or lost, or the server is busy, with growing "
        "waits between.",
    ),
    EnvironmentOption(
        ["--limit-rate"],
        type=RateType(),
        metavar="RATE",
        help="Move at most this many octets (bytes) a second in all: 500000, 512K, 1.5M; K is 1024.",
    ),
    EnvironmentOption(
        ["--require"],
        type=NamesType(PROMISES),
        metavar="PROMISE,...",
        help="Do nothing with a server that does not promise this. durable: files it has taken survive a power cut. "
        "verified: both ends compare checksums of each file.",
    ),
    EnvironmentOption(
        ["--json"],
        is_flag=True,
        help="For programs: write what happens to standard output as JSON, an object a line.",
    ),
    EnvironmentOption(["-v", "--verbose"], is_flag=True, help="Say what was done, a line a file."),
    EnvironmentOption(
        ["-q", "--quiet"], is_flag=True, help="Say nothing but errors: no progress bars."
    ),
)
"""Those that hold for every command."""

TRANSFER: Mapping[str, click.Option] = {
    find_key(each): each
    for each in (
        EnvironmentOption(
            ["--files-from"],
            metavar="FILE",
            type=click.File(errors="surrogateescape", lazy=False),
            callback=_read_names,
            help="Read more names from this file, one a line; - is standard input.",
        ),
        EnvironmentOption(
            ["--if-match"],
            metavar="ETAG",
            help="Do it only if the file on the server is still the one with this etag, which stat shows.",
        ),
        EnvironmentOption(
            ["--no-clobber"],
            is_flag=True,
            help="Replace nothing: a file that exists already is an error.",
        ),
        EnvironmentOption(
            ["--parents"],
            is_flag=True,
            help="Make directories that are missing on the server.",
        ),
        EnvironmentOption(
            ["-p", "--preserve"],
            is_flag=True,
            help="Keep times of modification, and permissions.",
        ),
        EnvironmentOption(
            ["--include"],
            multiple=True,
            metavar="PATTERN",
            help="In directories, take only files that match this pattern (or another --include): *.csv is about "
            "names, 2024/**/*.csv about whole paths.",
        ),
        EnvironmentOption(
            ["--exclude"],
            multiple=True,
            metavar="PATTERN",
            help="In directories, leave out files and directories that match this pattern; may be given several "
            "times.",
        ),
        EnvironmentOption(
            ["--follow"],
            is_flag=True,
            help="In directories, take what symbolic links point to; without it they are skipped, with a note.",
        ),
        EnvironmentOption(
            ["-j", "--connections"],
            type=CountType(1, 64),
            metavar="N",
            default=1,
            show_default=True,
            help="Use up to N connections (at most 64) for the files of 1 MiB and more in a directory.",
        ),
        EnvironmentOption(
            ["--no-resume"],
            is_flag=True,
            help="Do not go on where an earlier run of this command was cut off, and keep nothing for a later one.",
        ),
        EnvironmentOption(
            ["--durability"],
            type=click.Choice(["full", "none"]),
            default="full",
            show_default=True,
            help="full: fetched files survive a power cut. none: they may not, which is faster. (For what the "
            "server stores, see --require.)",
        ),
    )
}
"""Those that several commands have, by the names of their parameters."""

_OF_ONE_RUN = frozenset({"profile", "if_match", "files_from"})

PROFILED: tuple[click.Option, ...] = tuple(
    each for each in (*COMMON, *TRANSFER.values()) if find_key(each) not in _OF_ONE_RUN
)
"""Those that a profile may set."""


_OF_TREES = ("include", "exclude", "follow", "connections")


def check_recursion(recursive: bool) -> None:
    """Refuse options that would mean nothing: ``put * --exclude '*.key'`` would store what it should not.

    Raises:
        click.UsageError: what is about directories was typed, and that they are to be taken was not.
    """
    context = click.get_current_context()
    for name in _OF_TREES:
        is_typed = context.get_parameter_source(name) is ParameterSource.COMMANDLINE
        if is_typed and not recursive:
            raise click.UsageError(f"--{name} is about what is in directories: it goes with -r")


@dataclass(frozen=True, slots=True)
class Chosen:
    """The value of an option, and where it is from.

    Attributes:
        value: converted.
        source: in which of the places it was found.
    """

    value: Any
    source: ParameterSource


def choose_values(context: click.Context) -> dict[str, Chosen]:
    """Give the values of the common options for a command, by the names of parameters."""
    chosen: dict[str, Chosen] = {}
    for place in _list_contexts(context):
        for declared in COMMON:
            name = find_key(declared)
            source = place.get_parameter_source(name)
            if source is None:
                continue
            known = chosen.get(name)
            if known is None or _is_nearer(source, known.source):
                chosen[name] = Chosen(place.params.get(name), source)
    return chosen


def choose_shared_values(context: click.Context) -> dict[str, Chosen]:
    """Give the values that those of :data:`TRANSFER` have which a profile may set, where a command has them."""
    declared = [each for each in PROFILED if each not in COMMON]
    anyone = click.Command(None, params=list(declared))
    with anyone.make_context(None, [], context, default_map=context.default_map) as place:
        return {
            name: Chosen(place.params[name], source)
            for name in map(find_key, declared)
            if (source := place.get_parameter_source(name)) is not None
        }


def _list_contexts(context: click.Context) -> Iterator[click.Context]:
    """Give a command's context and those around it, the nearest first."""
    place: click.Context | None = context
    while place is not None:
        yield place
        place = place.parent


def _is_nearer(source: ParameterSource, other: ParameterSource) -> bool:
    """Tell whether an option before the command outweighs what was found for it after the command."""
    return source is ParameterSource.COMMANDLINE is not other


def describe_source(declared: click.Option, source: ParameterSource, profile: str) -> str:
    """Say where an option's value is from, for people. ``profile``: what to call the profile."""
    described: Mapping[ParameterSource, str] = {
        ParameterSource.COMMANDLINE: f"option --{find_name(declared)}",
        ParameterSource.ENVIRONMENT: f"environment {find_variable(declared)}",
        ParameterSource.DEFAULT_MAP: profile,
    }
    return described.get(source, "default")
