"""ft-client against servers that others have written in the style of the article: version 1, each with its manners.

None of them uses anything of this package. The first is the article's own, as the benchmarks have it, in a process.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from programs import REPOSITORY, Ran, ft_client, list_names
from terminals import open_screen

ARTICLE = REPOSITORY / "benchmarks" / "peers" / "programs" / "article.py"
HELP = b"bye change get help put summary"


def answer_one(request: bytes, root: Path) -> tuple[bytes, int]:  # noqa: C901 - as people write it
    """Answer the first request in some octets; gives the answer, and how long the request was, 0 while it is not whole.

    Written from the published description, the way people write it the first time.
    """
    code, length = request[0] >> 5, request[0] & 31
    name = request[1 : 1 + length].decode()
    end = 1 + length
    if code < 4 and len(request) < end:
        return b"", 0
    if code == 0:
        if len(request) < end + 4:
            return b"", 0
        (size,) = struct.unpack("!I", request[end : end + 4])
        if len(request) < end + 4 + size:
            return b"", 0
        (root / name).write_bytes(request[end + 4 : end + 4 + size])
        return b"\x00", end + 4 + size
    if code == 2:
        if len(request) <= end or len(request) < end + 1 + request[end]:
            return b"", 0
        new = request[end + 1 : end + 1 + request[end]].decode()
        end += 1 + request[end]
        if not (root / name).exists():
            return b"\x60", end
        if (root / new).exists():
            return b"\xa0", end
        os.rename(root / name, root / new)
        return b"\x00", end
    if code == 4:
        return bytes([6 << 5 | len(HELP)]) + HELP, 1
    if code > 4:
        return b"\x80", 1
    if not (root / name).is_file():
        return b"\x60", end
    octets = (root / name).read_bytes()
    if code == 3:
        numbers = [float(number) for number in octets.split()]
        mean = sum(numbers) / len(numbers)
        octets = f"Max: {max(numbers)}\nMin: {min(numbers)}\nAvg: {mean}\n".encode()
        name = "summary.txt"
    head = bytes([(1 if code == 1 else 2) << 5 | len(name)]) + name.encode()
    return head + struct.pack("!I", len(octets)) + octets, end


def answer_all(connection: socket.socket, root: Path, at_a_time: int) -> Iterator[bytes]:
    """Read, and give the answer to each request, until the end."""
    octets = b""
    while more := connection.recv(at_a_time if len(octets) < 64 else 65536):
        octets += more
        while octets:
            answer, length = answer_one(octets, root)
            if not length:
                break
            octets = octets[length:]
            yield answer


def serve_one_request_a_connection(connection: socket.socket, root: Path) -> None:
    """Answers, and closes: what else came is never looked at."""
    for answer in answer_all(connection, root, 1024):
        connection.sendall(answer)
        return


def serve_one_at_a_time(connection: socket.socket, root: Path) -> None:
    """Reads one octet at a time, writes head and body apart, and one octet of the head first."""
    for answer in answer_all(connection, root, 1):
        connection.sendall(answer[:1])
        connection.sendall(answer[1:6])
        connection.sendall(answer[6:])


def serve_bare(connection: socket.socket, root: Path) -> None:
    """Its summary is text without a head, and the last line has no end; to HELP it knows no answer."""
    for answer in answer_all(connection, root, 4096):
        reply = answer
        if answer[0] >> 5 == 2:
            reply = answer[answer.index(b"Max") :].rstrip(b"\n")
        if answer[0] >> 5 == 6:
            reply = b"\x80"
        connection.sendall(reply)


@contextlib.contextmanager
def serve_in_threads(serve: Callable[[socket.socket, Path], None], root: Path) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))

    def speak(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            serve(connection, root)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=speak, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@contextlib.contextmanager
def serve_article(root: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([sys.executable, ARTICLE, str(port), root])
    try:
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


SERVERS: dict[str, Callable[[Path], Any]] = {
    "article": serve_article,
    "one request": lambda root: serve_in_threads(serve_one_request_a_connection, root),
    "one octet": lambda root: serve_in_threads(serve_one_at_a_time, root),
    "bare": lambda root: serve_in_threads(serve_bare, root),
}
HAS_CHANGE = ("one octet", "bare")
HAS_HELP = ("one request", "one octet")


class Shell:
    """Runs ft-client beside a server."""

    def __init__(self, server: str, root: Path, directory: Path) -> None:
        self.server = server
        self.root = root
        self.directory = directory

    def run(self, *arguments: str, status: int = 0, **options: Any) -> Ran:
        # The article's server may not have begun to listen.
        ran = ft_client(
            "--retry", "6", *arguments, cwd=self.directory, server=self.server, **options
        )
        assert ran.status == status, ran.errors
        assert bool(ran.errors) == bool(status)
        return ran


@pytest.fixture(params=SERVERS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shell(kind: str, tmp_path: Path) -> Iterator[Shell]:
    root, here = tmp_path / "root", tmp_path / "here"
    root.mkdir()
    here.mkdir()
    (here / "numbers").write_text("10 44\n24\n")
    (here / "large").write_bytes(os.urandom(100_000))
    (here / "empty").touch()
    with SERVERS[kind](root) as server:
        yield Shell(server, root, here)


def test_files_there_and_back(shell: Shell) -> None:
    names = ["numbers", "large", "empty"]
    shell.run("put", *names)
    assert list_names(shell.root) == sorted(names)
    (shell.directory / "back").mkdir()
    shell.run("get", *names, "-o", "back")
    for name in names:
        octets = (shell.directory / name).read_bytes()
        assert (shell.root / name).read_bytes() == octets
        assert (shell.directory / "back" / name).read_bytes() == octets
    shell.run("put", "-", "piped", given=b"through a pipe")
    assert shell.run("get", "piped", "-").output == "through a pipe"
    assert "not found on" in shell.run("get", "missing", status=4).errors


def test_the_other_words_of_the_article(shell: Shell, kind: str) -> None:
    shell.run("put", "numbers")
    assert shell.run("summary", "numbers").output == "Max: 44.0\nMin: 10.0\nAvg: 26.0\n"
    shell.run("summary", "missing", status=4)
    if kind in HAS_CHANGE:
        shell.run("change", "numbers", "digits")
        assert list_names(shell.root) == ["digits"]
        shell.run("put", "numbers")
        shell.run("mv", "numbers", "digits", status=20)
        shell.run("change", "missing", "x", status=4)
    elif kind == "article":
        refused = shell.run("change", "numbers", "digits", status=20).errors
        assert "the server does not know this request" in refused
    if kind in HAS_HELP:
        assert shell.run("help").output == HELP.decode() + "\n"
    else:
        assert "does not know this request" in shell.run("help", status=20).errors
    shell.run("bye")
    told = shell.run("info").output
    assert "version:    1 of the protocol\n" in told
    assert "promises:   none\n" in told


@pytest.mark.parametrize(
    "arguments",
    [
        "ls",
        "stat numbers",
        "rm numbers",
        "mkdir d",
        "digest numbers",
        "cp :numbers :copy",
        "sync . :",
        "put -r .",
        "get -r numbers",
        "put -p numbers",
        "get -p numbers -o x",
        "put --parents numbers --as d/x",
        "put --no-clobber numbers",
        "put --if-match e numbers",
        "get --if-match e numbers -o x",
        "summary numbers --column 1",
        "--require durable put numbers",
        "--require verified get numbers -o x",
    ],
)
def test_what_version_1_cannot_say_is_told(tmp_path: Path, arguments: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "numbers").write_text("1")
    (tmp_path / "numbers").write_text("2")
    with serve_in_threads(serve_one_at_a_time, tmp_path / "root") as server:
        ran = ft_client(*arguments.split(), cwd=tmp_path, server=server)
    assert ran.status == 20
    [line] = ran.errors.splitlines()
    assert "older server" in line or "does not promise" in line
    assert (tmp_path / "root" / "numbers").read_text() == "1"
    assert list_names(tmp_path) == ["numbers", "root"]


def test_what_is_promised_of_a_file(shell: Shell) -> None:
    ran = shell.run("--json", "put", "numbers")
    [item] = [line for line in map(json.loads, ran.output.splitlines()) if line["type"] == "item"]
    assert (item["durable"], item["verified"]) == (False, False)


def test_a_script(shell: Shell) -> None:
    script = (
        b"put numbers\nput large\n-ls\n-get missing\nget large -o again\nsummary numbers\nbye\nno\n"
    )
    ran = ft_client(
        "--retry", "6", "shell", "-", cwd=shell.directory, server=shell.server, given=script
    )
    assert (ran.status, ran.output) == (0, "Max: 44.0\nMin: 10.0\nAvg: 26.0\n")
    assert len(ran.errors.splitlines()) == 2
    assert (shell.directory / "again").read_bytes() == (shell.directory / "large").read_bytes()


def test_at_the_prompt(shell: Shell, kind: str) -> None:
    with open_screen("--retry", "6", cwd=shell.directory, FT_SERVER=shell.server) as screen:
        screen.wait_for("ft>")
        screen.type("put numbers\r")
        screen.wait_for("numbers -> numbers: 9 octets")
        screen.type("summary numbers\r")
        screen.wait_for("Avg: 26.0")
        screen.type("ls\r")
        screen.wait_for("is an older server")
        screen.type("help\r")
        screen.wait_for(HELP.decode() if kind in HAS_HELP else "does not know this request")
        screen.type("get numbers -o copy\r")
        screen.wait_for("numbers -> copy: 9 octets")
        screen.type("bye\r")
        assert screen.wait_for_end() == 0
    assert (shell.directory / "copy").read_bytes() == b"10 44\n24\n"
