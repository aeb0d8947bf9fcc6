"""Making one tree as another: what ``sync`` does."""

from __future__ import annotations

from dataclasses import replace

from filetransfer.cli.console import printable
from filetransfer.cli.exit_status import ExitStatus, combine, find_status
from filetransfer.cli.invocation import Work
from filetransfer.cli.locations import Location
from filetransfer.cli.trees import TreeWatcher, join
from filetransfer.client.sync import Direction, Syncing, plan_sync, sync
from filetransfer.client.trees import Step


async def sync_trees(work: Work, source: Location, target: Location, syncing: Syncing) -> int:
    """Make the target as the source; gives the status."""
    direction, here, there = _arrange(source, target)
    work.keeps_parts = syncing.resume
    watcher = TreeWatcher(work, source.path, target.path)
    syncing_trees = sync(work.session, here, there, direction, syncing, watcher)
    return await watcher.watch(str(source), syncing_trees)


async def show_plan(
    work: Work, source: Location, target: Location, syncing: Syncing, *, only_compares: bool
) -> int:
    """Say what would be done, and do nothing; gives the status: one of its own when the trees are compared."""
    direction, here, there = _arrange(source, target)
    if only_compares:
        syncing = replace(syncing, delete=True, max_delete=None)
    statuses: list[int] = []
    counts = {"differs": 0, "same": 0}

    async def show() -> None:
        async for step in plan_sync(work.session, here, there, direction, syncing):
            if step.action == "keep":
                counts["same"] += 1
            elif step.error is not None:
                statuses.append(find_status(step.error))
                work.console.complain_about(
                    work.command, join(source.path, step.entry.path), step.error
                )
            elif step.action == "skip":
                work.console.skip(work.command, join(source.path, step.entry.path), step.reason)
            else:
                counts["differs"] += 1
                _show_step(work, step, target)

    status = await work.attempt(str(source), show())
    if status or statuses:
        return status or combine(statuses, len(statuses) + sum(counts.values()))
    return ExitStatus.INTEGRITY if only_compares and counts["differs"] else ExitStatus.DONE


def _show_step(work: Work, step: Step, target: Location) -> None:
    verb = {
        "make-directory": "make",
        "send": "send" if target.is_remote else "fetch",
        "remove": "delete",
    }[step.action]
    path = step.entry.path
    slash = "/" if step.entry.kind == "directory" else ""
    work.console.show(
        f"{verb} {printable(path)}{slash}", {"action": verb, "subject": path, "done": False}
    )


def _arrange(source: Location, target: Location) -> tuple[Direction, str, str]:
    """Give the direction, the path here and the path on the server."""
    if target.is_remote:
        return "to-server", source.path, target.path
    return "from-server", target.path, source.path
