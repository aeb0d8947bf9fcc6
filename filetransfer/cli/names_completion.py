"""Completion of names on the server, for shells and for the prompt.

Whoever presses Tab does not wait long: a server that does not answer within a second is taken for one without names,
and what it answers is kept for half a minute, in ``$XDG_CACHE_HOME/ft-client``.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from filetransfer.cli.console import PROGRAM
from filetransfer.cli.invocation import Invocation
from filetransfer.errors import FileTransferError

if TYPE_CHECKING:
    from filetransfer.cli.settings import Settings
    from filetransfer.client import Session

REMOTE = "remote"
"""The type of a completion at the prompt that stands for names on the server."""

PATIENCE_SECONDS = 1.0
_KEPT_SECONDS = 30.0
_MAX_NAMES = 1000


class NameType(click.ParamType[Any]):
    """A name on the server."""

    name = "NAME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See :class:`click.ParamType`: as it came."""
        return value

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """See :class:`click.ParamType`."""
        return complete_names(ctx, incomplete)


class LocationType(NameType):
    """A name here, or behind a colon one on the server."""

    name = "LOCATION"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """See :class:`click.ParamType`."""
        profile, colon, path = incomplete.partition(":")
        if not colon or "/" in profile:
            return [CompletionItem(incomplete, type="file")]
        return complete_names(ctx, path, profile)


class CommandNameType(NameType):
    """The name of a command."""

    name = "COMMAND"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """See :class:`click.ParamType`."""
        return click.Group.shell_complete(_find_program(ctx), ctx.find_root(), incomplete)


def _find_program(context: click.Context) -> click.Group:
    program = context.find_root().command
    assert isinstance(program, click.Group)  # noqa: S101
    return program


def complete_names(
    context: click.Context, incomplete: str, profile: str | None = None
) -> list[CompletionItem]:
    """Give the names on a server that begin so; at the prompt, what says that the open session is to be asked.

    Args:
        context: of the command.
        incomplete: the beginning of a name.
        profile: that stands before a colon before it, empty for none; None where there is no colon.
    """
    prefix = "" if profile is None else f"{profile}:"
    invocation = context.find_object(Invocation)
    if invocation is None or not invocation.is_in_conversation:
        names = find_names(context, incomplete, profile)
        return [CompletionItem(prefix + name) for name in names]
    if profile:
        # It may be another server's.
        return []
    return [CompletionItem(incomplete, type=REMOTE, prefix=prefix)]


def find_names(context: click.Context, incomplete: str, profile: str | None = None) -> list[str]:
    """Give the names on the server that begin so; none when it does not answer. ``profile``: of another server."""
    from dataclasses import replace

    from filetransfer.cli.locations import type_profile
    from filetransfer.cli.settings import choose_settings

    try:
        if profile:
            typed = type_profile(context, profile)
            context = context.command.make_context(
                context.info_name, typed, context.parent, resilient_parsing=True
            )
        settings = choose_settings(context)
    except (click.ClickException, KeyError):
        return []
    settings = replace(
        settings,
        retries=0,
        connect_timeout_seconds=PATIENCE_SECONDS,
        timeout_seconds=PATIENCE_SECONDS,
    )
    directory = incomplete.rpartition("/")[0]
    cache = Cache(f"{settings.server} {directory}")
    names = cache.read()
    if names is None:
        names = _ask(settings, directory)
        cache.write(names)
    return [name for name in names if name.startswith(incomplete)]


class Cache:
    """What was asked a moment ago.

    Args:
        subject: what it is about.
    """

    def __init__(self, subject: str) -> None:
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        key = hashlib.sha256(subject.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        self._file = Path(home).expanduser() / PROGRAM / f"names-{key}.json"

    def read(self) -> list[str] | None:
        """Give the names; None when they are not known, or too old."""
        try:
            if not 0 <= time.time() - self._file.stat().st_mtime < _KEPT_SECONDS:
                return None
            names = json.loads(self._file.read_text())
        except (OSError, ValueError):
            return None
        return names if isinstance(names, list) else None

    def write(self, names: Sequence[str]) -> None:
        """Keep names, if there is a place for them."""
        part = self._file.with_suffix(f".{os.getpid()}")
        try:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            part.write_text(json.dumps(list(names)))
            part.replace(self._file)
        except OSError:
            return


def _ask(settings: Settings, directory: str) -> list[str]:
    from filetransfer.cli.console import Console, Verbosity
    from filetransfer.cli.running import run

    names: list[str] = []

    async def act() -> int:
        session = settings.begin_session()
        try:
            names.extend(await list_names(session, directory))
        except (FileTransferError, OSError):
            pass
        finally:
            await session.abort()
        return 0

    run(act, Console(Verbosity.QUIET, str(settings.server)))
    return names


async def list_names(session: Session, directory: str) -> list[str]:
    """Give the first names in a directory, those of directories with a slash behind them. Raises FileTransferError."""
    names = []
    async for entry in session.list(directory or None):
        names.append(entry.path + ("/" if entry.kind == "directory" else ""))
        if len(names) == _MAX_NAMES:
            break
    return names
