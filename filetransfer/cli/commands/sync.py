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
@option("--checksum", is_flag=True, help="Compare checksums rather than times.")
@option(
    "--check",
    is_flag=True,
    help="Only compare: show each difference; the exit status is 21 if there is one.",
)
@option("--delete", is_flag=True, help="Delete what is in TARGET and not in SOURCE.")
@option(
    "--max-delete",
    type=CountType(),
    metavar="N",
    help="Do nothing at all if more than N files would be deleted; the exit status is 25.",
)
@option("-n", "--dry-run", is_flag=True, help="Only show what would be done.")
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
    """Make the directory TARGET the same as the directory SOURCE; one of them is on the server.

    What is on the server begins with a colon, or with the name of a profile and a colon. Files are
    sent that are missing in TARGET, or have another size or time of modification there; times are
    kept, and with -p permissions, too. Nothing is deleted unless --delete is given, and nothing at
    all is done when SOURCE holds no file. What --exclude leaves out is neither sent nor deleted.
    """
    source, target = (parse_location(each) for each in locations)
    if source.is_remote and target.is_remote:
        raise click.UsageError("both are on the server: one of them has to be here (see cp -r)")
    if not source.is_remote and not target.is_remote:
        raise click.UsageError("both are here: what is on the server begins with a colon")

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
