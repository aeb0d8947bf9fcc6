"""The log: text or one JSON object a line, into a file that may be full, and is opened again on request.

Two kinds of lines come here. *Events* are what Twisted's loggers are told, in this package and in Twisted: some a
minute. A line a *request* is written only where that is asked for, and goes past Twisted's events: one of those costs
20 µs, this 4, and they are written together, once a second or when many are waiting.

Nothing that a peer says can end a line or write another: names stand in it as ``repr`` or JSON writes them, and what
else is not printable is escaped at the end.
"""

from __future__ import annotations

import json
import os
import re
import select
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Literal

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsText,
    formatEventAsClassicLogText,
)
from zope.interface import implementer

LogFormat = Literal["text", "json"]

FLUSH_SECONDS = 1.0
"""How long the line of a request may wait for others."""

MAX_WAITING_LINES = 500
"""So many are written at once, and not later: less than 100 KiB mostly."""

MAX_LINES_A_PEER = 20
WINDOW_SECONDS = 60.0
MAX_PEERS = 10_000
"""Peers whose lines are counted each on its own in a window; further ones are counted together."""

_UNPRINTABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)
# What Twisted, in its old way and its new one, adds to each event.
_NOT_FIELDS = frozenset(
    ("format", "isError", "message", "printed", "system", "time", "why", "failure", "id")
)
_PLAIN = (str, int, float, bool, type(None))

_log = Logger()


def format_text(event: LogEvent) -> str:
    """Give an event as a line of text, with its newline; further lines of it begin with a tab."""
    return _UNPRINTABLE.sub(_escape, formatEventAsClassicLogText(event) or "")


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "surrogatepass").decode()


def format_json(event: LogEvent) -> str:
    """Give an event as a JSON object in one line: time, level, logger, message, and what it tells of by name."""
    level = event.get("log_level", LogLevel.info)
    line = {
        "time": format_time(event.get("log_time")),
        "level": level.name,
        "logger": event.get("log_namespace") or "-",
        "message": eventAsText(
            event, includeTimestamp=False, includeSystem=False, includeTraceback=False
        ),
    }
    for name, value in event.items():
        if not name.startswith("log_") and name not in _NOT_FIELDS and name not in line:
            line[name] = value if isinstance(value, _PLAIN) else str(value)
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = failure.getTraceback()
    return json.dumps(line) + "\n"


def format_time(seconds: float | None) -> str:
    """Give a moment in UTC; None for this one."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@implementer(ILogObserver)
class Log:
    """A log file, or standard output.

    It never raises and never waits: a daemon whose log is on a full disk, or read by nobody, goes on. What was lost is
    counted, and said when there is room again.

    Args:
        path: of the file; None for standard output.
        form: of the events.

    Raises:
        OSError: the file cannot be opened, now.
    """

    def __init__(self, path: str | None, form: LogFormat = "text") -> None:
        self._path = path
        self._format: Callable[[LogEvent], str] = format_json if form == "json" else format_text
        self._descriptor = sys.__stdout__.fileno() if path is None else _open(path)  # type: ignore[union-attr]
        self._lost = 0
        self._poll = select.poll()
        self._poll.register(self._descriptor, select.POLLOUT)

    def __call__(self, event: LogEvent) -> None:
        self.write(self._format(event))

    def write(self, text: str) -> None:
        """Write whole lines."""
        if self._lost:
            lost = {"log_time": None, "lines": self._lost, "log_namespace": __name__}
            lost |= {"log_format": "the log could not be written: {lines} lines are missing here"}
            lost |= {"log_level": LogLevel.warn}
            text = self._format(lost) + text
        try:
            self._write_all(text.encode("utf-8", "backslashreplace"))
        except OSError:
            self._lost += max(1, text.count("\n") - bool(self._lost))
        else:
            self._lost = 0

    def _write_all(self, octets: bytes) -> None:
        """Write without ever waiting for whoever reads standard output; a pipe has room for a block, or says no."""
        while octets:
            if not self._poll.poll(0):
                raise BlockingIOError
            octets = octets[os.write(self._descriptor, octets[: select.PIPE_BUF]) :]

    def reopen(self) -> None:
        """Open the file by its name again: somebody moved it away. Does nothing when that cannot be done now."""
        if self._path is not None:
            with suppress(OSError):
                descriptor = _open(self._path)
                os.dup2(descriptor, self._descriptor, inheritable=False)
                os.close(descriptor)


def _open(path: str) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY, 0o640)


class RequestLog:
    """Writes a line for each request.

    Args:
        log: where to.
        form: of the lines.
        reactor: its clock.
    """

    def __init__(self, log: Log, form: LogFormat, reactor: Any) -> None:
        self._log = log
        self._format = _format_request_json if form == "json" else _format_request_text
        self._reactor = reactor
        self._lines: list[str] = []
        self._is_scheduled = False

    def add(self, **fields: str | float | None) -> None:
        """Write a line with these fields, soon."""
        self._lines.append(self._format(fields))
        if len(self._lines) >= MAX_WAITING_LINES:
            self.flush()
        elif not self._is_scheduled:
            self._is_scheduled = True
            self._reactor.callLater(FLUSH_SECONDS, self._flush_scheduled)

    def flush(self) -> None:
        """Write what waits."""
        if self._lines:
            lines, self._lines = self._lines, []
            self._log.write("".join(lines))

    def _flush_scheduled(self) -> None:
        self._is_scheduled = False
        self.flush()


def _format_request_json(fields: dict[str, Any]) -> str:
    return (
        json.dumps({"time": format_time(None), "level": "info", "logger": "requests"} | fields)
        + "\n"
    )


def _format_request_text(fields: dict[str, Any]) -> str:
    told = " ".join(
        f"{name}={value!a}" if isinstance(value, str) else f"{name}={value}"
        for name, value in fields.items()
    )
    return f"{format_time(None)} [requests] {told}\n"


class PeerLines:
    """Lets only so many lines about each peer into the log, and tells how many were left out.

    A peer can be refused some ten thousand times a second; others' lines must stay to be found.

    Args:
        reactor: its clock.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._counts: dict[str, int] = {}
        self._ends_at = 0.0

    def may_log(self, peer: str) -> bool:
        """Whether there may be one more line about a peer, who is known by his address."""
        if self._reactor.seconds() >= self._ends_at:
            self.end_window()
        if peer not in self._counts and len(self._counts) >= MAX_PEERS:
            peer = "others"
        count = self._counts[peer] = self._counts.get(peer, 0) + 1
        return count <= MAX_LINES_A_PEER

    def end_window(self) -> None:
        """Tell what was left out, and count anew."""
        counts, self._counts = self._counts, {}
        self._ends_at = self._reactor.seconds() + WINDOW_SECONDS
        for peer, count in counts.items():
            if count > MAX_LINES_A_PEER:
                _log.info(
                    "{peer}: {count} more lines about it were left out",
                    peer=peer,
                    count=count - MAX_LINES_A_PEER,
                )
