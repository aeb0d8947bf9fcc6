"""Every request of version 2 with every key it may have, and the keys and types of its answer.

Source: protocol, section 2, the table of requests.
"""

import hashlib
import itertools
import os
from typing import Any

import msgspec
import pytest
from framing import (
    AUTHENTICATE,
    CHANGE,
    COPY,
    DELETE,
    DIGEST,
    DONE,
    GET,
    HELP,
    LIST,
    MAKE_DIRECTORY,
    PUT,
    STAT,
    SUMMARY,
    Answer,
    ask,
    put,
    say_body,
    xxh3,
)
from running import Daemon
from talking import Talk, converse

MODIFIED = 1_700_000_000_123_456_789


def sha256(octets: bytes) -> dict[str, bytes]:
    return {"sha256": hashlib.sha256(octets).digest()}


def check_types(head: dict[str, Any]) -> None:
    """Check what is there for its type. Source: protocol, section 2, "Types"."""
    for name, kind in {
        "path": str,
        "etag": str,
        "kind": str,
        "size": int,
        "offset": int,
        "modified": int,
        "mode": int,
        "count": int,
        "digest": dict,
    }.items():
        if name in head:
            assert type(head[name]) is kind, (name, head)
    if "etag" in head:
        assert 1 <= len(head["etag"].encode()) <= 64
    for name, value in head.get("digest", {}).items():
        assert type(value) is bytes
        assert len(value) == {"xxh3-128": 16, "sha256": 32}[name]


def check(answer: Answer, *promised: str, may_have: tuple[str, ...] = ()) -> dict[str, Any]:
    """Check that an answer is done and has the promised keys, and give them."""
    assert answer.code == DONE, answer
    assert set(promised) <= set(answer.head) <= {*promised, *may_have}, answer
    check_types(answer.head)
    return answer.head


# PUT.

KEYS: dict[str, Any] = {
    "size": 5,
    "digest": xxh3(b"12345"),
    "algorithm": "xxh3-128",
    "modified": MODIFIED,
    "mode": 0o751,
    "parents": True,
    "if_none_match": True,
}


@pytest.mark.parametrize("count", range(len(KEYS) + 1))
def test_put_with_some_keys(town: Daemon, count: int) -> None:
    """Every choice of them: those with a consequence have it, whatever else is there."""
    octets = b""
    choices = list(itertools.combinations(KEYS, count))
    for number, names in enumerate(choices):
        path = f"many/{number}" if "parents" in names else f"n{number}"
        head = {"path": path, **{name: KEYS[name] for name in names}}
        octets += ask(PUT, head, say_body([b"123", b"45"], {"digest": xxh3(b"12345")}))
    for number, (names, answer) in enumerate(
        zip(choices, converse(town.port, octets), strict=True)
    ):
        head = check(answer, "size", "etag", may_have=("digest",))
        assert head["size"] == 5
        assert head.get("digest", xxh3(b"12345")) == xxh3(b"12345")
        file = town.root / (f"many/{number}" if "parents" in names else f"n{number}")
        assert file.read_bytes() == b"12345"
        status = file.stat()
        assert (status.st_mtime_ns == MODIFIED) == ("modified" in names)
        if "mode" in names:
            assert status.st_mode & 0o7777 == 0o751


@pytest.mark.parametrize(
    ("head", "trailer"),
    [
        ({"digest": xxh3(b"12345")}, {}),
        ({}, {"digest": xxh3(b"12345")}),
        ({"digest": sha256(b"12345")}, {}),
        ({}, {"digest": sha256(b"12345")}),
        ({"digest": sha256(b"12345")}, {"digest": xxh3(b"12345")}),
        ({}, {"digest": xxh3(b"12345") | sha256(b"12345")}),
        ({}, {"digest": xxh3(b"12345") | {"unheard-of": b"?"}}),
        ({"digest": {"unheard-of": b"?"}}, {"digest": xxh3(b"12345")}),
        ({"algorithm": "sha256"}, {"digest": sha256(b"12345")}),
    ],
)
def test_put_with_digests(town: Daemon, head: dict[str, Any], trailer: dict[str, Any]) -> None:
    octets = ask(PUT, {"path": "new", **head}, say_body([b"12345"], trailer))
    (answer,) = converse(town.port, octets)
    check(answer, "size", "etag", may_have=("digest",))


