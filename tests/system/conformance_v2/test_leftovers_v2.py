"""What is left when everybody has gone, however they went: no descriptors, no memory, no parts that nobody named."""

import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from framing import DONE, GET, HELP, LIST, PUT, STAT, ask, nest, put, say_body, say_chunk
from running import DEADLINE_SECONDS, Daemon
from talking import Talk, converse

BULK = os.urandom(3_000_000)


def count_open_files(daemon: Daemon) -> Counter[str]:
    """What it has open, but for the pipes, of which each thread may keep one to use again."""
    paths: list[str] = []
    for link in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            paths.append(os.readlink(link))
    return Counter(path for path in paths if not path.startswith("pipe:"))


def list_parts(daemon: Daemon) -> list[str]:
    return os.listdir(daemon.root / ".ft-store/parts")


def read_memory(daemon: Daemon) -> int:
    """Octets that are resident."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def storm(daemon: Daemon) -> None:
    """Begin and break off everything that can be."""
    bulk = put("bulk", BULK)
    half = bulk[: len(bulk) // 2]
    broken = [
        *(half, put("small", b"x")[:-3], ask(GET, path="bulk") * 50, ask(LIST) * 300),
        *(ask(PUT, {"path": "no/x", "size": 10**7}, say_chunk(b"x")), ask(HELP) * 1_000),
        *(ask(GET, nest(1_000)), b"\x01\xff\xff\xff", ask(PUT, {"path": "x"}, b"\xff" * 4)),
        *(half + b"rest", put("none/x", BULK), put("bulk", BULK, if_match="other")),
        ask(PUT, {"path": "other"}, say_body([BULK], {"digest": {"xxh3-128": bytes(16)}})),
        ask(PUT, {"path": "other"}, say_body([BULK], {"error": "cancelled"})),
    ]
    for number in range(3):
        for octets in broken:
            with Talk(daemon.port) as talk:
                talk.send(octets)
                if number == 0:
                    talk.reset()
                elif number == 1:
                    talk.half_close()
                    talk.read_to_the_end()


def test_nothing_is_left(tmp_path: Path) -> None:
    with Daemon(tmp_path) as daemon:
        assert [answer.code for answer in converse(daemon.port, put("bulk", BULK))] == [DONE]
        # The connection may be among them still.
        files = count_open_files(daemon)
        # Once for what is loaded and kept from then on.
        storm(daemon)
        memory = read_memory(daemon)
        for _ in range(3):
            storm(daemon)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while left := count_open_files(daemon) - files or list_parts(daemon):
            assert time.monotonic() < deadline, left
            assert len(converse(daemon.port, ask(STAT, path="bulk"))) == 1
        assert read_memory(daemon) - memory < 16 << 20
        assert [each.name for each in daemon.list_visible()] == ["bulk"]
        assert "Traceback" not in daemon.log
