"""Fixtures of the store's tests."""

from collections.abc import Iterator
from pathlib import Path as LocalPath

import pytest
from faults import faults
from rig import Rig, open_rig

from filetransfer.store import beneath

__all__ = ["faults"]

OPENERS = [
    pytest.param(beneath.open_by_kernel, id="openat2"),
    pytest.param(beneath.open_by_walk, id="walk"),
]


@pytest.fixture(params=OPENERS)
def open_beneath(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> beneath.Opener:
    """Both ways of opening beneath a root; stores that are opened meanwhile use it."""
    opener: beneath.Opener = request.param
    monkeypatch.setattr(beneath, "choose_opener", lambda directory: opener)
    return opener


@pytest.fixture(params=["full", "none"])
def durability(request: pytest.FixtureRequest) -> str:
    """Both settings."""
    setting: str = request.param
    return setting


@pytest.fixture
def root(tmp_path: LocalPath) -> LocalPath:
    """Where a store will be."""
    return tmp_path / "root"


@pytest.fixture
def rig(root: LocalPath, durability: str, open_beneath: beneath.Opener) -> Iterator[Rig]:
    """A store, in each of its ways."""
    with open_rig(root, durability=durability) as rig:
        yield rig


@pytest.fixture
def plain_rig(root: LocalPath) -> Iterator[Rig]:
    """A store with the defaults, for what does not depend on them."""
    with open_rig(root) as rig:
        yield rig
