"""``ft-client info``: what is known of the server."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.promises import FEATURES, is_promised
from filetransfer.errors import Unsupported

if TYPE_CHECKING:
    from filetransfer.client import ServerInfo

_TRIPS = 5


@click.command(
    cls=ClientCommand,
    short_help="Show what is known of the server.",
    examples=[
        "ft-client info",
        "ft-client info --server files.example.org --json",
    ],
)
@click.pass_obj
def info(invocation: Invocation) -> int:
    """Show what is known of the server: version, features, limits, promises, TLS, round-trip time."""
    is_private = invocation.settings.trust.is_tls

    async def show(work: Work) -> None:
        known = await work.session.open()
        seconds = await _measure(work)
        promised = [each for each in FEATURES if is_promised(work.session, each)]
        lines = [
            ("server", work.session.server),
            ("version", f"{known.version} of the protocol"),
            ("software", known.software or "does not say"),
            ("features", _join(known.features)),
            ("promises", _join(promised)),
            ("limits", _join(f"{name} {known.limits[name]}" for name in known.limits)),
            ("TLS", "yes" if is_private else "no"),
            ("round trip", f"{seconds * 1000:.2f} ms"),
        ]
        text = "\n".join(f"{label + ':':<11} {printable(value)}" for label, value in lines)
        work.console.show(text, describe(known, promised, seconds, is_private))

    async def act(work: Work) -> int:
        return await work.attempt("", show(work))

    return invocation.perform("info", act)


async def _measure(work: Work) -> float:
    """Give the least of several round-trip times, in seconds."""
    times = []
    for _ in range(_TRIPS):
        began_at = time.perf_counter()
        with suppress(Unsupported):
            # Servers older than HELP say so, and that takes as long.
            await work.session.help()
        times.append(time.perf_counter() - began_at)
    return min(times)


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted(words)) or "none"


def describe(
    known: ServerInfo, promised: Sequence[str], seconds: float, is_private: bool
) -> dict[str, object]:
    """Say for programs what is known of a server."""
    return {
        "action": "info",
        "protocol": known.version,
        "software": known.software or None,
        "features": sorted(known.features),
        "limits": known.limits,
        "mechanisms": list(known.mechanisms),
        "promises": list(promised),
        "tls": is_private,
        "round_trip_seconds": round(seconds, 6),
    }
