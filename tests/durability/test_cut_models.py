"""The rigs themselves: what their models keep and forget, and how what is found is judged."""

from pathlib import Path
from random import Random

import cuts
import pytest
from cuts import MANNERS, Blocks, Names, plan_cuts
from forgetful import ROOT
from uploads import Ledger, digest_of

FILE, DIRECTORY = 2, 3
MADE = [
    (1.0, "create", FILE, False),
    (1.0, "enter", ROOT, b"part", FILE),
    (2.0, "write", FILE, 0, b"whole"),
]
PLACE = [(0.0, "create", DIRECTORY, True), (0.0, "enter", ROOT, b"d", DIRECTORY)]


def draw_all(*events, manners=MANNERS) -> set[tuple[tuple[str, bytes], ...]]:
    """Give everything that a cut may leave after these events, as far as 200 draws tell."""
    state = Names()
    for event in events:
        state.replay(event)
    return {
        tuple(sorted(state.draw(Random(seed), manner).items()))
        for seed in range(200)
        for manner in manners
    }


def test_nothing_unsynced_must_survive() -> None:
    assert draw_all(*MADE) == {(), (("part", b""),), (("part", bytes(5)),), (("part", b"whole"),)}


def test_a_synced_file_may_have_no_name() -> None:
    assert draw_all(*MADE, (3.0, "sync", FILE)) == {(), (("part", b"whole"),)}


def test_a_synced_name_may_have_no_octets() -> None:
    left = draw_all(*MADE, (3.0, "sync", ROOT))
    assert left == {(("part", b""),), (("part", bytes(5)),), (("part", b"whole"),)}


def test_both_synced_are_kept() -> None:
    synced = [(3.0, "sync", FILE), (3.0, "sync", ROOT)]
    assert draw_all(*MADE, *synced) == {(("part", b"whole"),)}


def test_a_rename_is_safe_when_both_directories_are() -> None:
    synced = [(3.0, "sync", FILE), (3.0, "sync", ROOT)]
    rename = (4.0, "rename", ROOT, b"part", DIRECTORY, b"final")
    before = (("d/", b""), ("part", b"whole"))
    after = (("d/", b""), ("d/final", b"whole"))
    # The directory itself is there from the beginning.
    place = [*PLACE, (0.0, "sync", ROOT)]
    moved = [*place, *MADE, *synced, rename]
    assert draw_all(*moved) == {before, after}
    assert draw_all(*moved, (5.0, "sync", DIRECTORY)) == {before, after}
    assert draw_all(*moved, (5.0, "sync", DIRECTORY), (5.0, "sync", ROOT)) == {after}


def test_a_directory_may_have_no_name() -> None:
    assert draw_all(*PLACE) == {(), (("d/", b""),)}
    assert draw_all(*PLACE, (1.0, "sync", DIRECTORY)) == {(), (("d/", b""),)}
    assert draw_all(*PLACE, (1.0, "sync", ROOT)) == {(("d/", b""),)}


def test_replacing_leaves_the_old_or_the_new_file() -> None:
    new = FILE + 2
    events = [
        *MADE,
        (3.0, "sync", FILE),
        (3.0, "sync", ROOT),
        (4.0, "create", new, False),
        (4.0, "enter", ROOT, b"newer", new),
        (4.0, "write", new, 0, b"new"),
        (4.0, "sync", new),
        (5.0, "rename", ROOT, b"newer", ROOT, b"part"),
    ]
    contents = {dict(left)["part"] for left in draw_all(*events)}
    assert contents == {b"whole", b"new"}


def test_a_write_is_torn_by_4_kib() -> None:
    write = (2.0, "write", FILE, 0, b"a" * 4096 + b"b" * 4096)
    events = [*MADE[:2], write, (3.0, "sync", ROOT)]
    contents = {dict(left)["part"] for left in draw_all(*events, manners=["subset"])}
    assert contents == {b"", b"a" * 4096, bytes(4096) + b"b" * 4096, b"a" * 4096 + b"b" * 4096}


