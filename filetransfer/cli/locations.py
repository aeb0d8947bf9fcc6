"""Where a file is, as ``cp`` and ``sync`` take it: here, or on a server.

report.csv              a local path
./a:b  /tmp/a:b         a local path, too: there is a slash before the first colon
:2024/report.csv        on the server that --server, the environment or the profile names
work:2024/report.csv    on the server of the profile "work"
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.profiles import Profiles, find_settings_file


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file or a tree is.

    Attributes:
        path: there; empty for the root of a server.
        profile: of the server; empty for the one that is set, None for this machine.
    """

    path: str
    profile: str | None

    @property
    def is_remote(self) -> bool:
        """Whether it is on a server."""
        return self.profile is not None

    def __str__(self) -> str:
        return self.path if self.profile is None else f"{self.profile}:{self.path}"


def parse_location(text: str) -> Location:
    """Read a location."""
    profile, colon, path = text.partition(":")
    if not colon or "/" in profile:
        return Location(text, None)
    return Location(path.rstrip("/"), profile)


class LocationsCommand(ClientCommand):
    """A command with an argument ``locations``; a profile that one of them names is used, with its server."""

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """See :class:`click.Command`."""
        context = super().make_context(info_name, list(args), parent, **extra)
        profile = _find_profile(context)
        if not profile:
            return context
        typed = type_profile(context, profile)
        return super().make_context(info_name, [*args, *typed], parent, **extra)


def _find_profile(context: click.Context) -> str:
    """Give the profile that locations name; empty for none."""
    parsed = [parse_location(each) for each in context.params.get("locations") or ()]
    profiles = {each.profile for each in parsed if each.profile is not None}
    if len(profiles) > 1:
        raise click.UsageError("only one server can be spoken with at a time", context)
    return profiles.pop() if profiles else ""


def type_profile(context: click.Context, profile: str) -> list[str]:
    """Give the options for a profile that a location names, and for its server. Raises click.UsageError."""
    # It was typed, so it outweighs what the environment says of the server.
    return ["--profile", profile, "--server", _find_server(context, profile)]


def _find_server(context: click.Context, profile: str) -> str:
    try:
        values = Profiles(find_settings_file()).choose(profile).values
    except ValueError as error:
        text = f"{error}; a local name with a colon in it is written ./{profile}:..."
        raise click.UsageError(text, context) from error
    if "server" not in values:
        raise click.UsageError(f"the profile {profile!r} names no server", context)
    return str(values["server"])
