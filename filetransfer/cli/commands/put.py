"""``ft-client put``: store files on the server."""

from __future__ import annotations

import click

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.invocation import Invocation, Work
from filetransfer.cli.options import TRANSFER, check_recursion, option

STANDARD_INPUT = "-"


@click.command(
    cls=ClientCommand,
    short_help="Store files on the server.",
    examples=[
        "ft-client put report.csv figures/map.png",
        "ft-client put report.csv --as 2024/report.csv",
        "ft-client put -rp photos --exclude '*.tmp'",
        "tar c notes | ft-client put - notes.tar",
    ],
    params=[
        TRANSFER["files_from"],
        TRANSFER["include"],
        TRANSFER["exclude"],
        TRANSFER["follow"],
        TRANSFER["connections"],
        TRANSFER["parents"],
        TRANSFER["preserve"],
        TRANSFER["no_clobber"],
        TRANSFER["if_match"],
        TRANSFER["no_resume"],
    ],
)
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path())
@option("--as", "name", metavar="NAME", help="Store the one FILE under this name.")
@option("-r", "--recursive", is_flag=True, help="Store directories with all that is in them.")
@click.pass_obj
def put(
    invocation: Invocation,
    files: tuple[str, ...],
    name: str | None,
    recursive: bool,
    files_from: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    follow: bool,
    connections: int,
    parents: bool,
    preserve: bool,
    no_clobber: bool,
    if_match: str | None,
    no_resume: bool,
) -> int:
    """Store each FILE on the server, under its own name: figures/map.png as map.png.

    A file of that name on the server is replaced, whole and at once. - is standard input, followed
    by the NAME to store it under. With -r, a directory keeps its name, and --as gives it another;
    of . the contents are stored.
    """
    check_recursion(recursive)
    files = (*files, *files_from)
    if not files:
        raise click.UsageError("Missing argument 'FILE...'.")
    if name is None and len(files) == 2 and files[0] == STANDARD_INPUT:
        name = files[1]
        files = files[:1]
    if name is not None and len(files) > 1:
        raise click.UsageError("--as names one file; there are several")
    if if_match is not None and len(files) > 1:
        raise click.UsageError("--if-match is of one file; there are several")
    if name is None and STANDARD_INPUT in files:
        raise click.UsageError("standard input has no name: say one behind it")
    from filetransfer.cli.moving import Putting, choose_name, put_files

    names = [name if name is not None else choose_name(file) for file in files]
    _refuse_twins(files, names)
    if "" in names and not recursive:
        raise click.UsageError(f"{files[names.index('')]!r} is a directory: -r sends all in it")

    pairs = list(zip(files, names, strict=True))
    putting = Putting(preserve, parents, no_clobber, if_match, resume=not no_resume)
    if not recursive:
        return invocation.perform("put", lambda work: put_files(work, pairs, putting))

    async def put_all(work: Work) -> int:
        from filetransfer.cli.trees import Recursion, put_trees
        from filetransfer.client.selection import Selection

        recursion = Recursion(Selection(include, exclude), follow, connections)
        return await put_trees(work, pairs, putting, recursion)

    return invocation.perform("put", put_all)


def _refuse_twins(files: tuple[str, ...], names: list[str]) -> None:
    first: dict[str, str] = {}
    for file, name in zip(files, names, strict=True):
        if first.setdefault(name, file) != file:
            raise click.UsageError(
                f"{first[name]!r} and {file!r} would have the same name on the server"
            )