@pytest.mark.parametrize("manner", MANNERS)
def test_a_disk_keeps_what_was_flushed(tmp_path: Path, manner: str) -> None:
    blocks = Blocks(FILE, tmp_path / "stable")
    for event in [
        (1.0, "truncate", FILE, 16384),
        (2.0, "write", FILE, 0, b"a" * 8192),
        (3.0, "write", FILE + 1, 0, b"another file"),
        (4.0, "sync", FILE),
        (5.0, "write", FILE, 4096, b"b" * 8192),
    ]:
        blocks.replay(event)
    left = set()
    for seed in range(50):
        blocks.draw(Random(seed), manner, tmp_path / "left")
        left.add((tmp_path / "left").read_bytes())
    blocks.close()
    a, b, empty = b"a" * 4096, b"b" * 4096, bytes(4096)
    none, first, second, both = (
        a + middle + empty for middle in (a + empty, b + empty, a + b, b + b)
    )
    assert (
        left
        == {
            "nothing": {none},
            "all": {both},
            "prefix": {none, both},
            "subset": {none, first, second, both},
            "names": {none, first, second, both},
        }[manner]
    )


def test_cuts_are_before_what_comes_later() -> None:
    events = [(float(moment), "sync", ROOT) for moment in range(100)]
    plan = plan_cuts(events, [10.5, 20.5, 30.5], 40, Random(1))
    assert len(plan) == 40
    assert {cut.manner for cut in plan} == set(MANNERS)
    for cut in plan:
        assert all(event[0] < cut.moment for event in events[: cut.index])
        assert all(event[0] >= cut.moment for event in events[cut.index :])


def test_holes_are_copied_as_holes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    with source.open("wb") as stream:
        stream.truncate(1 << 24)
        stream.seek(1 << 20)
        stream.write(b"octets")
    cuts.copy_sparse(source, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()
    assert (tmp_path / "copy").stat().st_blocks < 1 << 10


class Story:
    """A file that is put twice and then moved, and where the acknowledgements were."""

    def __init__(self) -> None:
        self.ledger = Ledger()
        self.a, self.b = digest_of(b"a"), digest_of(b"b")
        for moment, steps in enumerate(
            (
                self.ledger.put("old", b"a"),
                self.ledger.put("old", b"b"),
                self.ledger.move("old", "new"),
            )
        ):
            for step in steps:
                step.asked, step.acknowledged = moment + 0.0, moment + 0.5

    def judge(self, cut: float, **found: str) -> tuple[int, int]:
        verdict = self.ledger.judge(found, cut)
        return len(verdict.lost), len(verdict.torn)


def test_what_was_acknowledged_must_be_there() -> None:
    story = Story()
    assert story.judge(0.7, old=story.a) == (0, 0)
    assert story.judge(0.7) == (1, 0)
    assert story.judge(1.7, old=story.b) == (0, 0)
    assert story.judge(1.7, old=story.a) == (1, 0)
    assert story.judge(2.7, new=story.b) == (0, 0)
    assert story.judge(2.7, old=story.b) == (2, 0)


def test_what_is_under_way_may_be_there() -> None:
    story = Story()
    assert story.judge(0.2) == (0, 0)
    assert story.judge(0.2, old=story.a) == (0, 0)
    assert story.judge(1.2, old=story.a) == story.judge(1.2, old=story.b) == (0, 0)
    assert story.judge(2.2, old=story.b) == story.judge(2.2, new=story.b) == (0, 0)
    # What was not even asked may not.
    assert story.judge(0.7, old=story.b) == (1, 0)


def test_a_move_under_way_leaves_one_of_both() -> None:
    assert Story().judge(2.2) == (1, 0)


def test_other_octets_are_torn() -> None:
    story = Story()
    assert story.judge(0.2, old=digest_of(b"neither")) == (0, 1)
    assert story.judge(0.7, old=digest_of(b"neither")) == (1, 1)
