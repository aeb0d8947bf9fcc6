"""The examples of version 1 in docs/protocol.rst, each on a connection of its own, against a real daemon."""

import re
import select
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "protocol.rst"
TWISTD = Path(sys.executable).with_name("twistd")
DEADLINE_SECONDS = 20

Example = list[tuple[str, str]]


def read_examples(*, is_version_2: bool = False) -> list[Example]:
    """Find the runs of lines ``    > octets`` and ``    < octets``; a blank line ends one."""
    examples: list[Example] = [[]]
    for line in PAGE.read_text().split("\nVersion 2\n")[is_version_2].splitlines():
        if found := re.fullmatch(r" {4}([<>]) (.+)", line):
            examples[-1].append((found[1], found[2]))
        elif examples[-1]:
            examples.append([])
    return [example for example in examples if example]


def parse_octets(text: str) -> bytes:
    """Turn ``05 "a.txt" 00`` into the octets it stands for."""
    assert re.fullmatch(r'([0-9A-F]{2}|"[^"]+")( ([0-9A-F]{2}|"[^"]+"))*', text), text
    words: list[str] = re.findall(r'"[^"]+"|[0-9A-F]{2}', text)
    return b"".join(
        word[1:-1].encode() if word.startswith('"') else bytes.fromhex(word) for word in words
    )


def receive(peer: socket.socket, count: int) -> bytes:
    """Receive that many octets, or fewer when the connection ends before."""
    octets = b""
    while len(octets) < count and (some := peer.recv(count - len(octets))):
        octets += some
    return octets


def is_closed(peer: socket.socket) -> bool:
    """Wait for the other end to close, having read what we sent or not."""
    try:
        return peer.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[str]:
    """Run the daemon on an empty root; gives the path of its socket."""
    address = str(tmp_path / "socket")
    arguments = ["--listen", f"unix:{address}", "--root", str(tmp_path / "root")]
    process = subprocess.Popen(
        [TWISTD, "--nodaemon", "--pidfile=", "filetransfer", *arguments],
        bufsize=0,  # select() below must not wait for lines that were read already
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        log = b""
        while not Path(address).exists():
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], DEADLINE_SECONDS)[0], log.decode()
            line = process.stdout.readline()
            log += line
            assert line, log.decode()
        yield address
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_SECONDS)


def test_examples_are_found() -> None:
    """A change of the page's form must not leave its examples untried."""
    assert len(read_examples()) >= 12
    assert parse_octets('05 "a.txt" 0A "x"') == b"\x05a.txt\nx"


def test_daemon_answers_as_the_page_says(daemon: str) -> None:
    """In the page's order: one example finds what those before it have stored."""
    for example in read_examples():
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(DEADLINE_SECONDS)
            peer.connect(daemon)
            for direction, text in example:
                if direction == ">":
                    peer.sendall(parse_octets(text))
                elif text == "closed":
                    assert is_closed(peer), example
                else:
                    expected = parse_octets(text)
                    assert receive(peer, len(expected)) == expected, example
            if ("<", "closed") not in example:
                peer.shutdown(socket.SHUT_WR)
                assert peer.recv(1) == b"", "more was sent than the page says"
