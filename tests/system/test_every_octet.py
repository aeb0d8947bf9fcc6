"""Transfers with a network in between that spoils one octet of them, for each of them: whole in the end, or refused."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from reactors import run
from running import Daemon
from spoiling_proxy import DOWN, UP, Act, SpoilingProxy
from twisted.internet.defer import Deferred, DeferredSemaphore, gatherResults

from filetransfer.bodies.framing import TAIL_OCTETS
from filetransfer.client import Session, connect, connecting, resuming, transfers
from filetransfer.errors import DigestMismatch, FileTransferError

BODY = b"a body of a few octets, each of them another: 0123456789"
AT_A_TIME = 16
TIMEOUT_SECONDS = 3.0
"""Of a client: a bit of a size can make either side wait for what never comes."""

Outcome = BaseException | None


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemon(tmp_path_factory.mktemp("daemon"), "--durability", "none") as running:
        yield running
        assert "Traceback" not in running.log


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with mock.patch.object(connecting, "_FIRST_WAIT_SECONDS", 0.01):
        yield


class Way:
    """A transfer in one direction of one file, again and again under other names of the same length."""

    def __init__(
        self, daemon: Daemon, directory: Path, *, is_upload: bool, body: bytes = BODY
    ) -> None:
        self.body = body
        self._daemon = daemon
        self._here = directory / "here"
        self._here.mkdir()
        self._is_upload = is_upload
        self._count = 0

    @asynccontextmanager
    async def move(self, spoil: tuple[Any, ...] = (), **options: Any) -> AsyncIterator[Any]:
        """Move the file; gives what became of it, the network, and what there is at the target."""
        self._count += 1
        # Of no two names is one the other with a bit flipped.
        name = hashlib.sha256(b"%d" % self._count).hexdigest()[:12]
        here, there = self._here / name, self._daemon.root / name
        source, target = (here, there) if self._is_upload else (there, here)
        source.write_bytes(self.body)
        outcome: Outcome = None
        async with SpoilingProxy(self._daemon.port, *spoil) as proxy:
            try:
                async with connect(
                    "127.0.0.1", proxy.port, timeout_seconds=TIMEOUT_SECONDS, **options
                ) as open_session:
                    await self._transfer(open_session, here, name)
            except FileTransferError as error:
                outcome = error
        yield outcome, proxy, target.read_bytes() if target.exists() else None
        for path in (source, target):
            path.unlink(missing_ok=True)

    async def _transfer(self, open_session: Session, here: Path, name: str) -> None:
        if self._is_upload:
            await open_session.put(here, name)
        else:
            await open_session.get(name, here)

    def list_files(self) -> list[Path]:
        """Give what there is at both ends."""
        return [*self._here.iterdir(), *self._daemon.list_visible()]

    async def find_streams(self, **options: Any) -> list[bytearray]:
        """Give what both sides send when nothing is spoilt."""
        async with self.move(**options) as (outcome, proxy, octets):
            assert outcome is None
            assert octets == self.body
            return proxy.seen


async def for_all(work: Callable[[Any], Awaitable[None]], cases: Iterable[Any]) -> None:
    tokens = DeferredSemaphore(AT_A_TIME)
    await gatherResults(
        [
            tokens.run(lambda case=case: Deferred.fromCoroutine(work(case)))  # type: ignore[misc]
            for case in cases
        ],
        consumeErrors=True,
    )


@pytest.fixture(params=["put", "get"])
def way(daemon: Daemon, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Way]:
    yield Way(daemon, tmp_path, is_upload=request.param == "put")
    daemon.clear_root()


async def flip(way: Way, direction: int, choose_bit: Callable[[int], int]) -> None:
    """Flip a bit of each octet of one side's."""
    streams = await way.find_streams(versions=(2,))
    body = streams[UP].find(BODY), streams[DOWN].find(BODY)
    assert max(body) > 0

    async def try_one(place: int) -> None:
        spoil = (Act.FLIP, direction, place, choose_bit(place))
        async with way.move(spoil, versions=(2,), tries=1) as (outcome, _, octets):
            assert octets in (None, BODY), spoil
            if 0 <= place - body[direction] < len(BODY) and body[direction] > 0:
                assert isinstance(outcome, DigestMismatch), (spoil, outcome)
                assert octets is None, spoil

    await for_all(try_one, range(len(streams[direction])))
    # Under whatever name it was stored: a path's bit is no digest's affair.
    assert all(path.read_bytes() == BODY for path in way.list_files())


@pytest.mark.parametrize("direction", [UP, DOWN])
def test_a_flipped_bit_of_each_octet(way: Way, direction: int) -> None:
    run(flip(way, direction, lambda place: place % 8))


@pytest.mark.long
@pytest.mark.parametrize("bit", range(8))
@pytest.mark.parametrize("direction", [UP, DOWN])
def test_each_flipped_bit(way: Way, direction: int, bit: int) -> None:
    run(flip(way, direction, lambda _: bit))