@pytest.mark.parametrize(
    ("head", "trailer", "error"),
    [
        ({}, {}, "invalid"),
        ({"digest": {}}, {"digest": {}}, "invalid"),
        ({}, {"digest": {"unheard-of": b"?"}}, "unsupported"),
        ({"digest": {"unheard-of": b"?"}}, {}, "unsupported"),
        ({"digest": xxh3(b"12345")}, {"digest": sha256(b"other")}, "digest-mismatch"),
        ({"digest": xxh3(b"other")}, {"digest": xxh3(b"12345")}, "digest-mismatch"),
        ({"digest": xxh3(b"other")}, {}, "digest-mismatch"),
        ({}, {"digest": {"xxh3-128": b""}}, "digest-mismatch"),
        ({}, {"digest": {"xxh3-128": xxh3(b"12345")["xxh3-128"][:15]}}, "digest-mismatch"),
    ],
)
def test_put_without_a_right_digest(
    town: Daemon, head: dict[str, Any], trailer: dict[str, Any], error: str
) -> None:
    octets = ask(PUT, {"path": "new", **head}, say_body([b"12345"], trailer)) + ask(HELP)
    answer, then = converse(town.port, octets)
    assert answer.error == error
    assert then.code == DONE
    assert not (town.root / "new").exists()


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 65_537, 1 << 20, 3_000_001])
@pytest.mark.parametrize("chunk", [65_536, 1 << 20, 1 << 24])
def test_put_and_get_sizes(town: Daemon, size: int, chunk: int) -> None:
    body = os.urandom(size)
    octets = put("new", body, chunk=chunk) + ask(GET, path="new") + ask(HELP)
    stored, got, _ = converse(town.port, octets)
    assert check(stored, "size", "etag", may_have=("digest",))["size"] == size
    check(got, "size", "etag", "modified", "mode", may_have=("digest", "offset"))
    assert got.head.get("offset", 0) == 0
    assert got.body == body
    assert got.trailer is not None
    assert got.trailer["digest"] == xxh3(body)
    assert (town.root / "new").read_bytes() == body


def test_chunks_of_the_known_size_are_large(town: Daemon) -> None:
    (town.root / "bulk").write_bytes(bytes(40_000_000))
    with Talk(town.port) as talk:
        assert talk.ask(ask(GET, path="bulk")).body == bytes(40_000_000)
        assert all(65_536 <= size <= 1 << 24 for size in talk.chunks[:-1])


# GET.


@pytest.mark.parametrize("offset", [None, 0, 1, 4, 5])
@pytest.mark.parametrize("count", [None, 0, 1, 4, 5, 6, 2**63 - 1])
@pytest.mark.parametrize("algorithm", [None, "xxh3-128", "sha256"])
def test_get_a_range(
    town: Daemon, offset: int | None, count: int | None, algorithm: str | None
) -> None:
    keys = {"path": "a.txt", "offset": offset, "count": count, "algorithm": algorithm}
    head = {name: value for name, value in keys.items() if value is not None}
    (answer,) = converse(town.port, ask(GET, head))
    promised = check(answer, "size", "etag", "modified", "mode", may_have=("digest", "offset"))
    body = b"hello"[offset or 0 :]
    body = body if count is None else body[:count]
    assert answer.body == body
    assert promised["size"] == 5
    assert promised.get("offset", 0) == (offset or 0)
    digest = (sha256 if algorithm == "sha256" else xxh3)(body)
    assert answer.trailer is not None
    assert digest.items() <= answer.trailer["digest"].items()


def test_get_a_range_of_bulk(town: Daemon) -> None:
    body = os.urandom(1_000_003)
    (town.root / "bulk").write_bytes(body)
    for offset, count in [(0, 65_537), (1, 999_999), (65_535, 131_073), (1_000_002, 5), (7, 0)]:
        (answer,) = converse(town.port, ask(GET, path="bulk", offset=offset, count=count))
        part = body[offset : offset + count]
        assert answer.body == part
        assert answer.trailer is not None
        assert answer.trailer["digest"] == xxh3(part)


