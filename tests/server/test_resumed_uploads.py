"""Uploads that are cut off and go on, over real sockets and above a real directory."""

import os
import threading
from pathlib import Path

import pytest
from serving import Serving, list_descriptors, until
from speaking import Speaker, call_in_version_2, spoken, xxh3

from filetransfer.errors import Cancelled
from filetransfer.server.exchange import Exchange
from filetransfer.store.parts import StoreUpload
from filetransfer.wire.messages import BodyEnd, Get, Put, Stat, Status

TOKEN = os.urandom(16)
MEBIBYTE = 1 << 20
OCTETS = os.urandom(9 * MEBIBYTE + 12345)
CUTS = pytest.mark.parametrize(
    "cut", [0, 1, 1000, MEBIBYTE, 5 * MEBIBYTE + 7, len(OCTETS) - 1, len(OCTETS)]
)


def begin(speaker: Speaker, count: int, token: bytes = TOKEN, offset: int = 0) -> None:
    """Send the first octets of a file, in one chunk that is not finished."""
    speaker.say(Put("name", len(OCTETS), upload=token, offset=offset))
    speaker.transport.write(
        speaker.connection.encode_run(len(OCTETS) - offset) + OCTETS[offset : offset + count]
    )


def list_kept() -> list[str]:
    """Give what is open but for pipes: threads that move octets keep theirs."""
    return [name for name in list_descriptors() if not name.startswith("pipe:")]


async def stat_until(speaker: Speaker, offset: int) -> Status:
    """Ask how far an upload has come, until it is far enough."""
    while True:
        status: Status = (await speaker.ask(Stat(upload=TOKEN))).response
        if status.offset is not None and status.offset >= offset:
            return status


async def go_on(speaker: Speaker, offset: int) -> None:
    speaker.say(Put("name", len(OCTETS), upload=TOKEN, offset=offset))
    speaker.say_body(OCTETS[offset:], digest=xxh3(OCTETS))
    done = (await speaker.next_answer()).response
    assert (done.size, done.digest) == (len(OCTETS), xxh3(OCTETS))


@CUTS
def test_goes_on_where_it_was_cut(tmp_path: Path, cut: int) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        before = list_kept()
        other = await call_in_version_2(serving)
        begin(other, cut)
        await until(lambda: bool(serving.list_parts()))
        if cut == len(OCTETS):
            # Whole, but for what must stand behind it.
            await until(lambda: _measure_part(serving) == cut)
        other.lose()
        await until(lambda: list_kept() == before)
        assert serving.list_visible() == []
        status = (await speaker.ask(Stat(upload=TOKEN))).response
        assert status.digest == xxh3(OCTETS[: status.offset])
        assert status.offset <= cut
        await go_on(speaker, status.offset)
        assert (await speaker.ask(Get("name"))).body == OCTETS

    test(tmp_path)


def _measure_part(serving: Serving) -> int:
    parts = Path(serving.root, ".ft-store", "parts")
    return max(path.stat().st_size for path in parts.iterdir())


@pytest.mark.parametrize("count", [100, 3 * MEBIBYTE])
def test_the_newest_connection_takes_over(tmp_path: Path, count: int) -> None:
    """The older one is not known to be dead yet: it is, from then on."""

    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        other = await call_in_version_2(serving)
        begin(other, count)
        await until(lambda: bool(serving.list_parts()))
        status = (await speaker.ask(Stat(upload=TOKEN))).response
        await until(lambda: other.is_closed)
        # At once, and not by the deadline of a peer that sends nothing.
        assert not [line for line in serving.log.lines if "failed" in line]
        await go_on(speaker, status.offset)
        assert (await speaker.ask(Get("name"))).body == OCTETS
        assert not other.answers

    test(tmp_path)


@spoken
async def _take_over_by_put(serving: Serving, speaker: Speaker) -> None:
    other = await call_in_version_2(serving)
    begin(other, 3 * MEBIBYTE)
    await until(lambda: bool(serving.list_parts()))
    await go_on(speaker, 0)
    await until(lambda: other.is_closed)
    assert (await speaker.ask(Get("name"))).body == OCTETS


def test_taken_over_from_the_start(tmp_path: Path) -> None:
    _take_over_by_put(tmp_path)


@pytest.mark.parametrize("has_head_digest", [True, False])
def test_a_lost_answer_is_no_lost_upload(tmp_path: Path, has_head_digest: bool) -> None:
    """Told so before preconditions are looked at, and nothing is written."""

    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        digest = xxh3(OCTETS) if has_head_digest else {}
        etags = []
        for _ in range(3):
            other = await call_in_version_2(serving)
            other.say(Put("name", len(OCTETS), digest, upload=TOKEN, if_none_match=True))
            other.say_body(OCTETS)
            etags.append((await other.next_answer()).response.etag)
            other.lose()
        assert len(set(etags)) == 1
        status = (await speaker.ask(Stat(upload=TOKEN))).response
        assert (status.kind, status.path, status.size) == ("published", "name", len(OCTETS))
        assert (status.etag, status.digest) == (etags[0], xxh3(OCTETS))

    test(tmp_path)


