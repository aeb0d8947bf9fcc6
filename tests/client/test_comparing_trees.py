"""What has to be done so that a tree becomes as another is, compared with the obvious way to tell."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from filetransfer.client.local_trees import Found, Skipped
from filetransfer.client.sync import compare, hold_back, refuse_empty, settle
from filetransfer.client.trees import Step
from filetransfer.errors import NotFound, SourceEmpty, TooManyDeletions
from filetransfer.wire.messages import Entry

# A directory is a dict; a file is its size and its time; what is neither is None.
Tree = dict[str, Any]

# Such that what is in "a" does not come directly behind it in the order of the whole paths.
NAMES = st.sampled_from(["a", "a!", "a.b", "b", "é", "\U0001f600", "\uffee"])
FILES = st.tuples(st.integers(0, 1), st.integers(0, 1))
TREES = st.recursive(
    st.dictionaries(NAMES, FILES | st.none(), max_size=4),
    lambda trees: st.dictionaries(NAMES, FILES | st.none() | trees, max_size=4),
    max_leaves=12,
)


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Give the result of a coroutine that waits for nothing."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("it waits")


def collect(steps: AsyncIterator[Any]) -> list[Any]:
    async def work() -> list[Any]:
        return [step async for step in steps]

    result: list[Any] = drive(work())
    return result


async def give(found: Iterable[Any]) -> AsyncIterator[Any]:
    for each in found:
        yield each


def flatten(tree: Tree, prefix: str = "") -> list[Found]:
    """Give a tree as it is found, in the order that the protocol demands."""
    found: list[Found] = []
    for name, what in sorted(tree.items(), key=lambda item: item[0].encode()):
        path = prefix + name
        if what is None:
            found.append(Skipped(path, "a symbolic link"))
        elif isinstance(what, dict):
            found.append(Entry(path, "directory"))
            found += flatten(what, f"{path}/")
        else:
            found.append(Entry(path, "file", *what))
    return found


def find_parent(tree: Tree, path: str) -> tuple[Tree, str]:
    *parents, name = path.split("/")
    for parent in parents:
        tree = tree[parent]
        assert isinstance(tree, dict)
    return tree, name


def copy(tree: Tree) -> Tree:
    return {name: copy(what) if isinstance(what, dict) else what for name, what in tree.items()}


def take(steps: Collection[Step], target: Tree) -> Tree:
    """Take steps, one after the other, each of which must be possible."""
    target = copy(target)
    for step in steps:
        if step.action in ("skip", "keep"):
            continue
        parent, name = find_parent(target, step.entry.path)
        there = parent.get(name, ())
        if step.action == "remove":
            assert there != ()
            assert not (isinstance(there, dict) and there), "it is not empty"
            del parent[name]
        elif step.action == "make-directory":
            assert there == ()
            parent[name] = {}
        else:
            assert step.action == "send"
            assert there == () or isinstance(there, tuple)
            parent[name] = (step.entry.size, step.entry.modified)
    return target


def merge(source: Tree, target: Tree, delete: bool) -> Tree:
    """Give what is to come of it."""
    merged = {}
    for name in {*source, *target}:
        if name not in source:
            if not delete:
                merged[name] = target[name]
            continue
        one = source[name]
        other = target.get(name, ())
        is_alike = other == () or type(other) is type(one)
        if one is None or not (is_alike or delete):
            if other != ():
                merged[name] = other
        elif isinstance(one, dict):
            merged[name] = merge(one, other if isinstance(other, dict) else {}, delete)
        else:
            merged[name] = one
    return merged


@given(TREES, TREES, st.booleans())
def test_the_target_becomes_as_the_source(source: Tree, target: Tree, delete: bool) -> None:
    steps = collect(compare(give(flatten(source)), give(flatten(target)), delete=delete))
    expected = merge(source, target, delete)
    assert take(steps, target) == expected
    assert len({step.entry.path for step in steps if step.action == "send"}) == sum(
        step.action == "send" for step in steps
    )
    # What is the same is not sent, and a second time nothing is.
    again = collect(compare(give(flatten(source)), give(flatten(expected)), delete=delete))
    assert {step.action for step in again} <= {"keep", "skip"}
    # Nothing is removed before all else is done, but for what takes the place of what was removed.
    actions = [step.action for step in steps]
    if "remove" in actions:
        first = actions.index("remove")
        count = actions.count("remove")
        assert set(actions[first : first + count]) == {"remove"}


@given(TREES, TREES)
def test_digests_decide_where_the_sizes_are_the_same(source: Tree, target: Tree) -> None:
    steps = collect(compare(give(flatten(source)), give(flatten(target)), by_digest=True))
    for step in steps:
        if step.action != "compare":
            assert step.action != "keep"
            continue
        parent, name = find_parent(target, step.entry.path)
        assert parent[name][0] == step.entry.size


def test_directories_may_be_made_for_what_is_in_them_only() -> None:
    source = {"a": {"b": {"c": (1, 1)}}, "empty": {}}
    steps = collect(compare(give(flatten(source)), give(()), has_directories=False))
    assert [(step.action, step.entry.path) for step in steps] == [("send", "a/b/c")]


def test_what_is_in_the_way_is_told_once() -> None:
    source = {"a": {"b": (1, 1), "c": {"d": (1, 1)}}, "e": (1, 1), "f": (1, 1)}
    target = {"a": (1, 1), "e": {"x": (1, 1)}, "f": None}
    steps = collect(compare(give(flatten(source)), give(flatten(target))))
    assert [step.entry.path for step in steps] == ["a", "e", "f"]
    assert all("is in its place in the target" in str(step.error) for step in steps)


def test_an_empty_source() -> None:
    found = flatten({"a": {"b": {}}, "c": None})
    with pytest.raises(SourceEmpty):
        collect(refuse_empty(give(found)))
    found = flatten({"a": {"b": {}}, "c": (0, 0), "d": (0, 0)})
    assert collect(refuse_empty(give(found))) == found


def test_more_deletions_than_may_be() -> None:
    steps = collect(
        compare(give(flatten({})), give(flatten({"a": {"b": (1, 1), "c": None}})), delete=True)
    )
    assert collect(hold_back(give(steps), 2)) == steps
    with pytest.raises(TooManyDeletions, match="2 files would be deleted, more than 1"):
        collect(hold_back(give(steps), 1))
    with pytest.raises(TooManyDeletions, match="1 file would be deleted, more than 0"):
        collect(hold_back(give(steps[:1]), 0))


def test_comparisons_are_settled_in_order() -> None:
    asked: dict[str, Deferred[bool]] = {}

    async def differ(entry: Entry) -> bool:
        asked[entry.path] = Deferred()
        return await asked[entry.path]

    steps = [
        Step("compare", Entry("a", "file")),
        Step("send", Entry("b", "file")),
        Step("compare", Entry("c", "file")),
        Step("compare", Entry("d", "file")),
    ]
    settled: list[Step] = []

    async def work() -> None:
        settled.extend([step async for step in settle(give(steps), differ)])

    done = Deferred.fromCoroutine(work())
    refusal = NotFound("gone")
    asked["d"].errback(refusal)
    asked["c"].callback(True)
    assert settled == []
    asked["a"].callback(False)
    assert done.called
    assert [step.action for step in settled] == ["keep", "send", "send", "skip"]
    assert settled[-1].error is refusal
