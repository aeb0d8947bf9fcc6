"""The options of ``ft-client`` itself, each declared once: for --help, the environment, profiles and ``config show``.

They may stand before the command or after it. What stands nearest to the file names wins::

    after the command > before the command > FT_<OPTION> in the environment > the profile > the default
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
from click.core import ParameterSource

from filetransfer.cli.profiles import Profile, Profiles, find_settings_file
from filetransfer.cli.values import PROMISES, NamesType, PinsType, RateType, ServerType


class EnvironmentOption(click.Option):
    """An option that may also be given in the environment: ``--connect-timeout`` as ``FT_CONNECT_TIMEOUT``."""

    def __init__(self, *arguments: Any, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.envvar = find_variable(self)


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
    profiles = Profiles(find_settings_file())
    try:
        profile = profiles.choose(name)
        context.default_map = read_profile(profile)
    except ValueError as error:
        raise click.UsageError(str(error), context) from error
    return profile.name or None


def _read_names(_: click.Context, __: click.Parameter, file: Any) -> tuple[str, ...]:
    """Give the names in a file, one a line; blank lines are none."""
    return tuple(name for line in file or () if (name := line.rstrip("\r\n")))


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
        help="Take settings from this profile; see ft-client config --help.",
    ),
    EnvironmentOption(
        ["--server"],
        type=ServerType(),
        default="localhost",
        show_default=True,
        help="The server; an IPv6 address with a port as [::1]:9000. Without a port it is 9000, or 9001 over TLS.",
    ),
    EnvironmentOption(
        ["--tls/--no-tls"],
        default=None,
        help="Speak over TLS, as tls:// before the server's name says, or in the clear even to a server that was "
        "reached over TLS before.",
    ),
    EnvironmentOption(
        ["--ca-file"],
        metavar="FILE",
        help="Over TLS, believe the authorities in this file (PEM) rather than those that this machine knows.",
    ),
    EnvironmentOption(
        ["--pin"],
        type=PinsType(),
        help="Over TLS, believe a server with this key, sha256:...; its certificate is not looked at, unless there "
        "is a --ca-file.",
    ),
    EnvironmentOption(
        ["--trust-on-first-use"],
        is_flag=True,
        help="Over TLS, believe a server that is not known yet, and from then on only by the key that it has now.",
    ),
    EnvironmentOption(
        ["--certificate"],
        metavar="FILE",
        help="Over TLS, show this certificate (PEM) to a server that asks for one.",
    ),
    EnvironmentOption(
        ["--private-key"],
        metavar="FILE",
        help="Its private key (PEM), unless it is in the same file.",
    ),
    EnvironmentOption(["-4", "--ipv4"], is_flag=True, help="Use IPv4 only."),
    EnvironmentOption(["-6", "--ipv6"], is_flag=True, help="Use IPv6 only."),
    EnvironmentOption(
        ["--connect-timeout"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=10.0,
        show_default=True,
        help="Give up when a try to connect takes so long.",
    ),
    EnvironmentOption(
        ["--timeout"],
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        default=60.0,
        show_default=True,
        help="Give up when nothing moves for so long.",
    ),
    EnvironmentOption(
        ["--retry"],
        type=click.IntRange(min=0),
        metavar="N",
        default=2,
        show_default=True,
        help="Try so many times more when a connection is refused or lost, with growing waits.",
    ),
    EnvironmentOption(
        ["--limit-rate"],
        type=RateType(),
        help="Move at most so many octets a second, in all; K, M and G are 1024 octets, and so on.",
    ),
    EnvironmentOption(
        ["--require"],
        type=NamesType(PROMISES),
        metavar="PROMISE,...",
        help="Do nothing on a server that does not promise this. durable: what it has taken survives a power cut. "
        "verified: digests are compared at both ends.",
    ),
    EnvironmentOption(
        ["--json"],
        is_flag=True,
        help="Say what happens as JSON on standard output, an object a line.",
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
            help="Take further names from this file, one a line; - is standard input.",
        ),
        EnvironmentOption(
            ["--if-match"],
            metavar="ETAG",
            help="Do it only if the file on the server has this etag; stat shows it.",
        ),
        EnvironmentOption(
            ["--no-clobber"], is_flag=True, help="Replace no file: one that exists is refused."
        ),
        EnvironmentOption(
            ["--parents"], is_flag=True, help="Make the directories on the server that are missing."
        ),
        EnvironmentOption(
            ["-p", "--preserve"], is_flag=True, help="Keep the time of modification and the mode."
        ),
        EnvironmentOption(
            ["--include"],
            multiple=True,
            metavar="PATTERN",
            help="Take only files of a tree that match this, or another --include. A pattern without a "
            "slash is about the last component of a path, one with a slash about all of it.",
        ),
        EnvironmentOption(
            ["--exclude"],
            multiple=True,
            metavar="PATTERN",
            help="Leave out what of a tree matches this; of a directory, all that is in it.",
        ),
        EnvironmentOption(
            ["--follow"],
            is_flag=True,
            help="Take what symbolic links in a tree point to; otherwise they are skipped, with a note.",
        ),
        EnvironmentOption(
            ["-j", "--connections"],
            type=click.IntRange(min=1, max=64),
            metavar="N",
            default=1,
            show_default=True,
            help="Use up to N connections for the files of a tree that have 1 MiB or more.",
        ),
        EnvironmentOption(
            ["--no-resume"],
            is_flag=True,
            help="Begin afresh, and keep nothing of what is cut off; otherwise the next run goes on "
            "with a file of 1 MiB or more where it was.",
        ),
        EnvironmentOption(
            ["--durability"],
            type=click.Choice(["full", "none"]),
            default="full",
            show_default=True,
            help="full: a power cut does not take a fetched file away. none: it may, and it is "
            "faster. What the server does is its own business: see info, and --require.",
        ),
    )
}
"""Those that several commands have, by the names of their parameters."""

_OF_ONE_RUN = frozenset({"profile", "if_match", "files_from"})

PROFILED: tuple[click.Option, ...] = tuple(
    each for each in (*COMMON, *TRANSFER.values()) if find_key(each) not in _OF_ONE_RUN
)
"""Those that a profile may set."""


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