@spoken
async def _publish_other_octets(serving: Serving, speaker: Speaker) -> None:
    await go_on(speaker, 0)
    other = bytes(len(OCTETS))
    speaker.say(Put("name", len(other), upload=TOKEN))
    speaker.say_body(other)
    assert (await speaker.next_answer()).error == "digest-mismatch"
    assert (serving.root / "name").read_bytes() == OCTETS
    speaker.say(Put("name", len(other), xxh3(other), upload=TOKEN))
    speaker.say_body(other)
    assert (await speaker.next_answer()).response.digest == xxh3(other)
    assert (serving.root / "name").read_bytes() == other
    speaker.say(Put("elsewhere", len(OCTETS), upload=TOKEN))
    speaker.say_body(OCTETS)
    assert (await speaker.next_answer()).error == "not-permitted"


def test_other_octets_by_the_name_of_a_published_upload(tmp_path: Path) -> None:
    _publish_other_octets(tmp_path)


@spoken
async def _refuse(serving: Serving, speaker: Speaker) -> None:
    begin(speaker, 2 * MEBIBYTE)
    await until(lambda: bool(serving.list_parts()))
    speaker.lose()
    other = await call_in_version_2(serving)
    status = await stat_until(other, 0)
    assert status.offset is not None
    other.say(Put("name", len(OCTETS), upload=TOKEN, offset=status.offset + 1))
    other.say_body(b"")
    assert (await other.next_answer()).error == "offset-mismatch"
    other.say(Put("another", len(OCTETS), upload=TOKEN, offset=status.offset))
    other.say_body(b"")
    assert (await other.next_answer()).error == "not-permitted"
    other.say(Put("name", len(OCTETS), upload=bytes(16), offset=5))
    other.say_body(b"")
    assert (await other.next_answer()).error == "not-found"
    assert (await other.ask(Stat(upload=bytes(16)))).error == "not-found"
    await go_on(other, status.offset)
    other.lose()


def test_what_is_not_as_it_was(tmp_path: Path) -> None:
    _refuse(tmp_path)


@spoken
async def _give_up(serving: Serving, speaker: Speaker) -> None:
    speaker.say(Put("name", len(OCTETS), upload=TOKEN))
    half = OCTETS[: 4 * MEBIBYTE]
    connection = speaker.connection
    speaker.transport.write(connection.encode_run(len(half)) + half)
    speaker.transport.write(connection.encode_body_end(BodyEnd(refusal=Cancelled("enough"))))
    assert (await speaker.next_answer()).error == "cancelled"
    status = (await speaker.ask(Stat(upload=TOKEN))).response
    assert status.offset == 4 * MEBIBYTE
    await go_on(speaker, status.offset)


def test_a_part_stays_when_its_sender_gives_up(tmp_path: Path) -> None:
    _give_up(tmp_path)


@pytest.mark.parametrize("wrong", ["digest", "size"])
def test_a_part_that_is_wrong_does_not_stay(tmp_path: Path, wrong: str) -> None:
    @spoken
    async def test(serving: Serving, speaker: Speaker) -> None:
        if wrong == "digest":
            speaker.say(Put("name", len(OCTETS), upload=TOKEN))
            speaker.say_body(OCTETS, digest=xxh3(b"other"))
        else:
            speaker.say(Put("name", len(OCTETS) + 1, upload=TOKEN))
            speaker.say_body(OCTETS)
        assert (await speaker.next_answer()).error == f"{wrong}-mismatch"
        assert (await speaker.ask(Stat(upload=TOKEN))).error == "not-found"
        assert not serving.list_parts()

    test(tmp_path)


@spoken
async def _send_twice_at_once(serving: Serving, speaker: Speaker) -> None:
    speaker.say(Put("name", len(OCTETS), upload=TOKEN))
    speaker.say_body(OCTETS)
    speaker.say(Put("name", len(OCTETS), upload=TOKEN))
    speaker.say_body(OCTETS)
    assert (await speaker.next_answer()).response.size == len(OCTETS)
    assert (await speaker.next_answer()).error == "busy"


def test_twice_on_one_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is on its way to the disk when the second is asked for."""
    may_prepare = threading.Event()
    prepare, refuse = StoreUpload.prepare, Exchange.refuse

    def prepare_late(upload: StoreUpload, *more: object) -> None:
        assert may_prepare.wait(20)
        prepare(upload, *more)  # type: ignore[arg-type]

    def refuse_and_tell(exchange: Exchange, refusal: object) -> None:
        may_prepare.set()
        refuse(exchange, refusal)  # type: ignore[arg-type]

    monkeypatch.setattr(StoreUpload, "prepare", prepare_late)
    monkeypatch.setattr(Exchange, "refuse", refuse_and_tell)
    _send_twice_at_once(tmp_path)


@spoken
async def _never_log(serving: Serving, speaker: Speaker) -> None:
    begin(speaker, 10)
    await until(lambda: bool(serving.list_parts()))
    speaker.lose()
    other = await call_in_version_2(serving)
    await other.ask(Stat(upload=bytes(16)))
    other.say(Put("name", 3, upload=TOKEN))
    other.say_body(b"abc")
    await other.next_answer()
    other.lose()
    log = "\n".join(serving.log.lines)
    assert "refused" in log
    for shown in (repr(TOKEN), TOKEN.hex(), repr(bytes(16))):
        assert shown not in log


def test_tokens_are_never_logged(tmp_path: Path) -> None:
    _never_log(tmp_path)
