"""``ft-client cp``: copy files here and there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from filetransfer.cli.exit_status import ExitStatus
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.locations import Location, LocationsCommand, parse_location
from filetransfer.cli.names_completion import LocationType
from filetransfer.cli.options import TRANSFER, check_recursion, option

if TYPE_CHECKING:
    from filetransfer.cli.moving import Pair
    from filetransfer.store.stable import Durability


@click.command(
    cls=LocationsCommand,
    short_help="Copy files to the server, from it, or on it.",
    examples=[
        "ft-client cp report.csv :2024/report.csv",
        "ft-client cp *.csv :2024/",
        "ft-client cp ':2024/*.csv' figures",
        "ft-client cp -rp photos :backup/",
        "ft-client cp work:notes.txt work:notes.old",
        "ft-client cp -r :photos :archive/",
    ],
    params=[
        TRANSFER["include"],
        TRANSFER["exclude"],
        TRANSFER["follow"],
        TRANSFER["connections"],
        TRANSFER["parents"],
        TRANSFER["preserve"],
        TRANSFER["no_clobber"],
        TRANSFER["no_resume"],
        TRANSFER["durability"],
    ],
)
@click.argument(
    "locations", metavar="SOURCE... TARGET", nargs=-1, required=True, type=LocationType()
)
@option("-r", "--recursive", is_flag=True, help="Copy directories with all that is in them.")
@click.pass_obj
def cp(
    invocation: Invocation,
    locations: tuple[str, ...],
    recursive: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    connections: int,
    parents: bool,
    preserve: bool,
    no_clobber: bool,
    no_resume: bool,
    durability: Durability,
) -> int:
    """Copy each SOURCE to TARGET: to the server, from it, or on it.

    What begins with a colon is on the server, and what begins with the name of a profile and a
    colon is on the server of that profile; all else is here (a local name with a colon in it is
    written ./a:b). Several sources need a directory as TARGET: one that exists here, or a name
    with a slash at its end on the server. What is copied on the server is not fetched, and keeps
    neither its time nor its mode.
    """
    check_recursion(recursive)
    *sources, target = [parse_location(each) for each in locations]
    paths = [each.path for each in sources]
    into = locations[-1].endswith(("/", ":"))
    _check_usage(sources, target, into, recursive)

    async def act(work: Work) -> int:
        from filetransfer.cli.moving import Getting, Putting, copy_files, get_files, put_files
        from filetransfer.cli.transfers import transfer_matching
        from filetransfer.cli.trees import Recursion, copy_trees, get_trees, put_trees
        from filetransfer.client.selection import Selection

        recursion = Recursion(Selection(include, exclude), follow, connections)
        if not sources[0].is_remote:
            putting = Putting(preserve, parents, no_clobber, resume=not no_resume)
            pairs = _pair_remote(paths, target, into)
            if recursive:
                return await put_trees(work, pairs, putting, recursion)
            return await put_files(work, pairs, putting)

        async def copy_found(found: list[str]) -> int:
            if target.is_remote:
                pairs = _pair_remote(found, target, into)
                if recursive:
                    return await copy_trees(work, pairs, recursion, not no_clobber, parents)
                return await copy_files(work, pairs, replace=not no_clobber, parents=parents)
            try:
                pairs = _pair_local(found, target.path)
            except ValueError as error:
                work.console.complain("cp", "", str(error))
                return ExitStatus.USAGE
            getting = Getting(durability, preserve, no_clobber, resume=not no_resume)
            if recursive:
                return await get_trees(work, pairs, getting, recursion)
            return await get_files(work, pairs, getting)

        return await transfer_matching(work, paths, copy_found, has_directories=recursive)

    return invocation.perform("cp", act)


def _check_usage(
    sources: Sequence[Location], target: Location, into: bool, recursive: bool
) -> None:
    if not sources:
        raise click.UsageError("a source and a target are needed")
    if len({each.is_remote for each in sources}) > 1:
        raise click.UsageError("the sources are here and on the server: one or the other, please")
    if not sources[0].is_remote and not target.is_remote:
        raise click.UsageError("both are here; what is on the server begins with a colon")
    if target.is_remote and not into and len(sources) > 1:
        raise click.UsageError(f"there are several sources: is it {target}/, with a slash?")


def _pair_remote(paths: Sequence[str], target: Location, into: bool) -> list[Pair]:
    if not into:
        return [(path, target.path) for path in paths]
    from filetransfer.cli.moving import choose_name

    return [(path, "/".join(filter(None, (target.path, choose_name(path))))) for path in paths]


def _pair_local(names: Sequence[str], target: str) -> list[Pair]:
    from filetransfer.cli.commands.get import choose_targets

    return choose_targets(names, target)
