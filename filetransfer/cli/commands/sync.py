"""``ft-client sync``: make one tree as another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.locations import LocationsCommand, parse_location
from filetransfer.cli.names_completion import LocationType
from filetransfer.cli.options import TRANSFER, option
from filetransfer.cli.values import CountType

if TYPE_CHECKING:
    from filetransfer.store.stable import Durability


@click.command(
    cls=LocationsCommand,
    short_help="Make one tree as another is.",
    examples=[
        "ft-client sync photos :photos",
        "ft-client sync -n --delete photos work:photos",
        "ft-client sync --delete --max-delete 100 :photos /srv/photos",
        "ft-client sync --check --checksum photos :photos",
    ],
    params=[
        TRANSFER["include"],
        TRANSFER["exclude"],
        TRANSFER["follow"],
        TRANSFER["connections"],
        TRANSFER["preserve"],
        TRANSFER["no_resume"],
        TRANSFER["durability"],
    ],
)
@click.argument("locations", metavar="SOURCE TARGET", nargs=2, required=True, type=LocationType())
@option("--checksum", is_flag=True, help="Compare digests, rather than times of modification.")
@option("--check", is_flag=True, help="Compare only: each difference is told, the status is 21.")
@option("--delete", is_flag=True, help="Delete in TARGET what SOURCE has not.")
@option(
    "--max-delete",
    type=CountType(),
    metavar="N",
    help="With more than N files to delete, do nothing at all; the status is 25.",
)
@option("-n", "--dry-run", is_flag=True, help="Show what would be done.")
@click.pass_obj
def sync(
    invocation: Invocation,
    locations: tuple[str, str],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    connections: int,
    preserve: bool,
    no_resume: bool,
    durability: Durability,
    checksum: bool,
    check: bool,
    delete: bool,
    max_delete: int | None,
    dry_run: bool,
) -> int:
    """Make the directory TARGET as the directory SOURCE is, one of which is on the server.

    What is on the server begins with a colon, or with the name of a profile and a colon. Files are
    sent that are missing in TARGET, or whose size or time of modification differs; times are kept,
    and with -p modes. Nothing is deleted unless --delete is given, and nothing at all is done when
    SOURCE holds no file. What --exclude leaves out is neither sent nor deleted.
    """
    source, target = (parse_location(each) for each in locations)
    if source.is_remote == target.is_remote:
        where = "on the server" if source.is_remote else "here"
        raise click.UsageError(f"both are {where}: one of them begins with a colon, please")

    async def act(work: Work) -> int:
        from filetransfer.cli.syncing import show_plan, sync_trees
        from filetransfer.client.selection import Selection
        from filetransfer.client.sync import Syncing

        syncing = Syncing(
            Selection(include, exclude),
            follows_links=follow,
            preserve=preserve or "modified",
            by_digest=checksum,
            delete=delete,
            max_delete=max_delete,
            durability=durability,
            resume=not no_resume,
            connections=connections,
        )
        if check or dry_run:
            return await show_plan(work, source, target, syncing, only_compares=check)
        return await sync_trees(work, source, target, syncing)

    return invocation.perform("sync", act)
