"""Version 1 as a stranger's client sees it: octets sent, octets answered, and what is then in the served directory.

Each case is one connection to a running daemon; it is sent octet by octet and all in one segment, and then closed on
the client's side. Written from section 1 of the protocol, whose rules the names of the cases number.
"""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conversing import (
    DONE,
    HELP,
    HELP_TEXT,
    NOT_FOUND,
    REFUSED,
    UNKNOWN,
    Peer,
    change,
    content,
    converse,
    get,
    put,
    statistics,
    summary,
)
from running import Daemon

FILES = {
    "a.txt": b"hello",
    "empty": b"",
    "numbers": b"10\n24\n44\n",
    "words": b"10\ntwo\n",
    "d/x": b"in d",
    "d/e/y": b"deeper",
}
FIGURES = statistics(b"Max: 44.0\nMin: 10.0\nAvg: 26.0\n")
NAME_31 = b"a-name-of-exactly-31-octets.txt"
NAME_255 = b"n" * 255

ways = pytest.mark.parametrize("is_octetwise", [False, True], ids=["one-segment", "octet-by-octet"])


@pytest.fixture
def town(daemon: Daemon, tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose root holds FILES, and things that are no regular files; outside lies a secret."""
    for name, octets in FILES.items():
        path = daemon.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    os.mkfifo(daemon.root / "fifo")
    (daemon.root / "inside").symlink_to("a.txt")
    (daemon.root / "outside").symlink_to(secret)
    (daemon.root / "nowhere").symlink_to("missing")
    (daemon.root / "null").symlink_to("/dev/null")
    (daemon.root / "up").symlink_to(tmp_path)
    with socket.socket(socket.AF_UNIX) as listening:
        # Bound by a short relative path: a socket's path has 108 octets.
        descriptor = os.open(daemon.root, os.O_PATH)
        listening.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
        yield daemon
    assert secret.read_bytes() == b"secret"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["secret"]


SPECIAL = {"fifo", "inside", "outside", "nowhere", "null", "up", "socket"}


def read_files(daemon: Daemon) -> dict[str, bytes]:
    """The regular files, by their paths; the special ones must be what they were."""
    files = {}
    special = set()
    for directory, _, names in os.walk(daemon.root):
        for name in names:
            path = Path(directory, name)
            relative = str(path.relative_to(daemon.root))
            if relative.startswith(".ft-store"):
                continue
            if path.is_symlink() or not path.is_file():
                special.add(relative)
            else:
                files[relative] = path.read_bytes()
    special.update(each.name for each in daemon.root.iterdir() if each.is_symlink())
    assert special == SPECIAL
    assert (daemon.root / "fifo").is_fifo()
    assert (daemon.root / "socket").is_socket()
    return files


Case = tuple[bytes, bytes] | tuple[bytes, bytes, dict[str, bytes | None]]

CASES: dict[str, Case] = {
    "nothing": (b"", b""),
    # The requests, each alone.
    "put": (put(b"new", b"some octets"), DONE, {"new": b"some octets"}),
    "get": (get(b"a.txt"), content(b"a.txt", b"hello")),
    "get, missing": (get(b"missing"), NOT_FOUND),
    "change": (change(b"a.txt", b"b.txt"), DONE, {"a.txt": None, "b.txt": b"hello"}),
    "summary": (summary(b"numbers"), FIGURES),
    "summary, missing": (summary(b"missing"), NOT_FOUND),
    "help": (HELP, HELP_TEXT),
    "help, any length": (bytes(range(0x80, 0xA0)), HELP_TEXT * 32),
    "help, the older edition's": (b"\x60", HELP_TEXT),
    "unknown codes, any length": (bytes(range(0xA0, 0x100)), UNKNOWN * 96),
    "unknown, nothing is skipped": (b"\xa5" + get(b"a.txt"), UNKNOWN + content(b"a.txt", b"hello")),
    # Rule 1.
    "1: any number of requests": (HELP * 1000, HELP_TEXT * 1000),
    "1: in order": (
        put(b"1", b"one")
        + get(b"1")
        + summary(b"numbers")
        + get(b"missing")
        + change(b"1", b"2")
        + get(b"1")
        + get(b"2")
        + b"\xe1"
        + put(b"2", b"two")
        + get(b"2")
        + HELP,
        DONE
        + content(b"1", b"one")
        + FIGURES
        + NOT_FOUND
        + DONE
        + NOT_FOUND
        + content(b"2", b"one")
        + UNKNOWN
        + DONE
        + content(b"2", b"two")
        + HELP_TEXT,
        {"2": b"two"},
    ),
    "1: as many PUTs as are under way": (
        b"".join(put(b"p", b"%d" % number) for number in range(300)) + get(b"p"),
        DONE * 300 + content(b"p", b"299"),
        {"p": b"299"},
    ),
    "1: a long way round": (
        put(b"r", b"r")
        + b"".join(change(b"r" * n, b"r" * (n + 1)) for n in range(1, 31))
        + get(b"r" * 31),
        DONE * 31 + content(b"r" * 31, b"r"),
        {"r" * 31: b"r"},
    ),
    # Rule 4.
    "4: a refused body is discarded": (
        put(b"..", b"\x80" * 5000) + HELP,
        REFUSED + HELP_TEXT,
    ),
    "4: refused, a missing directory": (put(b"no/x", b"\x80\x80") + HELP, REFUSED + HELP_TEXT),
    "4: refused, a directory": (put(b"d", b"\x80\x80") + HELP, REFUSED + HELP_TEXT),
    "4: refused, empty": (put(b"/a", b"") + HELP, REFUSED + HELP_TEXT),
    "4: refused between others": (
        put(b"1", b"x") + put(b"/", b"yy") + put(b"2", b"z"),
        DONE + REFUSED + DONE,
        {"1": b"x", "2": b"z"},
    ),
    # Rule 5.
    "5: a lone 00": (b"\x00", REFUSED),
    "5: what follows is read as requests": (
        b"\x00" + HELP + b"\x00\x00" + get(b"a.txt"),
        REFUSED + HELP_TEXT + REFUSED * 2 + content(b"a.txt", b"hello"),
    ),
    # Rule 6.
    "6: an empty file": (
        put(b"nil", b"") + get(b"nil") + get(b"empty"),
        DONE + content(b"nil", b"") + content(b"empty", b""),
        {"nil": b""},
    ),
    "6: one octet": (put(b"o", b"\x00") + get(b"o"), DONE + content(b"o", b"\x00"), {"o": b"\x00"}),
    "6: every octet": (
        put(b"all", bytes(range(256))) + get(b"all"),
        DONE + content(b"all", bytes(range(256))),
        {"all": bytes(range(256))},
    ),
    # Rule 7.
    "7: separators": (
        put(b"n", b"1, 2\t3\r\n\n4 ,5\n") + summary(b"n"),
        DONE + statistics(b"Max: 5.0\nMin: 1.0\nAvg: 3.0\n"),
        {"n": b"1, 2\t3\r\n\n4 ,5\n"},
    ),
    "7: forms of numbers": (
        put(b"n", b"\xef\xbb\xbf+1 .5 5. -2e1 007") + summary(b"n"),
        DONE + statistics(b"Max: 7.0\nMin: -20.0\nAvg: -1.3\n"),
        {"n": b"\xef\xbb\xbf+1 .5 5. -2e1 007"},
    ),
    "7: one number": (
        put(b"n", b"1e300") + summary(b"n"),
        DONE + statistics(b"Max: 1e+300\nMin: 1e+300\nAvg: 1e+300\n"),
        {"n": b"1e300"},
    ),
    "7: no number": (summary(b"empty") + HELP, NOT_FOUND + HELP_TEXT),
    "7: separators alone": (put(b"n", b" ,\n") + summary(b"n"), DONE + NOT_FOUND, {"n": b" ,\n"}),
    "7: a word": (summary(b"words") + HELP, NOT_FOUND + HELP_TEXT),
    "7: infinity": (put(b"n", b"1 inf") + summary(b"n"), DONE + NOT_FOUND, {"n": b"1 inf"}),
    "7: nan": (put(b"n", b"nan") + summary(b"n"), DONE + NOT_FOUND, {"n": b"nan"}),
    "7: hexadecimal": (put(b"n", b"0x10") + summary(b"n"), DONE + NOT_FOUND, {"n": b"0x10"}),
    "7: an underscore": (put(b"n", b"1_0") + summary(b"n"), DONE + NOT_FOUND, {"n": b"1_0"}),
    "7: the text is no file": (summary(b"numbers") + get(b"summary.txt"), FIGURES + NOT_FOUND),
    # Rule 8.
    "8: 31 octets": (
        put(NAME_31, b"31") + get(NAME_31) + summary(NAME_31),
        DONE + content(NAME_31, b"31") + statistics(b"Max: 31.0\nMin: 31.0\nAvg: 31.0\n"),
        {NAME_31.decode(): b"31"},
    ),
    "8: a new name of 255 octets": (
        change(b"a.txt", NAME_255),
        DONE,
        {"a.txt": None, NAME_255.decode(): b"hello"},
    ),
    "8: names are not padded": (
        put(b"b ", b"x") + get(b"b") + get(b"b "),
        DONE + NOT_FOUND + content(b"b ", b"x"),
        {"b ": b"x"},
    ),
    "8: UTF-8": (
        put("näm€".encode(), b"x") + get("näm€".encode()),
        DONE + content("näm€".encode(), b"x"),
        {"näm€": b"x"},
    ),
    "8: composed and not are two": (
        put("é".encode(), b"1") + put("e\u0301".encode(), b"2") + get("é".encode()),
        DONE + DONE + content("é".encode(), b"1"),
        {"é": b"1", "e\u0301": b"2"},
    ),
    "8: a subdirectory": (
        get(b"d/x") + put(b"d/e/z", b"z") + get(b"d/e/z") + change(b"d/e/z", b"z") + get(b"z"),
        content(b"d/x", b"in d") + DONE + content(b"d/e/z", b"z") + DONE + content(b"z", b"z"),
        {"z": b"z"},
    ),
    "8: a file on the way": (
        get(b"a.txt/x")
        + put(b"a.txt/x", b"x")
        + change(b"a.txt/x", b"y")
        + change(b"a.txt", b"empty/x"),
        NOT_FOUND + REFUSED + NOT_FOUND + REFUSED,
    ),
    "8: CHANGE is read whole": (change(b"..", NAME_255) + HELP, NOT_FOUND + HELP_TEXT),
    "8: CHANGE to nothing": (change(b"a.txt", b"") + HELP, REFUSED + HELP_TEXT),
    "8: CHANGE from nothing": (change(b"", b"b") + HELP, NOT_FOUND + HELP_TEXT),
    "8: GET of nothing": (b"\x20" + HELP, NOT_FOUND + HELP_TEXT),
    "8: a length that is a line feed": (
        change(b"a.txt", b"b" * 10),
        DONE,
        {"a.txt": None, "b" * 10: b"hello"},
    ),
    "8: a length that is a return": (
        change(b"a.txt", b"b" * 13),
        DONE,
        {"a.txt": None, "b" * 13: b"hello"},
    ),
    # Rule 9.
    "9: PUT replaces": (
        put(b"a.txt", b"other") + get(b"a.txt"),
        DONE + content(b"a.txt", b"other"),
        {"a.txt": b"other"},
    ),
    "9: PUT replaces by less": (put(b"a.txt", b""), DONE, {"a.txt": b""}),
    "9: CHANGE never replaces": (
        change(b"a.txt", b"empty") + get(b"empty"),
        REFUSED + content(b"empty", b""),
    ),
    "9: CHANGE to itself": (change(b"a.txt", b"a.txt"), REFUSED),
    "9: a name that was freed": (
        change(b"a.txt", b"b") + change(b"empty", b"a.txt"),
        DONE + DONE,
        {"a.txt": b"", "b": b"hello", "empty": None},
    ),
    # Rule 11: what is in a body, and what is not the first, is no HTTP.
    "11: HTTP in a body": (
        put(b"h", b"GET / HTTP/1.1\r\n\r\n"),
        DONE,
        {"h": b"GET / HTTP/1.1\r\n\r\n"},
    ),
    "11: HTTP behind a request": (HELP + change(b"ET abcd", b"b"), HELP_TEXT + NOT_FOUND),
    "11: nearly HTTP": (change(b"ETabcde", b"b"), NOT_FOUND),
    "11: nearly TLS": (b"\x16\x04" + b"n" * 21 + b"\0\0\0\x01x", REFUSED),
}


@ways
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_case(town: Daemon, case: Case, is_octetwise: bool) -> None:
    sent, answered, *changes = case
    assert converse(town.port, sent, is_octetwise=is_octetwise) == answered
    left: dict[str, bytes | None] = {**FILES, **(changes[0] if changes else {})}
    assert read_files(town) == {name: octets for name, octets in left.items() if octets is not None}


# Rule 8 and section 4: names of things that are no regular files below the root, and names that may not be.
SPECIAL_NAMES = [name.encode() for name in sorted(SPECIAL)]
HOSTILE_NAMES = [
    b".",
    b"..",
    b"../secret",
    b"../a.txt",
    b"d/../a.txt",
    b"d/../../root/a.txt",
    b"d/..",
    b"d/.",
    b"./a.txt",
    b"/",
    b"/a.txt",
    b"/etc/passwd",
    b"//a.txt",
    b"d/",
    b"d//x",
    b"a.txt/",
    b"up/secret",
    b"inside/..",
    b"a\0",
    b"a.txt\0",
    b"\0",
    b"\x01",
    b"a\tb",
    b"a\x0bb",
    b"\x1b[2J",
    b"a\x7f",
    b"\xc2\x80",
    b"\xc2\x9b1m",
    b"\xc2\x85",
    "\u061c".encode(),
    "\u200e".encode(),
    "\u200f".encode(),
    "\u2028".encode(),
    "\u2029".encode(),
    "\u202e".encode(),
    "txt.\u202aexe".encode(),
    "\u2066".encode(),
    "\u2069".encode(),
    "\ufeffa.txt".encode(),
    b"\xff",
    b"\xc3\x28",
    b"\xc0\xae\xc0\xae",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"a.txt\xe2\x82",
    b".ft-store",
    b".ft-store/parts",
    b".ft-x",
    b".FT-x",
    b".Ft-Store/parts/x",
    b"d/.ft-x",
]


@ways
@pytest.mark.parametrize("name", [*SPECIAL_NAMES, b"d", *HOSTILE_NAMES], ids=repr)
def test_name_that_may_not_be_used(town: Daemon, name: bytes, is_octetwise: bool) -> None:
    sent = (
        get(name)
        + summary(name)
        + change(name, b"free")
        + put(name, b"\x80")
        + change(b"a.txt", name)
        + change(b"missing", name)
        + HELP
    )
    answered = NOT_FOUND * 3 + REFUSED * 2 + NOT_FOUND + HELP_TEXT
    assert converse(town.port, sent, is_octetwise=is_octetwise) == answered
    assert read_files(town) == FILES


def test_names_are_logged_escaped(start_daemon: Callable[..., Daemon]) -> None:
    # One of its own: of an address, so many refusals a minute have a line.
    town = start_daemon("--max-requests", "255")
    converse(town.port, get(b"\x1b[2J\x07{x}%s") + get("a\u202e.txt".encode()))
    log = town.wait_for_log(r"u202e.*")
    assert not set(town.log) & {"\x1b", "\x07", "\u202e"}, log


OLD = {
    b"a.txt": DONE,
    b"missing": NOT_FOUND,
    b"d": NOT_FOUND,
    b"d/x": DONE,
    b"fifo": NOT_FOUND,
    b"outside": NOT_FOUND,
    b"..": NOT_FOUND,
    b"": NOT_FOUND,
    b"\xff": NOT_FOUND,
    b".ft-store": NOT_FOUND,
}
NEW = {
    b"free": DONE,
    b"d/free": DONE,
    b"empty": REFUSED,
    b"d": REFUSED,
    b"d/e/y": REFUSED,
    b"no/free": REFUSED,
    b"a.txt/free": REFUSED,
    b"fifo": REFUSED,
    b"nowhere": REFUSED,
    b"up/free": REFUSED,
    b"..": REFUSED,
    b"": REFUSED,
    b"\xff": REFUSED,
    b".ft-x": REFUSED,
}


@ways
@pytest.mark.parametrize("old", OLD, ids=repr)
def test_change(town: Daemon, old: bytes, is_octetwise: bool) -> None:
    """Rule 8: what is wrong with the old name is said first."""
    for new, expected in NEW.items():
        answered = expected if OLD[old] == DONE else OLD[old]
        sent = change(old, new) + HELP
        assert converse(town.port, sent, is_octetwise=is_octetwise) == answered + HELP_TEXT, new
        left = dict(FILES)
        if answered == DONE:
            left[new.decode()] = left.pop(old.decode())
        assert read_files(town) == left, new
        if answered == DONE:
            (town.root / new.decode()).rename(town.root / old.decode())


# Rule 11. Nothing is answered, nothing is written, and the connection ends though the client does not close it.
FOREIGN: dict[str, bytes] = {
    "GET": b"GET / HTTP/1.1\r\nHost: localhost:9000\r\n\r\n",
    "HEAD": b"HEAD /a.txt HTTP/1.1\r\n\r\n",
    "POST": b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n\x05a.txt\0\0\0",
    "PUT": b"PUT /a.txt HTTP/1.1\r\n\r\n",
    "DELETE": b"DELETE /a.txt HTTP/1.1\r\n\r\n",
    "CONNECT": b"CONNECT a:1 HTTP/1.1\r\n\r\n",
    "OPTIONS": b"OPTIONS * HTTP/1.1\r\n\r\n",
    "TRACE": b"TRACE / HTTP/1.1\r\n\r\n",
    "PATCH": b"PATCH / HTTP/1.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "the method alone": b"GET ",
    "a long path": b"POST /" + b"n" * 300,
    "an unusual method": b"PROPFIND / HTTP/1.1\r\n\r\n",
    "an empty line first": b"\r\nGET / HTTP/1.1\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 32,
    "the beginning of TLS": b"\x16\x03",
    "line feed in a put": b"\x05a\ntxt\0\0\0\x01x",
    "return in a put": b"\x05a.tx\r\0\0\0\x01x",
    "line feed in a get": b"\x25a\ntxt",
    "return in an old name": b"\x45a\rtxt\x01b",
    "line feed in a new name": b"\x45a.txt\x03b\nc",
    "return in a summary": b"\x67number\r",
}


@ways
@pytest.mark.parametrize("octets", FOREIGN.values(), ids=FOREIGN)
def test_other_protocols_get_no_answer(town: Daemon, octets: bytes, is_octetwise: bool) -> None:
    with Peer(town.port, is_octetwise=is_octetwise) as peer:
        peer.send(octets)
        assert peer.receive_all() == b""
    assert read_files(town) == FILES


@ways
def test_line_break_fails_behind_other_requests(town: Daemon, is_octetwise: bool) -> None:
    """What was asked before may have been answered; what follows is not done."""
    with Peer(town.port, is_octetwise=is_octetwise) as peer:
        peer.send(HELP + b"\x05a\ntxt\0\0\0\x01x" + put(b"b", b"x"))
        assert peer.receive_all() in (b"", HELP_TEXT)
    assert read_files(town) == FILES
