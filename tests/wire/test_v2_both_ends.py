"""A client's end against a server's end: what one says, the other hears."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from feeding import Happening, drive
from hypothesis import given, settings
from hypothesis import strategies as st

from filetransfer.wire.messages import (
    Authenticate,
    Authenticated,
    BodyEnd,
    BodyRun,
    Challenge,
    Change,
    Content,
    Copy,
    Delete,
    Digest,
    Digested,
    Done,
    EndOfMessages,
    Get,
    Greeting,
    Help,
    HelpText,
    List,
    Listing,
    MakeDirectory,
    Put,
    Stat,
    Statistics,
    Status,
    Summary,
    Working,
)
from filetransfer.wire.v2 import ClientCodec, ServerCodec


@dataclass
class Said:
    """A message, with the runs and the end of its body; None where it has none."""

    message: Any
    runs: list[bytes] | None = None
    end: BodyEnd = field(default_factory=BodyEnd)

    @property
    def heard(self) -> list[Happening]:
        if self.runs is None:
            return [self.message]
        return [self.message, *(BodyRun() for _ in self.runs), b"".join(self.runs), self.end]

    def write_body(self, end: ClientCodec | ServerCodec) -> bytes:
        if self.runs is None:
            return b""
        runs = b"".join(end.encode_run(len(run)) + run for run in self.runs)
        return runs + end.encode_body_end(self.end)


SIZES = st.integers(0, 2**63 - 1)
CHARACTERS = st.characters(codec="utf-8")
TIMES = st.integers(-(2**63), 2**63 - 1)
PATHS = st.text(CHARACTERS, max_size=40)
ETAGS = st.text(CHARACTERS, min_size=1, max_size=16)
DIGESTS = st.dictionaries(st.sampled_from(["xxh3-128", "sha256", "x"]), st.binary(max_size=32))
TOKENS = st.binary(min_size=16, max_size=16)
RUNS = st.lists(st.binary(min_size=1, max_size=30), max_size=4)
NUMBERS = st.floats(allow_nan=False)
BOOLEANS = st.booleans()
WORDS = st.lists(st.sampled_from(["resume", "ranges", ""]), max_size=3)
LIMITS = st.dictionaries(st.text(max_size=5), st.integers(0, 2**63 - 1), max_size=2)


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


def store(put: Put, runs: list[bytes], knows_size: bool, end: BodyEnd, done: Done) -> list[Said]:
    if knows_size:
        put.size = put.offset + sum(map(len, runs))
    return [Said(put, runs, end), Said(done)]


def fetch(content: Content, runs: list[bytes], behind: int, end: BodyEnd) -> list[Said]:
    """Ask for what the runs are: in the middle of a file, or all there is."""
    count = sum(map(len, runs))
    content.size = content.offset + count + behind
    asked = Get(content.path, content.offset, count if behind else None)
    return [Said(asked), Said(content, runs, end)]


def simple(
    request: st.SearchStrategy[Any], response: st.SearchStrategy[Any]
) -> st.SearchStrategy[list[Said]]:
    return st.tuples(request, response).map(lambda both: [Said(each) for each in both])


DONE = st.builds(Done, SIZES, ETAGS, DIGESTS)
ENDS = st.builds(BodyEnd, DIGESTS)
EXCHANGES = st.one_of(
    st.builds(
        store,
        st.builds(
            Put,
            PATHS,
            digest=DIGESTS,
            algorithm=maybe(PATHS),
            modified=maybe(TIMES),
            mode=maybe(SIZES),
            parents=BOOLEANS,
            if_match=maybe(ETAGS),
            if_none_match=BOOLEANS,
            upload=maybe(TOKENS),
            offset=st.integers(0, 2**40),
        ),
        RUNS,
        BOOLEANS,
        ENDS,
        DONE,
    ),
    st.builds(
        fetch,
        st.builds(Content, PATHS, st.just(0), st.integers(0, 2**40), ETAGS, TIMES, SIZES, DIGESTS),
        RUNS,
        st.integers(0, 2**40),
        ENDS,
    ),
    simple(st.builds(Change, PATHS, PATHS, BOOLEANS, maybe(ETAGS)), st.builds(Done, etag=ETAGS)),
    simple(
        st.builds(Summary, PATHS, maybe(st.integers(1, 99) | PATHS), maybe(CHARACTERS), SIZES),
        st.builds(Statistics, NUMBERS, NUMBERS, NUMBERS, SIZES, NUMBERS, NUMBERS),
    ),
    simple(st.just(Help()), st.builds(HelpText, PATHS, WORDS, WORDS, LIMITS, PATHS)),
    st.builds(
        lambda asked, runs, end: [Said(asked), Said(Listing(), runs, end)],
        st.builds(List, maybe(PATHS), BOOLEANS, maybe(PATHS), st.integers(1, 100_000)),
        RUNS,
        st.builds(BodyEnd, more=maybe(PATHS), hidden=SIZES),
    ),
    simple(
        st.builds(Stat, PATHS),
        st.builds(
            Status,
            st.sampled_from(["file", "directory", "other"]),
            maybe(SIZES),
            maybe(TIMES),
            maybe(SIZES),
            maybe(ETAGS),
            DIGESTS,
        ),
    ),
    simple(
        st.builds(Stat, upload=TOKENS),
        st.builds(Status, digest=DIGESTS, offset=SIZES)
        | st.builds(Status, st.just("published"), SIZES, etag=ETAGS, digest=DIGESTS, path=PATHS),
    ),
    simple(
        st.builds(Delete, PATHS, BOOLEANS, maybe(ETAGS)) | st.builds(Delete, upload=TOKENS),
        st.just(Done()),
    ),
    simple(st.builds(MakeDirectory, PATHS, BOOLEANS), st.just(Done())),
    simple(
        st.builds(Authenticate, PATHS, st.binary(max_size=20)),
        st.builds(Authenticated, PATHS) | st.builds(Challenge, st.binary(max_size=20)),
    ),
    simple(
        st.builds(Digest, PATHS, maybe(PATHS), maybe(ETAGS)),
        st.builds(Digested, DIGESTS, SIZES, ETAGS),
    ),
    simple(st.builds(Copy, PATHS, PATHS, BOOLEANS, maybe(ETAGS)), DONE),
)


def pieces_of(octets: bytes, size: int) -> Iterator[bytes]:
    return (octets[start : start + size] for start in range(0, len(octets), size))


def hear(end: ClientCodec | ServerCodec, octets: bytes, size: int, moves: bool) -> list[Happening]:
    return drive(end, pieces_of(octets, size), moves_bodies=moves)


@settings(max_examples=150)
@given(
    st.lists(EXCHANGES, max_size=5),
    st.builds(Greeting, SIZES, PATHS, WORDS, LIMITS, WORDS),
    st.lists(st.integers(0, 3), min_size=5, max_size=5),
    st.integers(1, 60),
    st.integers(1, 60),
    st.booleans(),
)
def test_pipelined(
    exchanges: list[list[Said]],
    greeting: Greeting,
    working: list[int],
    sent: int,
    answered: int,
    moves: bool,
) -> None:
    client, server = ClientCodec(), ServerCodec()
    octets, heard = b"", []
    for asked, _ in exchanges:
        octets += client.encode(asked.message) + asked.write_body(client)
        heard += asked.heard
    assert hear(server, octets, sent, moves) == [*heard, EndOfMessages()]

    octets, heard = server.encode_greeting(greeting), [greeting]
    for (asked, said), times in zip(exchanges, working, strict=False):
        octets += server.encode(Working(), asked.message) * times
        octets += server.encode(said.message, asked.message) + said.write_body(server)
        heard += [Working()] * times + said.heard
    assert hear(client, octets, answered, moves) == [*heard, EndOfMessages()]


def test_ten_thousand_small_files_without_waiting() -> None:
    """And none of the octets that were parsed stays in memory."""
    client, server = ClientCodec(), ServerCodec()
    client.receive(server.encode_greeting(Greeting(2)))
    assert client.next_event() == Greeting(2)
    for index in range(10_000):
        put = Put(f"d/{index}", 3)
        server.receive(client.encode(put) + client.encode_run(3) + b"abc")
        assert server.next_event() == put
        assert server.next_event() == BodyRun()
        assert server.take_body(3) == b"abc"
        server.receive(client.encode_body_end(BodyEnd()))
        assert server.next_event() == BodyEnd()
    assert server.is_between_messages
    client.receive(server.encode(Done(3, "e"), Put("d", 3)) * 10_000)
    for _ in range(10_000):
        assert client.next_event() == Done(3, "e")
    assert client.next_event() is None
