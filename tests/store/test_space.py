"""Claims and the room there is."""

import os
from pathlib import Path as LocalPath
from types import SimpleNamespace

import pytest
from rig import Rig, open_rig

from filetransfer.errors import NoSpace
from filetransfer.names import Path
from filetransfer.store.beneath import HeldDirectory
from filetransfer.store.interface import Resumption, UnfinishedUpload
from filetransfer.store.space import SET_ASIDE, Space

MIB = 1024 * 1024


class Disk:
    """A disk of 10 GiB, as statvfs tells of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10 * 1024 * MIB
        self.looks = 0
        monkeypatch.setattr(os, "statvfs", self._look)

    def _look(self, descriptor: int) -> SimpleNamespace:
        self.looks += 1
        return SimpleNamespace(
            f_blocks=10 * 1024 * MIB // 4096, f_frsize=4096, f_bavail=self.free // 4096
        )


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.fixture
def space(disk: Disk) -> Space:
    return Space(HeldDirectory(-1), 0.01)


def test_the_reserve_is_not_given_away(space: Space, disk: Disk) -> None:
    disk.free = 1024 * MIB
    reserve = int(10 * 1024 * MIB * 0.01)
    space.claim(1024 * MIB - reserve)
    with pytest.raises(NoSpace):
        space.claim(1024 * MIB - reserve + 1)


def test_silent_claims_block_nobody(space: Space) -> None:
    claims = [space.claim(4096 * MIB) for _ in range(50)]
    space.claim(9 * 1024 * MIB)
    for claim in claims:
        claim.release()


def test_what_moves_is_set_aside_and_given_back(space: Space, disk: Disk) -> None:
    disk.free = 1024 * MIB
    room = 1024 * MIB - int(10 * 1024 * MIB * 0.01)
    claims = [space.claim(800 * MIB) for _ in range(4)]
    for claim in claims:
        claim.move(1)
    left = room - 4 * SET_ASIDE
    space.claim(left)
    with pytest.raises(NoSpace):
        space.claim(left + 1)
    # What has come is no longer set aside: statvfs tells of it.
    claims[0].move(SET_ASIDE)
    left += SET_ASIDE
    space.claim(left)
    with pytest.raises(NoSpace):
        space.claim(left + 1)
    # What was set aside for an upload that is over is free again.
    claims[1].release()
    claims[1].release()
    left += SET_ASIDE
    space.claim(left)
    with pytest.raises(NoSpace):
        space.claim(left + 1)


def test_an_upload_stops_when_others_took_the_room(space: Space, disk: Disk) -> None:
    claim = space.claim(1024 * MIB)
    claim.move(MIB)
    claim.move(SET_ASIDE - MIB)
    disk.free = 120 * MIB
    claim.move(MIB)
    with pytest.raises(NoSpace):
        claim.move(SET_ASIDE)


def test_no_more_is_set_aside_than_was_claimed(space: Space, disk: Disk) -> None:
    claim = space.claim(3 * MIB)
    claim.move(MIB)
    disk.free = 0
    claim.move(2 * MIB)
    # The peer sends more than it said: whoever receives refuses that, not the space.
    claim.move(MIB)


def test_many_small_files_cost_few_looks(space: Space, disk: Disk) -> None:
    for _ in range(1000):
        space.claim(4096)
    assert disk.looks <= 2


class TestInAStore:
    def test_a_hopeless_claim_is_refused_and_leaves_nothing(self, plain_rig: Rig) -> None:
        with pytest.raises(NoSpace):
            plain_rig.store.open_upload(Path("f"), 2**62)
        assert plain_rig.list_parts() == []

    def test_a_claim_allocates_nothing(self, plain_rig: Rig) -> None:
        upload = plain_rig.store.open_upload(Path("f"), 2**32 - 1)
        assert os.fstat(upload.fileno()).st_blocks == 0
        upload.abort()

    def test_an_upload_that_finds_no_room_is_aborted(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_rig(root) as rig:
            disk = Disk(monkeypatch)
            upload = rig.store.open_upload(Path("f"), 1024 * MIB)
            disk.free = 0
            with pytest.raises(NoSpace):
                upload.write(b"x")
            assert upload.fileno() == -1
            assert rig.list_parts() == []

    def test_an_upload_that_was_moved_until_there_is_no_room_can_be_kept(
        self, root: LocalPath, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with open_rig(root) as rig:
            disk = Disk(monkeypatch)
            upload = rig.store.open_upload(Path("f"), 1024 * MIB, Resumption(token=bytes(16)))
            disk.free = 0
            os.pwrite(upload.fileno(), b"x", 0)
            with pytest.raises(NoSpace):
                upload.advance(1)
            disk.free = 2**40
            upload.keep()
            unfinished = rig.store.stat_upload(bytes(16), "")
            assert isinstance(unfinished, UnfinishedUpload)
            assert unfinished.offset == 1