def test_get_tells_the_digest_of_the_whole_when_it_knows_it(town: Daemon) -> None:
    octets = put("new", b"12345") + ask(GET, path="new", offset=2)
    _, answer = converse(town.port, octets)
    assert answer.head.get("digest", xxh3(b"12345")) == xxh3(b"12345")
    assert answer.trailer is not None
    assert answer.trailer["digest"] == xxh3(b"345")


def test_etag_is_the_same_in_every_answer(town: Daemon) -> None:
    octets = (
        put("new", b"12345")
        + ask(GET, path="new")
        + ask(STAT, path="new")
        + ask(DIGEST, path="new")
        + ask(GET, path="new", offset=1)
        + ask(LIST)
    )
    *answers, listed = converse(town.port, octets)
    etags = {answer.head["etag"] for answer in answers}
    assert listed.body is not None
    etags |= {entry["etag"] for entry in read_entries(listed.body) if entry["path"] == "new"}
    assert len(etags) == 1


def read_entries(body: bytes) -> list[dict[str, Any]]:
    """Read one map after another."""
    entries, start = [], 0
    while start < len(body):
        for end in range(start + 1, len(body) + 1):
            try:
                entry = msgspec.msgpack.decode(body[start:end])
            except msgspec.DecodeError:
                continue
            entries.append(entry)
            start = end
            break
        else:
            raise AssertionError(f"no entry: {body[start:]!r}")
    return entries


# The others.


@pytest.mark.parametrize("code", [CHANGE, COPY])
def test_change_and_copy(town: Daemon, code: int) -> None:
    with Talk(town.port) as talk:
        etag = talk.ask(ask(STAT, path="a.txt")).head["etag"]
        assert talk.ask(ask(code, path="a.txt", to="empty")).error == "exists"
        assert talk.ask(ask(code, path="a.txt", to="empty", replace=False)).error == "exists"
        assert talk.ask(ask(code, path="missing", to="new")).error == "not-found"
        assert talk.ask(ask(code, path="a.txt", to="none/new")).error == "not-found"
        failed = talk.ask(ask(code, path="a.txt", to="new", if_match="x"))
        assert failed.error == "precondition-failed"
        answer = talk.ask(ask(code, path="a.txt", to="new", if_match=etag))
        promised = ("etag",) if code == CHANGE else ("size", "etag")
        new = check(answer, *promised, may_have=("digest",))["etag"]
        assert talk.ask(ask(STAT, path="new")).head["etag"] == new
        replaced = talk.ask(ask(code, path="new", to="empty", replace=True))
        check(replaced, *promised, may_have=("digest",))
    assert (town.root / "empty").read_bytes() == b"hello"
    assert (town.root / "a.txt").exists() == (code == COPY)
    assert (town.root / "new").exists() == (code == COPY)


def test_summary(town: Daemon) -> None:
    promised = ("count", "max", "min", "mean", "sum", "stddev")
    for head, expected in [
        ({"path": "numbers"}, (3, 44, 10, 26, 78, 13.95230)),
        ({"path": "numbers", "skip": 1}, (2, 44, 24, 34, 68, 10)),
        ({"path": "table.csv", "column": "what"}, (2, 20, 10, 15, 30, 5)),
        ({"path": "table.csv", "column": 2, "skip": 1}, (2, 20, 10, 15, 30, 5)),
        ({"path": "table.csv", "column": 1, "skip": 1, "delimiter": ","}, (2, 2, 1, 1.5, 3, 0.5)),
    ]:
        (answer,) = converse(town.port, ask(SUMMARY, head))
        told = check(answer, *promised)
        assert type(told["count"]) is int
        assert [told[name] for name in promised] == pytest.approx(expected)


def test_summary_of_no_numbers(town: Daemon) -> None:
    answers = converse(
        town.port,
        ask(SUMMARY, path="words")
        + ask(SUMMARY, path="empty")
        + ask(SUMMARY, path="table.csv", column="neither")
        + ask(SUMMARY, path="missing"),
    )
    assert [answer.error for answer in answers[:2]] == ["not-numeric"] * 2
    assert answers[2].error in ("not-numeric", "invalid", "not-found")
    assert answers[3].error == "not-found"
    assert "2" in answers[0].head["message"], "the line"
    assert "3" in answers[0].head["message"], "the octet"


