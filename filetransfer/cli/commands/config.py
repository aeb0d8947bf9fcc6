"""``ft-client config``: settings, and where each is from."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import Console, printable
from filetransfer.cli.invocation import Invocation
from filetransfer.cli.options import (
    COMMON,
    PROFILED,
    Chosen,
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
@click.pass_context
def config(context: click.Context, action: str) -> int:
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
    invocation = context.find_object(Invocation)
    assert invocation is not None  # noqa: S101 - the group sets it
    _show(invocation.console, choose_values(context))
    return 0


def _show(console: Console, chosen: dict[str, Chosen]) -> None:
    profiles = Profiles(find_settings_file())
    profile = profiles.choose(chosen["profile"].value)
    for declared in COMMON:
        name = find_name(declared)
        value = chosen[find_key(declared)].value
        line = profile.find_line(name) if declared in PROFILED and name in profile.values else 0
        where = f"profile {profile.name}, line {line} of {profiles.path}"
        source = describe_source(declared, chosen[find_key(declared)].source, where)
        text = f"{name} = {_format(value)}"
        console.show(
            f"{printable(text):<40} # {printable(source)}",
            {"action": "config", "setting": name, "value": _simplify(value), "source": source},
        )


def _simplify(value: object) -> object:
    if isinstance(value, tuple):
        return list(value)
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _format(value: object) -> str:
    """Give a value as TOML has it."""
    import json

    return '""' if value is None else json.dumps(_simplify(value), ensure_ascii=False)
