"""The log: what a line holds, what it can never hold, and a disk that is full."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pytest
from doubles import DONE, HELP, HELP_REPLY, NOT_FOUND, get, put
from doubles import Log as Collected
from twistds import DEADLINE_SECONDS, ENVIRONMENT, TWISTD, ask, run_daemon
from twisted.internet.task import Clock
from twisted.logger import LogEvent, Logger, LogLevel
from twisted.python.failure import Failure

from filetransfer.server.logs import (
    FLUSH_SECONDS,
    MAX_LINES_A_PEER,
    MAX_PEERS,
    MAX_WAITING_LINES,
    WINDOW_SECONDS,
    Log,
    LogFormat,
    PeerLines,
    RequestLog,
    format_json,
    format_text,
)

NASTY = "a\nb\x1b[31m\x85\u2028\u202e\ud800 \u00e9"


def make_event(text: str, **fields: Any) -> LogEvent:
    """Give what Twisted's loggers tell their observers."""
    events: list[LogEvent] = []
    Logger("here", observer=events.append).emit(LogLevel.warn, text, **fields)
    return events[0]


def test_text() -> None:
    line = format_text(make_event("{peer}: refused {name!r}", peer="192.0.2.1:1", name=NASTY))
    time, _, rest = line.partition(" ")
    assert time.startswith("20")
    assert rest.startswith("[here#warn] 192.0.2.1:1: refused 'a\\nb")
    assert line.endswith("\n")
    assert line.count("\n") == 1


def test_text_that_was_not_escaped_by_whoever_logged_it() -> None:
    line = format_text(make_event("{name}", name=NASTY))
    first, second, nothing = line.split("\n")
    assert not nothing
    # Never the beginning of a line of its own.
    assert second.startswith("\t")
    assert (first[-1] + second) == "a\tb\\x1b[31m\\x85\\u2028\\u202e\\ud800 \u00e9"


def test_json() -> None:
    line = format_json(make_event("{peer}: {name}", peer="p", name=NASTY, what=Path("x"), count=1))
    assert line.endswith("\n")
    assert line[:-1].isascii()
    assert line[:-1].isprintable()
    told = json.loads(line)
    assert told.pop("time").endswith("Z")
    assert told == {
        "level": "warn",
        "logger": "here",
        "message": f"p: {NASTY}",
        "peer": "p",
        "name": NASTY,
        "what": "x",
        "count": 1,
    }


def test_json_of_a_failure_and_of_old_events() -> None:
    failure = Failure(ZeroDivisionError("no"))
    told = json.loads(format_json(make_event("a bug", log_failure=failure)))
    assert "ZeroDivisionError: no" in told["traceback"]
    assert json.loads(format_json({"log_format": "{a}", "a": 1}))["level"] == "info"


@pytest.mark.parametrize("form", ["text", "json"])
def test_reopening(tmp_path: Path, form: LogFormat) -> None:
    path = tmp_path / "log"
    log = Log(str(path), form)
    log(make_event("one"))
    path.rename(tmp_path / "log.1")
    log(make_event("two"))
    log.reopen()
    log(make_event("three"))
    # It cannot be opened: the old one is better than none.
    path.rename(tmp_path / "log.2")
    path.mkdir()
    log.reopen()
    log(make_event("four"))
    assert [word in (tmp_path / "log.1").read_text() for word in ("one", "two")] == [True] * 2
    assert [word in (tmp_path / "log.2").read_text() for word in ("three", "four")] == [True] * 2


def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    log = Log(None)
    log(make_event("one"))
    log.reopen()
    log(make_event("two"))
    assert capfd.readouterr().out.count("\n") == 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: LogFormat) -> None:
    path = tmp_path / "log"
    path.symlink_to("/dev/full")
    log = Log(str(path), form)
    for _ in range(3):
        log(make_event("lost"))
    log.write("two\nlines\n")
    path.unlink()
    log.reopen()
    log(make_event("found"))
    log(make_event("again"))
    first, *others = path.read_text().splitlines()
    assert "5 lines are missing here" in first
    assert [("found" in line, "again" in line) for line in others] == [(True, False), (False, True)]


def test_log_that_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Log(str(path))
    for _ in range(100):
        log.write("line\n" * 1000)
    told = os.read(reader, 1 << 20)
    log(make_event("found"))
    after = os.read(reader, 1 << 20).decode()
    os.close(reader)
    assert 0 < told.count(b"\n") < 100_000
    assert "lines are missing here" in after
    assert "found" in after


def test_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Log(str(tmp_path))


