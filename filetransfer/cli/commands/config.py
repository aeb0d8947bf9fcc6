"""``ft-client config``: settings, and where each is from."""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.core import ParameterSource

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import Console, printable
from filetransfer.cli.invocation import Invocation
from filetransfer.cli.options import (
    COMMON,
    PROFILED,
    Chosen,
    choose_shared_values,
    choose_values,
    describe_source,
    find_key,
    find_name,
)
from filetransfer.cli.profiles import Profiles, find_settings_file


@click.command(
    cls=ClientCommand,
    short_help="Show settings, and where they are from.",
    examples=[
        "ft-client config show",
        "ft-client config show --profile work",
    ],
)
@click.argument("action", metavar="show", type=click.Choice(["show"]))
@click.pass_obj
@click.pass_context
def config(context: click.Context, invocation: Invocation, action: str) -> int:
    """Show every setting as a profile would have it, and where it is from.

    Settings are taken from the options of the command line, from the environment (FT_SERVER for
    --server, FT_CONNECT_TIMEOUT for --connect-timeout, and so on), from a profile, and else are
    the defaults, in this order.

    Profiles are in ~/.config/ft-client/config.toml, or in ft-client/config.toml below
    $XDG_CONFIG_HOME. Their keys are the long names of options:

    \b
      default-profile = "work"
      [profiles.work]
      server = "files.example.org"
      timeout = 30

    The profile is the one that --profile or FT_PROFILE names, or else the default one. A file
    with a mistake in it is refused, with the line.
    """  # noqa: D301 - click knows the character
    return invocation.tell(
        "config",
        lambda console: _show(console, choose_values(context), choose_shared_values(context)),
    )


def _show(console: Console, common: Mapping[str, Chosen], shared: Mapping[str, Chosen]) -> None:
    profiles = Profiles(find_settings_file())
    profile = profiles.choose(common["profile"].value)
    chosen = {**common, **shared}
    for declared in (*COMMON, *(each for each in PROFILED if each not in COMMON)):
        name = find_name(declared)
        value, source = chosen[find_key(declared)].value, chosen[find_key(declared)].source
        if name in profile.values:
            where = f"profile {profile.name}, line {profile.find_line(name)} of {profiles.path}"
        elif name == "profile" and value and source is ParameterSource.DEFAULT:
            where = f"default-profile, line {profiles.find_default_line()} of {profiles.path}"
            source = ParameterSource.DEFAULT_MAP
        else:
            where = ""
        described = describe_source(declared, source, where)
        console.show(
            f"{printable(f'{name} = {_format(value)}'):<40} # {printable(described)}",
            {"action": "config", "setting": name, "value": _simplify(value), "source": described},
        )


def _simplify(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _format(value: object) -> str:
    """Give a value as TOML has it."""
    import json

    return '""' if value is None else json.dumps(_simplify(value), ensure_ascii=False)
