"""LIST: pages, order, what is hidden, and names that nobody would choose. Source: protocol, section 2, "LIST"."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from framing import DELETE, DONE, LIST, ask, put
from running import Daemon
from talking import Talk, converse

Entry = dict[str, Any]


def read_entries(body: bytes) -> list[Entry]:
    """Read one map after another: each begins with a map of six keys, the first of which is the path."""
    count = body.count(b"\x86\xa4path")
    entries: list[Entry] = msgspec.msgpack.decode(b"\xdd" + count.to_bytes(4, "big") + body)
    return entries


def list_page(talk: Talk, **keys: Any) -> tuple[list[Entry], dict[str, Any]]:
    answer = talk.ask(ask(LIST, keys))
    assert answer.code == DONE, answer
    assert answer.body is not None
    assert answer.trailer is not None
    entries = read_entries(answer.body)
    assert all(
        set(entry) == {"path", "kind", "size", "modified", "mode", "etag"} for entry in entries
    )
    assert set(answer.trailer) <= {"more", "hidden"}
    return entries, answer.trailer


def list_all(talk: Talk, limit: int, **keys: Any) -> tuple[list[Entry], int]:
    """Give the entries of all pages, and how many were hidden."""
    entries, trailer = list_page(talk, limit=limit, **keys)
    hidden = trailer.get("hidden", 0)
    while "more" in trailer:
        assert trailer["more"] == entries[-1]["path"]
        page, trailer = list_page(talk, limit=limit, after=trailer["more"], **keys)
        assert 0 < len(page) <= limit
        hidden += trailer.get("hidden", 0)
        entries += page
    return entries, hidden


def sort_key(path: str) -> list[bytes]:
    return [component.encode() for component in path.split("/")]


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, list[str]]]:
    """A daemon with 20,000 files in a directory, and their paths."""
    directory = tmp_path_factory.mktemp("crowd")
    paths = [f"many/{number * 7919 % 20_000:x}{'é' * (number % 3)}" for number in range(20_000)]
    (directory / "root/many").mkdir(parents=True)
    for path in paths:
        os.close(os.open(directory / "root" / path, os.O_CREAT))
    with Daemon(directory) as daemon:
        yield daemon, sorted(paths, key=sort_key)
        assert "Traceback" not in daemon.log


@pytest.mark.parametrize("limit", [100_000, 20_001, 20_000, 19_999, 3_000])
def test_pages_of_20000(crowd: tuple[Daemon, list[str]], limit: int) -> None:
    daemon, paths = crowd
    with Talk(daemon.port) as talk:
        for keys in ({"path": "many"}, {"path": "many", "recursive": True}):
            entries, hidden = list_all(talk, limit, **keys)
            assert [entry["path"] for entry in entries] == paths
            assert hidden == 0


def test_small_pages(crowd: tuple[Daemon, list[str]]) -> None:
    daemon, paths = crowd
    with Talk(daemon.port) as talk:
        for start in (0, 1, 777, 19_990):
            after = {"after": paths[start - 1]} if start else {}
            entries, trailer = list_page(talk, path="many", limit=10, **after)
            assert [entry["path"] for entry in entries] == paths[start : start + 10]
            assert ("more" in trailer) == (start + 10 < len(paths))


def test_cursor_that_does_not_exist(crowd: tuple[Daemon, list[str]]) -> None:
    """It is a place, and no file."""
    daemon, paths = crowd
    with Talk(daemon.port) as talk:
        for after, first in [
            ("many/777x", next(path for path in paths if path > "many/777x")),
            ("many", paths[0]),
            ("many/", paths[0]),
            ("a", paths[0]),
            ("many/\x00", paths[0]),
        ]:
            entries, _ = list_page(talk, path="many", limit=1, after=after)
            assert entries[0]["path"] == first, after
        assert list_page(talk, path="many", after="n") == ([], {})
        assert list_page(talk, path="many", after=paths[-1]) == ([], {})


def test_entry_that_goes_between_two_pages(daemon: Daemon) -> None:
    with Talk(daemon.port) as talk:
        for name in "abcd":
            talk.ask(put(name, b""))
        entries, trailer = list_page(talk, limit=2)
        assert [entry["path"] for entry in entries] == ["a", "b"]
        talk.ask(ask(DELETE, path="b"))
        entries, trailer = list_page(talk, limit=2, after=trailer["more"])
        assert [entry["path"] for entry in entries] == ["c", "d"]
        assert "more" not in trailer


ODD = ["a", "a b", "a-b", "a.b", "a/b", "a/b/c", "a0", "aa", "A", "z/y", "é", "e\u0301", "€", "😀"]


def test_order_of_components(daemon: Daemon) -> None:
    """By the octets of each: a directory stands directly before what is in it, whatever else begins like it."""
    for path in ODD:
        if path not in ("a", "a/b"):
            (daemon.root / path).parent.mkdir(parents=True, exist_ok=True)
            (daemon.root / path).write_bytes(path.encode())
    expected = sorted([*ODD, "z"], key=sort_key)
    with Talk(daemon.port) as talk:
        for limit in (100, 1, 2, 3):
            entries, _ = list_all(talk, limit, recursive=True)
            assert [entry["path"] for entry in entries] == expected
        for entry in entries:
            status = (daemon.root / entry["path"]).stat()
            is_directory = (daemon.root / entry["path"]).is_dir()
            assert entry["kind"] == ("directory" if is_directory else "file")
            assert entry["mode"] == status.st_mode & 0o777
            assert entry["modified"] == status.st_mtime_ns
            assert is_directory or entry["size"] == status.st_size
        entries, _ = list_all(talk, 100)
        assert [entry["path"] for entry in entries] == [
            path for path in expected if "/" not in path
        ]
        entries, _ = list_all(talk, 2, path="a", recursive=True)
        assert [entry["path"] for entry in entries] == ["a/b", "a/b/c"]


HOSTILE = [
    *(b"\xff", b"a\xffb", b"\xc3\x28", b"\xed\xa0\x80", b"\x01", b"a\tb", b"a\nb", b"\x1b[2J"),
    *(b"\x7f", b"\xc2\x80", b"\xc2\x9b1m", "\u061c".encode(), "\u200e".encode()),
    *("\u2028".encode(), "a\u202eb".encode(), "\u2066".encode(), "\ufeffa".encode()),
    *(b".ft-x", b".FT-x", b".Ft-"),
]


def test_what_is_hidden(daemon: Daemon, tmp_path: Path) -> None:
    """Names that may not be, and links; what is in a hidden directory is not looked at. The rest is there."""
    os.makedirs(os.fsencode(daemon.root) + b"/d/in\xff")
    for name in HOSTILE:
        Path(os.fsdecode(os.fsencode(daemon.root) + b"/d/" + name)).write_bytes(b"x")
    Path(os.fsdecode(os.fsencode(daemon.root) + b"/d/in\xff/x")).write_bytes(b"x")
    (daemon.root / "d/link").symlink_to("/etc/passwd")
    (daemon.root / "d/up").symlink_to("..")
    (daemon.root / "d/nowhere").symlink_to("missing")
    os.mkfifo(daemon.root / "d/fifo")
    for name in ("ok", " ", "%s", "-rf", "*", "\\", '"'):
        (daemon.root / "d" / name).write_bytes(b"x")
    visible = sorted(["ok", " ", "%s", "-rf", "*", "\\", '"', "fifo"])
    hidden = len(HOSTILE) + 1 + 3
    with Talk(daemon.port) as talk:
        for recursive in (False, True):
            entries, trailer = list_page(talk, path="d", recursive=recursive)
            assert [entry["path"] for entry in entries] == [f"d/{name}" for name in visible]
            assert trailer == {"hidden": hidden}
        kinds = {entry["path"]: entry["kind"] for entry in entries}
        assert kinds["d/fifo"] == "other"
        entries, _ = list_all(talk, 1, path="d")
        assert [entry["path"] for entry in entries] == [f"d/{name}" for name in visible]


def test_socket_is_other(daemon: Daemon) -> None:
    descriptor = os.open(daemon.root, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
        with Talk(daemon.port) as talk:
            entries, _ = list_page(talk)
    assert [(entry["path"], entry["kind"]) for entry in entries] == [("socket", "other")]


def test_empty_and_deep(daemon: Daemon) -> None:
    deep = "/".join("d" * 200)
    (daemon.root / deep).mkdir(parents=True)
    (daemon.root / "none").mkdir()
    with Talk(daemon.port) as talk:
        assert list_page(talk, path="none") == ([], {})
        entries, _ = list_all(talk, 7, recursive=True)
        assert [entry["path"] for entry in entries] == [
            *("/".join("d" * depth) for depth in range(1, 201)),
            "none",
        ]
    assert len(converse(daemon.port, ask(DELETE, path="d", recursive=True))) == 1
    assert not (daemon.root / "d").exists()
