"""``ft-client digest``: digests of files on the server, in the format of ``sha256sum``."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from typing import Any

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import printable
from filetransfer.cli.digest_lists import Listed, format_line, read_list
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.names_completion import NameType
from filetransfer.cli.options import option
from filetransfer.errors import DigestMismatch

STANDARD_INPUT = "-"


@click.command(
    cls=ClientCommand,
    short_help="Print or check digests of files on the server.",
    examples=[
        "ft-client digest report.csv",
        "ft-client digest '2024/**/*.csv' > SHA256SUMS",
        "sha256sum *.csv | ft-client digest --check -",
    ],
)
@click.argument("names", metavar="NAME...", nargs=-1, required=True, type=NameType())
@option(
    "--algorithm",
    metavar="NAME",
    default="sha256",
    show_default=True,
    help="sha256, xxh3-128, or another that the server knows.",
)
@option(
    "--check",
    is_flag=True,
    help="Read digests from each NAME, a file here (- is standard input), and compare.",
)
@click.pass_obj
def digest(invocation: Invocation, names: tuple[str, ...], algorithm: str, check: bool) -> int:
    """Print the digest of each NAME on the server, as sha256sum does; or check such a list.

    The server reads the file for it, unless it has kept its digest: no octet is moved. With --check
    each name in the list is a name on the server; the exit status is 21 when a digest differs.
    """
    if check:
        return _check(invocation, names)

    async def show_one(work: Work, name: str) -> None:
        digested = await work.session.digest(name, algorithm=algorithm)
        text = format_line(name, digested.digest[algorithm])
        work.console.show(
            text,
            {
                "action": "digest",
                "subject": name,
                "digest": digested.digest,
                "size": digested.size,
                "etag": digested.etag,
            },
        )

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import transfer_all, transfer_matching

        def show_all(found: list[str]) -> Coroutine[Any, Any, int]:
            return transfer_all(
                work, found, lambda name: name, lambda name: show_one(work, name), at_once=1
            )

        return await transfer_matching(work, names, show_all)

    return invocation.perform("digest", act)


def _check(invocation: Invocation, lists: tuple[str, ...]) -> int:
    try:
        listed = [each for name in lists for each in _read(name)]
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    except OSError as error:
        raise click.UsageError(f"{error.filename}: {error.strerror}") from error

    async def check_one(work: Work, each: Listed) -> None:
        digested = await work.session.digest(each.name, algorithm=each.algorithm)
        if digested.digest.get(each.algorithm) != each.digest:
            raise DigestMismatch("the digest differs")
        work.console.show(
            f"{printable(each.name)}: OK",
            {"action": "digest", "subject": each.name, "digest": digested.digest, "matches": True},
        )

    async def act(work: Work) -> int:
        from filetransfer.cli.transfers import transfer_all

        return await transfer_all(
            work, listed, lambda each: each.name, lambda each: check_one(work, each), at_once=1
        )

    return invocation.perform("digest", act)


def _read(name: str) -> list[Listed]:
    if name == STANDARD_INPUT:
        return read_list(sys.stdin, name)
    with open(name, encoding="utf-8", errors="surrogateescape") as lines:
        return read_list(lines, name)