def test_help(town: Daemon) -> None:
    with Talk(town.port) as talk:
        head = check(talk.ask(ask(HELP)), "requests", "features", "limits", "software", "text")
        assert head["limits"] == talk.greeting.head["limits"]
        assert head["features"] == talk.greeting.head["features"]
    assert {"PUT", "GET", "CHANGE", "SUMMARY", "HELP", "LIST", "STAT"} <= set(head["requests"])


def test_list_keys(town: Daemon) -> None:
    (answer,) = converse(town.port, ask(LIST, path="d", recursive=True, after="d/e", limit=1))
    assert answer.code == DONE
    assert answer.body is not None
    (entry,) = read_entries(answer.body)
    assert set(entry) == {"path", "kind", "size", "modified", "mode", "etag"}
    check_types(entry)
    assert (entry["path"], entry["kind"], entry["size"]) == ("d/e/y", "file", 6)
    assert answer.trailer is not None
    assert answer.trailer["more"] == "d/e/y"


def test_stat(town: Daemon) -> None:
    octets = ask(STAT, path="a.txt") + ask(STAT, path="d") + ask(STAT, path="missing")
    file, directory, missing = converse(town.port, octets)
    head = check(file, "kind", "size", "modified", "mode", "etag", may_have=("digest",))
    assert (head["kind"], head["size"]) == ("file", 5)
    status = (town.root / "a.txt").stat()
    assert (head["modified"], head["mode"]) == (status.st_mtime_ns, status.st_mode & 0o777)
    assert directory.head["kind"] == "directory"
    check(directory, "kind", "size", "modified", "mode", "etag")
    assert missing.error == "not-found"


def test_delete(town: Daemon) -> None:
    with Talk(town.port) as talk:
        etag = talk.ask(ask(STAT, path="a.txt")).head["etag"]
        failed = talk.ask(ask(DELETE, path="a.txt", if_match="x"))
        assert failed.error == "precondition-failed"
        check(talk.ask(ask(DELETE, path="a.txt", if_match=etag)))
        assert talk.ask(ask(DELETE, path="a.txt")).error == "not-found"
        assert talk.ask(ask(DELETE, path="d")).error == "not-empty"
        assert talk.ask(ask(DELETE, path="d", recursive=False)).error == "not-empty"
        check(talk.ask(ask(DELETE, path="d", recursive=True)))
        check(talk.ask(ask(MAKE_DIRECTORY, path="d")))
        check(talk.ask(ask(DELETE, path="d")))
        assert talk.ask(ask(DELETE, upload=os.urandom(16))).error == "not-found"
    assert not (town.root / "d").exists()


def test_make_directory(town: Daemon) -> None:
    with Talk(town.port) as talk:
        check(talk.ask(ask(MAKE_DIRECTORY, path="new")))
        assert talk.ask(ask(MAKE_DIRECTORY, path="new")).error == "exists"
        assert talk.ask(ask(MAKE_DIRECTORY, path="a.txt")).error == "exists"
        assert talk.ask(ask(MAKE_DIRECTORY, path="1/2/3")).error == "not-found"
        check(talk.ask(ask(MAKE_DIRECTORY, path="1/2/3", parents=True)))
    assert (town.root / "1/2/3").is_dir()


def test_digest(town: Daemon) -> None:
    with Talk(town.port) as talk:
        head = check(talk.ask(ask(DIGEST, path="a.txt")), "digest", "size", "etag")
        assert (head["digest"], head["size"]) == (xxh3(b"hello"), 5)
        for algorithm, digest in (("xxh3-128", xxh3(b"hello")), ("sha256", sha256(b"hello"))):
            octets = ask(DIGEST, path="a.txt", algorithm=algorithm, if_match=head["etag"])
            assert check(talk.ask(octets), "digest", "size", "etag")["digest"] == digest
        assert talk.ask(ask(DIGEST, path="a.txt", algorithm="crc32")).error == "unsupported"
        assert talk.ask(ask(DIGEST, path="a.txt", if_match="x")).error == "precondition-failed"
        assert talk.ask(ask(DIGEST, path="missing")).error == "not-found"
        assert talk.ask(ask(DIGEST, path="d")).error == "is-directory"


