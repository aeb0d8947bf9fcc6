"""Comparing two trees: what has to be done so that one becomes as the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from filetransfer.client.walking import Leaf


@dataclass(slots=True)
class Plan:
    """What makes the target as the source.

    Attributes:
        directories: to make, those on the way first.
        files: to transfer: missing in the target, or different there.
        deletions: what the target has and the source has not, in the target's order.
        count: files of the source.
    """

    directories: list[Leaf] = field(default_factory=list)
    files: list[Leaf] = field(default_factory=list)
    deletions: list[Leaf] = field(default_factory=list)
    count: int = 0


async def compare(
    source: Iterable[Leaf],
    target: Iterable[Leaf],
    differ: Callable[[Leaf], Awaitable[bool]] | None = None,
) -> Plan:
    """Compare two trees.

    Args:
        source: as it is to be.
        target: as it is.
        differ: asked of each file of the source that has its size in the target whether the contents differ; without
            it, times of modification tell.
    """
    plan = Plan()
    there = {leaf.path: leaf for leaf in target}
    here = set()
    for leaf in source:
        here.add(leaf.path)
        plan.count += not leaf.is_directory
        other = there.get(leaf.path)
        if other is not None and other.is_directory == leaf.is_directory:
            if not leaf.is_directory and await _is_different(leaf, other, differ):
                plan.files.append(leaf)
        elif leaf.is_directory:
            plan.directories.append(leaf)
        else:
            plan.files.append(leaf)
    plan.deletions = [leaf for path, leaf in there.items() if path not in here]
    return plan


async def _is_different(
    leaf: Leaf, other: Leaf, differ: Callable[[Leaf], Awaitable[bool]] | None
) -> bool:
    if leaf.size != other.size:
        return True
    if differ is not None:
        return await differ(leaf)
    return leaf.modified != other.modified
