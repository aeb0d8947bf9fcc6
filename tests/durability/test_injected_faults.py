"""Every system call of a request fails, or is the daemon's last one: no false acknowledgement, and nothing leaks."""

import itertools
import logging
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from blocking import Speaker, xxh3
from daemons import DaemonProcess
from injection import Place, inject, watch
from msgspec.structs import replace as replace_fields
from uploads import encode_change, encode_put

from filetransfer.wire.messages import Delete, Done, Put, Response, Stat, Status

pytestmark = pytest.mark.needs_root("strace")

PARTS = ".ft-store/parts"
KEPT = re.compile("[0-9a-f]{40}")
"""What belongs to an upload that can be resumed: it stays, until it was published or deleted."""
DONE = b"\0"
NUMBERS = b"1\n2\n3\n"
SUMMARY = b"Max: 3.0\nMin: 1.0\nAvg: 2.0\n"
SUMMARY_ANSWER = b"\x4bsummary.txt" + len(SUMMARY).to_bytes(4) + SUMMARY


class Subject:
    """A daemon that is hurt, and started again when it has had enough.

    Args:
        directory: for its root and the logs.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "root"
        self.root.mkdir()
        self.log = directory / "strace"
        self.daemon: DaemonProcess | None = None
        self.starts = 0
        self.unfinished: list[Callable[[], None]] = []
        self._names = (f"file{number}" for number in itertools.count())

    def start(self) -> None:
        """Start the daemon afresh, and have every thread do something."""
        self.stop()
        self.daemon = DaemonProcess(self.root)
        self.starts += 1
        assert not self.list_parts()
        while self.unfinished:
            self.unfinished.pop()()
        for _ in range(3):
            for act in REQUESTS.values():
                _, check = act(self)
                check(True)
        self.descriptors = self.count_descriptors()

    def stop(self) -> None:
        if self.daemon is not None:
            self.daemon.kill()

    def ask(self, octets: bytes, answer: bytes) -> bool:
        """Ask; whether the answer was that. A connection that is cut has no answer."""
        received = b""
        try:
            with socket.create_connection(self.daemon.address, timeout=60) as connection:
                connection.sendall(octets)
                while len(received) < len(answer) and (more := connection.recv(65536)):
                    received += more
                    # A refusal is shorter.
                    if received in (b"\xa0", b"\x60"):
                        return False
        except ConnectionError:
            return False
        assert received in (b"", answer)
        return received == answer

    def new_name(self) -> str:
        return next(self._names)

    def list_parts(self) -> list[str]:
        """Give the parts that nobody can resume."""
        names = [path.name for path in (self.root / PARTS).iterdir()]
        return [name for name in names if not KEPT.match(name)]

    def count_descriptors(self) -> int:
        """Count them once the connections of earlier requests are gone."""
        return wait_for_rest(self.daemon.count_descriptors)

    def check_health(self) -> None:
        """Nothing is left of the last request, and the next ones are served."""
        assert self.daemon.process.poll() is None, self.daemon.log
        assert wait_until(lambda: self.daemon.count_descriptors() <= self.descriptors)
        assert wait_until(lambda: not self.list_parts()), self.list_parts()
        _, check = put(self)
        check(True)


def wait_until(is_so: Callable[[], bool]) -> bool:
    """Wait for something that the daemon does by itself; False after a minute."""
    end = time.monotonic() + 60
    while not is_so():
        if time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True


def wait_for_rest(count: Callable[[], int]) -> int:
    """Give a number when it has been the same for a while."""
    last, same = count(), 0
    while same < 20:
        time.sleep(0.002)
        now = count()
        last, same = now, same + 1 if now == last else 0
    return last


Check = Callable[[bool | None], None]
"""Looks at the root after a request: acknowledged (True), not (False), or as it was answered (None)."""


def _ask(subject: Subject, octets: bytes, answer: bytes, look: Callable[[bool], None]):
    is_done = subject.ask(octets, answer)

    def check(must_be: bool | None = None) -> None:
        assert must_be is None or must_be is is_done
        look(is_done)

    return is_done, check


def put(subject: Subject, octets: bytes = NUMBERS) -> tuple[bool, Check]:
    """A small file under a new name."""
    path = subject.root / subject.new_name()

    def look(is_done: bool) -> None:
        # One that was refused may be there all the same: its answer was lost, or its directory could not be synced.
        if is_done or path.exists():
            assert path.read_bytes() == octets
            path.unlink()

    return _ask(subject, encode_put(path.name, octets), DONE, look)


def put_bulk(subject: Subject) -> tuple[bool, Check]:
    """A bulk file under a new name."""
    return put(subject, NUMBERS * 50_000)


def replace(subject: Subject) -> tuple[bool, Check]:
    """A small file over another."""
    path = subject.root / subject.new_name()
    path.write_bytes(b"old")

    def look(is_done: bool) -> None:
        content = path.read_bytes()
        assert content == NUMBERS or (not is_done and content == b"old")
        path.unlink()

    return _ask(subject, encode_put(path.name, NUMBERS), DONE, look)


def change(subject: Subject) -> tuple[bool, Check]:
    """Another name for a file."""
    path, to = subject.root / subject.new_name(), subject.root / subject.new_name()
    path.write_bytes(b"old")

    def look(is_done: bool) -> None:
        assert path.exists() is not to.exists()
        assert to.exists() or not is_done
        there = to if to.exists() else path
        assert there.read_bytes() == b"old"
        there.unlink()

    return _ask(subject, encode_change(path.name, to.name), DONE, look)


def summary(subject: Subject) -> tuple[bool, Check]:
    """A summary of numbers."""
    path = subject.root / subject.new_name()
    path.write_bytes(NUMBERS)
    octets = bytes([0x60 | len(path.name)]) + path.name.encode()
    return _ask(subject, octets, SUMMARY_ANSWER, lambda is_done: path.unlink())


def resume(subject: Subject) -> tuple[bool, Check]:
    """A file that is cut off in its middle, and goes on."""
    path = subject.root / subject.new_name()
    octets = NUMBERS * 250_000
    upload = os.urandom(16)
    put = Put(path.name, len(octets), upload=upload)

    def go_on() -> Response:
        with Speaker(subject.daemon.address) as speaker:
            status = speaker.ask(Stat(upload=upload))
            if isinstance(status, Status) and status.kind == "published":
                return status
            offset = status.offset if isinstance(status, Status) else 0
            rest = octets[offset:]
            return speaker.put(replace_fields(put, offset=offset), rest, xxh3(octets))

    def cut_and_go_on() -> bool:
        with Speaker(subject.daemon.address) as speaker:
            head = speaker.connection.encode(put) + speaker.connection.encode_run(len(octets))
            speaker.send(head + octets[: len(octets) // 2])
        return isinstance(go_on(), Done | Status)

    def finish() -> None:
        """Whatever has happened to it, it goes on."""
        response = go_on()
        assert isinstance(response, Done | Status), response
        assert path.read_bytes() == octets
        path.unlink()
        with Speaker(subject.daemon.address) as speaker:
            assert isinstance(speaker.ask(Delete(upload=upload)), Done)

    def check(must_be: bool | None = None) -> None:
        assert must_be is None or must_be is is_done
        assert path.read_bytes() == octets if path.exists() else not is_done
        if subject.daemon.process.poll() is None:
            finish()
        else:
            subject.unfinished.append(finish)

    try:
        is_done = cut_and_go_on()
    except ConnectionError:
        is_done = False
    return is_done, check


REQUESTS = {
    "put": put,
    "put_bulk": put_bulk,
    "replace": replace,
    "change": change,
    "summary": summary,
    "resume": resume,
}


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    subject = Subject(tmp_path)
    try:
        subject.start()
        yield subject
    finally:
        subject.stop()


def list_places(subject: Subject) -> list[tuple[str, Place]]:
    """Give every call that each request makes."""
    places = []
    for name, request in REQUESTS.items():
        with watch(subject.daemon.process.pid, subject.log) as watched:
            _, check = request(subject)
            check(True)
            subject.count_descriptors()
        places += [(name, place) for place in watched.list_places()]
    return places


def hurt(subject: Subject, request_name: str, place: Place, what: str) -> bool:
    """Ask with one call hurt.

    Returns:
        Whether it was made: which thread of a pool gets a piece of work is nobody's choice.
    """
    with inject(subject.daemon.process.pid, place, what, subject.log) as watched:
        is_done, check = REQUESTS[request_name](subject)
        if subject.daemon.process.poll() is None:
            subject.count_descriptors()
    check(None)
    is_failed_fsync = place.call == "fsync" and watched.has_injected and what != "error=EINTR"
    # Python makes a call again that was interrupted before it began. And a part that could not be kept is sent afresh.
    if is_failed_fsync and request_name != "resume":
        assert not is_done, "a failed fsync was acknowledged"
    return watched.has_injected


def fail_calls(subject: Subject, faults: Iterable[tuple[str, Place, str]]) -> int:
    """Fail one call after the other, and see after each that all is well; how many have failed."""
    injected = 0
    for name, place, error in faults:
        has_injected = any(hurt(subject, name, place, f"error={error}") for _ in range(4))
        injected += has_injected
        logging.debug("%s %s %s %s", name, place, error, has_injected)
        subject.check_health()
        if has_injected and place.call == "fsync":
            # A second failure would make the store read-only.
            subject.start()
    return injected


def kill_at_calls(subject: Subject, places: Iterable[tuple[str, Place]]) -> int:
    """Kill the daemon at one call after the other; how often it was."""
    killed = 0
    for name, place in places:
        for _ in range(4):
            hurt(subject, name, place, "signal=KILL")
            if subject.daemon.process.poll() is not None:
                killed += 1
                subject.start()
                break
    return killed


def list_share(subject: Subject) -> list[tuple[str, Place]]:
    """Give every call of each request, but a third of the many that an upload makes that goes on."""
    places = list_places(subject)
    return [place for place in places if place[0] != "resume"] + [
        place for place in places if place[0] == "resume"
    ][::3]


def test_some_calls_fail(subject: Subject) -> None:
    # Of each call, one error; all of them have their turn.
    faults = [
        (name, place, place.errors[which % len(place.errors)])
        for which, (name, place) in enumerate(list_share(subject))
        if place.errors
    ]
    assert fail_calls(subject, faults) > len(faults) / 2


def test_killed_at_some_calls(subject: Subject) -> None:
    places = list_share(subject)[::12]
    assert kill_at_calls(subject, places) > len(places) / 2


@pytest.mark.long
def test_every_call_fails(subject: Subject) -> None:
    faults = [
        (name, place, error) for name, place in list_places(subject) for error in place.errors
    ]
    injected = fail_calls(subject, faults)
    logging.info("%d of %d faults were injected", injected, len(faults))
    assert injected > len(faults) * 0.7


@pytest.mark.long
def test_killed_at_every_call(subject: Subject) -> None:
    places = list_places(subject)
    killed = kill_at_calls(subject, places)
    logging.info("killed at %d of %d calls", killed, len(places))
    assert killed > len(places) * 0.7