def list_places(stream: bytearray, body: bytes) -> list[int]:
    """Give places where a large body begins and ends, where its windows do, and those of what frames it."""
    start = stream.find(body[:100])
    if start < 0:
        return []
    windows = range(start, start + len(body), 1024 * 1024)
    end = len(stream)
    return [
        *range(start - 4, start + 1),
        *(place + step for place in windows[1:] for step in (-1, 0)),
        *range(end - TAIL_OCTETS - 60, end - TAIL_OCTETS, 3),
        *range(end - 60, end, 3),
    ]


@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("is_upload", [True, False])
def test_a_flipped_bit_of_a_large_file(
    daemon: Daemon, tmp_path: Path, is_upload: bool, direction: int
) -> None:
    body = os.urandom(3_000_000)
    way = Way(daemon, tmp_path, is_upload=is_upload, body=body)

    async def try_all() -> None:
        stream = (await way.find_streams(versions=(2,)))[direction]

        async def try_one(place: int) -> None:
            spoil = (Act.FLIP, direction, place, place % 8)
            around = bytes(stream[place - 8 : place + 8])
            async with way.move(spoil, versions=(2,), tries=1) as (outcome, _, octets):
                assert octets in (None, body), spoil
                if around in body:
                    assert isinstance(outcome, DigestMismatch), (spoil, outcome)
                    assert octets is None, spoil

        await for_all(try_one, list_places(stream, body) or range(100, len(stream), 5))

    run(try_all())
    # What lost its connection has left a part, which is compared with the whole when it goes on.
    assert all(path.name.startswith(".ft-") for path in way.list_files())


@pytest.fixture(params=["as it is", "resumable"])
def resumes(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "as it is":
        yield
        return
    with (
        mock.patch.object(transfers, "MIN_OCTETS", 1),
        mock.patch.object(resuming.ResumableDownload, "min_octets", 1),
    ):
        yield


def test_an_upload_whose_answer_is_lost_is_not_sent_again(daemon: Daemon, tmp_path: Path) -> None:
    """Cut at each octet of the answer: the next connection is told, and sends nothing."""
    way = Way(daemon, tmp_path, is_upload=True)

    async def try_all() -> None:
        stream = (await way.find_streams())[DOWN]

        async def try_one(place: int) -> None:
            async with way.move((Act.CUT, DOWN, place)) as (outcome, proxy, octets):
                assert (outcome, octets) == (None, BODY), place
                assert b"upload" in proxy.seen_later, place
                assert BODY not in proxy.seen_later, place

        begin = stream.find(b"size", stream.find(b"mechanisms")) - 6
        assert begin > 0
        await for_all(try_one, range(begin, len(stream)))

    with mock.patch.object(transfers, "MIN_OCTETS", 1):
        run(try_all())


@pytest.mark.usefixtures("resumes")
@pytest.mark.parametrize("direction", [UP, DOWN])
@pytest.mark.parametrize("act", [Act.CUT, Act.HOLD])
@pytest.mark.parametrize(
    "versions",
    [
        pytest.param((1, 2), id="any version"),
        pytest.param((2,), id="version 2", marks=pytest.mark.long),
    ],
)
def test_each_octet(way: Way, act: Act, direction: int, versions: tuple[int, ...]) -> None:
    """Cut off before it, or delayed: it makes no difference to whoever asked for the transfer."""

    async def try_all() -> None:
        streams = await way.find_streams(versions=versions)

        async def try_one(place: int) -> None:
            spoil = (act, direction, place)
            async with way.move(spoil, versions=versions) as (outcome, _, octets):
                assert (outcome, octets) == (None, BODY), spoil

        # Who ends the connection before the first octet is an old server to whom that octet is all of version 2.
        first = 0 if 1 in versions else 1
        await for_all(try_one, range(first, len(streams[direction])))

    run(try_all())
    assert way.list_files() == []


@pytest.mark.usefixtures("resumes")
@pytest.mark.parametrize("is_upload", [True, False])
def test_each_octet_around_the_chunks_of_a_body(
    daemon: Daemon, tmp_path: Path, is_upload: bool
) -> None:
    """Cut off before it: in the heads of two chunks, around them, and in all that stands behind the body."""
    body = os.urandom(3 * TAIL_OCTETS)
    way = Way(daemon, tmp_path, is_upload=is_upload, body=body)

    async def try_all() -> None:
        stream = (await way.find_streams(versions=(2,)))[UP if is_upload else DOWN]
        begins = stream.find(body[:64]), stream.find(body[-TAIL_OCTETS:][:64])
        # The second chunk has a head, too.
        assert begins[1] - begins[0] > len(body) - TAIL_OCTETS
        ends = begins[1] + TAIL_OCTETS, len(stream)
        assert 4 < ends[1] - ends[0] < 200

        async def try_one(place: int) -> None:
            spoil = (Act.CUT, UP if is_upload else DOWN, place)
            async with way.move(spoil, versions=(2,)) as (outcome, _, octets):
                assert outcome is None, spoil
                assert octets == body, spoil

        around = [range(begin - 24, begin + 3) for begin in begins]
        await for_all(try_one, [*chain(*around), *range(ends[0] - 3, ends[1])])

    run(try_all())
    assert way.list_files() == []