def test_authenticate(town: Daemon) -> None:
    octets = ask(AUTHENTICATE, mechanism="any", response=b"") * 6 + ask(HELP)
    *answers, helped = converse(town.port, octets)
    assert [answer.error for answer in answers] == ["unsupported"] * 6
    assert helped.code == DONE


def test_errors_of_kinds(town: Daemon) -> None:
    """A file where a directory is wanted, and the reverse."""
    for octets, error in [
        (ask(GET, path="d"), "is-directory"),
        (ask(SUMMARY, path="d"), "is-directory"),
        (put("d", b"x"), "is-directory"),
        (ask(GET, path="a.txt/b"), "not-found"),
        (put("a.txt/b", b"x"), "not-found"),
        (ask(MAKE_DIRECTORY, path="a.txt/b"), "not-found"),
        (ask(LIST, path="a.txt"), "not-directory"),
        (put("none/b", b"x"), "not-found"),
        (ask(LIST, path="none"), "not-found"),
        (ask(GET, path="missing"), "not-found"),
    ]:
        answer, then = converse(town.port, octets + ask(HELP))
        assert answer.error == error, octets
        assert then.code == DONE


def test_get_with_if_match(town: Daemon) -> None:
    with Talk(town.port) as talk:
        etag = talk.ask(ask(GET, path="a.txt")).head["etag"]
        assert talk.ask(ask(GET, path="a.txt", if_match=etag, offset=2)).body == b"llo"
        assert talk.ask(put("a.txt", b"hullo")).code == DONE
        failed = talk.ask(ask(GET, path="a.txt", if_match=etag, offset=2))
        assert failed.error == "precondition-failed"


NAMES_THAT_MAY_NOT_BE = [
    *("", ".", "..", "../a", "a/..", "a/./b", "/", "/a", "a/", "a//b", "a\0", "a\tb", "a\nb"),
    *("\x7f", "\x80", "\x9f", "\u061c", "\u200e", "\u200f", "\u2028", "\u2029", "\u202a"),
    *("\u202e", "\u2066", "\u2069", "\ufeffa", ".ft-x", "d/.FT-x", ".Ft-Store/parts/x"),
    *("n" * 256, "d/" + "n" * 256, "n/" * 2048 + "n"),
]


@pytest.mark.parametrize("path", NAMES_THAT_MAY_NOT_BE, ids=ascii)
def test_names_that_may_not_be(town: Daemon, path: str) -> None:
    before = sorted(town.root.rglob("[!.]*"))
    octets = [
        *(ask(code, path=path) for code in (GET, SUMMARY, STAT, DELETE, MAKE_DIRECTORY, DIGEST)),
        *(ask(LIST, path=path), put(path, b"x")),
        *(ask(code, path=path, to="free") for code in (CHANGE, COPY)),
        *(ask(code, path="a.txt", to=path) for code in (CHANGE, COPY)),
    ]
    answers = converse(town.port, b"".join(octets) + ask(HELP))
    assert [answer.error for answer in answers] == ["name-invalid"] * len(octets) + [None]
    assert sorted(town.root.rglob("[!.]*")) == before
    assert all(str(town.root) not in answer.head.get("message", "") for answer in answers)


def test_longest_names(town: Daemon) -> None:
    """A component of 255 octets, a path of 4,096."""
    deep = "/".join(["n" * 255] * 15 + ["m" * 253, "of"])
    assert len(deep) == 4_096
    octets = put("n" * 255, b"1", parents=True) + ask(DELETE, path="n" * 255)
    octets += put(deep, b"2", parents=True) + ask(GET, path=deep) + ask(STAT, path=deep)
    octets += ask(DELETE, path="n" * 255, recursive=True)
    answers = converse(town.port, octets)
    assert [answer.code for answer in answers] == [DONE] * 6
    assert answers[3].body == b"2"