def test_lines_of_requests_are_written_together(tmp_path: Path) -> None:
    clock = Clock()
    log = Log(str(tmp_path / "log"))
    requests = RequestLog(log, "text", clock)
    requests.add(connection=1, path=NASTY, octets=5, seconds=0.25, outcome="done")
    requests.add(connection=2, path="b", outcome="lost")
    assert not (tmp_path / "log").read_text()
    clock.advance(FLUSH_SECONDS)
    first, second = (tmp_path / "log").read_text().splitlines()
    assert first.isascii()
    assert "[requests] connection=1 path='a\\nb" in first
    assert first.endswith("octets=5 seconds=0.25 outcome='done'")
    assert "connection=2" in second
    clock.advance(FLUSH_SECONDS)
    for _ in range(MAX_WAITING_LINES):
        requests.add(connection=3)
    assert len((tmp_path / "log").read_text().splitlines()) == 2 + MAX_WAITING_LINES
    clock.advance(FLUSH_SECONDS)
    requests.flush()


def test_lines_of_requests_in_json(tmp_path: Path) -> None:
    log = Log(str(tmp_path / "log"))
    requests = RequestLog(log, "json", Clock())
    requests.add(connection=1, path=NASTY, outcome="done")
    requests.flush()
    [line] = (tmp_path / "log").read_text().splitlines()
    assert line.isascii()
    told = json.loads(line)
    assert told.pop("time")
    assert told == {
        "level": "info",
        "logger": "requests",
        "connection": 1,
        "path": NASTY,
        "outcome": "done",
    }


def test_only_so_many_lines_about_a_peer(log: Collected) -> None:
    clock = Clock()
    lines = PeerLines(clock)
    told = [lines.may_log("a") for _ in range(MAX_LINES_A_PEER + 5)]
    assert told == [True] * MAX_LINES_A_PEER + [False] * 5
    assert lines.may_log("b")
    clock.advance(WINDOW_SECONDS)
    assert lines.may_log("a")
    assert log.lines == ["a: 5 more lines about it were left out"]


def test_peers_without_number_are_counted_together() -> None:
    lines = PeerLines(Clock())
    for number in range(MAX_PEERS):
        assert lines.may_log(str(number))
    told = [lines.may_log(f"more {number}") for number in range(MAX_LINES_A_PEER + 1)]
    assert told == [True] * MAX_LINES_A_PEER + [False]
    assert lines.may_log("1")


DAEMON = ["--listen", "unix:socket"]


def read_events(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_daemon_that_logs_json(tmp_path: Path) -> None:
    with run_daemon(tmp_path, *DAEMON, "--log-format", "json") as daemon:
        assert ask(str(tmp_path / "socket"), get("no\x1bne")) == NOT_FOUND
        assert daemon.end() == 0
    events = [json.loads(line) for line in daemon.log]
    [refused] = [event for event in events if event.get("word")]
    assert refused["word"] == "name-invalid"
    assert refused["logger"].startswith("filetransfer.server.")


def test_daemon_whose_log_is_moved_away(tmp_path: Path) -> None:
    """As logrotate does; the daemon may write there although it is in its sandbox."""
    log = tmp_path / "logs" / "log"
    log.parent.mkdir()
    before = ["--logfile", str(log)]
    with start_daemon(tmp_path, before, *DAEMON, "--log-format", "json") as process:
        wait_until(lambda: log.exists() and "listening on" in log.read_text())
        assert ask(str(tmp_path / "socket"), get("b")) == NOT_FOUND
        log.rename(log.with_name("log.1"))
        process.send_signal(signal.SIGHUP)
        wait_until(log.exists)
        assert ask(str(tmp_path / "socket"), get("a")) == NOT_FOUND
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0
    assert any(event.get("word") == "not-found" for event in read_events(log))


def test_daemon_whose_log_is_on_a_full_disk(tmp_path: Path) -> None:
    before = ["--logfile", "/dev/full"]
    with start_daemon(tmp_path, before, *DAEMON) as process:
        wait_until((tmp_path / "socket").exists)
        assert ask(str(tmp_path / "socket"), get("a") + put("a", b"1")) == NOT_FOUND + DONE
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0


def test_twistd_may_write_the_log_itself(tmp_path: Path) -> None:
    before = ["--logger", "twisted.logger.STDLibLogObserver"]
    with start_daemon(tmp_path, before, *DAEMON) as process:
        wait_until((tmp_path / "socket").exists)
        for _ in range(2):
            assert ask(str(tmp_path / "socket"), HELP) == HELP_REPLY
            process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_SECONDS) == 0


def test_log_in_no_directory(tmp_path: Path) -> None:
    done = subprocess.run(
        [TWISTD, "-n", "--pidfile=", "--logfile=no/such/log", "filetransfer"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE_SECONDS,
    )
    assert done.returncode == 1
    assert "filetransfer: cannot write the log" in done.stderr
    assert "Traceback" not in done.stderr


@contextmanager
def start_daemon(
    directory: Path, before: list[str], *arguments: str
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a daemon whose log is elsewhere, with these options of twistd."""
    with subprocess.Popen(
        [TWISTD, "-n", "--pidfile=", *before, "filetransfer", *arguments],
        cwd=directory,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = monotonic() + DEADLINE_SECONDS
    while not is_so():
        assert monotonic() < deadline
        sleep(0.01)
