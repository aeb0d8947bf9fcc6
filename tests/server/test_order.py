"""Which requests may be under way together: by cases, and against a model that compares every two paths."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filetransfer.server.order import ROOT, PathsInProgress, list_paths, list_written_paths
from filetransfer.wire.messages import Change, Get, Help, Put, Request, Summary, Unknown


@pytest.mark.parametrize(
    ("request_", "paths", "written"),
    [
        (Put("a", 1), ("a",), ("a",)),
        (Get("a"), ("a",), ()),
        (Summary("a"), ("a",), ()),
        (Change("a", "b"), ("a", "b"), ("a", "b")),
        (Help(), (), ()),
        (Unknown(7), (), ()),
    ],
)
def test_paths_of_a_request(
    request_: Request, paths: tuple[str, ...], written: tuple[str, ...]
) -> None:
    assert list_paths(request_) == paths
    assert list_written_paths(request_) == written


@pytest.mark.parametrize(
    ("written", "path", "is_conflict"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a", "a/b", True),
        ("a/b", "a", True),
        ("a/b", "a/c", False),
        ("a/b/c", "a", True),
        ("a", "a/b/c", True),
        ("a", "ab", False),
        ("ab", "a", False),
        ("a", "b/a", False),
        ("a/b", "a/bc", False),
        ("a", "", False),
        ("", "a", False),
        ("", "", True),
        ("/a", "", True),
        ("a/", "a", True),
    ],
)
def test_two_paths(written: str, path: str, is_conflict: bool) -> None:
    in_progress = PathsInProgress()
    in_progress.add([written])
    assert in_progress.conflicts_with([path]) is is_conflict
    assert in_progress.conflicts_with(["other", path]) is is_conflict
    in_progress.remove([written])
    assert not in_progress.conflicts_with([path])


def test_a_path_that_two_requests_write_is_free_when_both_have_ended() -> None:
    in_progress = PathsInProgress()
    in_progress.add(["a/b"])
    in_progress.add(["a/b", "a/c"])
    in_progress.remove(["a/b"])
    assert in_progress.conflicts_with(["a/b"])
    assert in_progress.conflicts_with(["a"])
    in_progress.remove(["a/b", "a/c"])
    assert not in_progress.conflicts_with(["a/b"])
    assert not in_progress.conflicts_with(["a"])


def test_nothing_conflicts_with_no_path() -> None:
    in_progress = PathsInProgress()
    in_progress.add(["a"])
    assert not in_progress.conflicts_with([])


def have_conflict(one: str, other: str) -> bool:
    """Say it as the protocol does: equal, contains, or lies inside."""
    if one == ROOT:
        return True
    return one == other or other.startswith(one + "/") or one.startswith(other + "/")


PATHS = st.lists(
    st.lists(st.sampled_from(["a", "b", "ab", ""]), min_size=1, max_size=4).map("/".join),
    max_size=3,
)


@settings(deadline=None)
@given(st.data())
def test_as_a_naive_model(data: st.DataObject) -> None:
    in_progress = PathsInProgress()
    begun: list[list[str]] = []
    for _ in range(data.draw(st.integers(1, 12))):
        if begun and data.draw(st.booleans()):
            ended = begun.pop(data.draw(st.integers(0, len(begun) - 1)))
            in_progress.remove(ended)
        else:
            begun.append(data.draw(PATHS))
            in_progress.add(begun[-1])
        asked = data.draw(PATHS)
        expected = any(
            have_conflict(path, written) for path in asked for paths in begun for written in paths
        )
        assert in_progress.conflicts_with(asked) is expected
