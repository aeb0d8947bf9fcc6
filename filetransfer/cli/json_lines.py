"""What ``--json`` says: one object a line on standard output, and nothing else there.

    {"type": "start", "schema": 1, "program": "ft-client", "version": ..., "command": "put", "server": "host:9000"}
    {"type": "progress", ...}       at most once a second
    {"type": "item", ...}           one for each file, entry or answer
    {"type": "summary", "exit_code": 0, "status": "done", "done": 1, "failed": 0, "octets": 3, "seconds": 0.1}

``docs/ft-client.rst`` tells what each of them may hold. Keys are added as there is need; :data:`SCHEMA` grows when one
of them goes or changes its meaning. Errors are told to people on standard error as ever.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from filetransfer import __version__
from filetransfer.cli.console import PROGRAM, Console, Item, Verbosity, write_output
from filetransfer.cli.exit_status import find_status, find_word
from filetransfer.cli.progress import Progress, TimedProgress
from filetransfer.errors import RequestRefused

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

SCHEMA = 1

_INTERVAL_SECONDS = 1.0


def write_line(item: Item) -> None:
    """Write one object. Raises OutputClosed."""
    write_output(json.dumps(item, default=_convert))


def _convert(value: object) -> str:
    """Give octets, of digests and the like, as hexadecimal text."""
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"{type(value)} has no place in JSON")


def show_name(name: str) -> str:
    """Give a file name as text that every JSON parser takes: octets that are no UTF-8 are escaped."""
    return name.encode("utf-8", "backslashreplace").decode()


class JsonConsole(Console):
    """Says things to programs."""

    is_for_programs: ClassVar[bool] = True

    def __init__(self, verbosity: Verbosity, server: str) -> None:
        super().__init__(verbosity, server)
        self._began_at = 0.0
        self._done = 0
        self._failed = 0
        self._octets = 0
        self._counts: Counter[str] = Counter()

    @property
    def hears_notes(self) -> bool:
        """See :attr:`Console.hears_notes`."""
        return True

    def begin(self, command: str) -> None:
        """See :meth:`Console.begin`."""
        self._began_at = time.monotonic()
        self._done = self._failed = self._octets = 0
        self._counts.clear()
        write_line(
            {
                "type": "start",
                "schema": SCHEMA,
                "program": PROGRAM,
                "version": __version__,
                "command": command,
                "server": self.server,
            }
        )

    def end(self, status: int) -> None:
        """See :meth:`Console.end`."""
        write_line(
            {
                "type": "summary",
                "exit_code": int(status),
                "status": find_word(status),
                "done": self._done,
                "failed": self._failed,
                "octets": self._octets,
                **self._counts,
                "seconds": round(time.monotonic() - self._began_at, 3),
            }
        )

    def make_progress(self, clock: IReactorTime) -> Progress:
        """See :meth:`Console.make_progress`."""
        return ProgressLines(clock)

    def show(self, text: str, item: Item) -> None:
        """See :meth:`Console.show`."""
        self._done += 1
        write_line({"type": "item", "ok": True, **_clean(item)})

    def note(self, text: str, item: Item) -> None:
        """See :meth:`Console.note`."""
        size = item.get("size")
        self._octets += size if isinstance(size, int) else 0
        self.show(text, item)

    def skip(self, command: str, subject: str, reason: str) -> None:
        """See :meth:`Console.skip`."""
        super().skip(command, subject, reason)
        write_line(
            {
                "type": "item",
                "ok": True,
                "action": "skip",
                "subject": show_name(subject),
                "reason": show_name(reason),
            }
        )

    def sum_up(self, text: str, counts: Mapping[str, int]) -> None:
        """See :meth:`Console.sum_up`."""
        self._counts.update(counts)

    def complain_about(self, command: str, subject: str, error: BaseException) -> None:
        """See :meth:`Console.complain_about`."""
        super().complain_about(command, subject, error)
        self._failed += 1
        status = find_status(error)
        told = {
            "status": status.word,
            "exit_code": int(status),
            "message": show_name(self.explain(error, subject)),
        }
        if isinstance(error, RequestRefused):
            told["word"] = error.word
        write_line(
            {
                "type": "item",
                "ok": False,
                "action": command,
                "subject": show_name(subject),
                "error": told,
            }
        )


def _clean(item: Item) -> dict[str, object]:
    """Leave out what is not known, and give names as text."""
    return {
        key: show_name(value) if isinstance(value, str) else value
        for key, value in item.items()
        if value is not None
    }


class ProgressLines(TimedProgress):
    """Progress as lines of JSON.

    Args:
        clock: says when.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock, _INTERVAL_SECONDS, _INTERVAL_SECONDS)

    def show(self) -> None:
        """See :meth:`TimedProgress.show`."""
        line: dict[str, object] = {
            "type": "progress",
            "files": {"done": self.ended, "expected": self.expected},
            "octets": {"moved": self.octets_moved, "expected": self.octets_expected or None},
            "moving": [
                {"subject": show_name(bar.label), "moved": bar.moved, "size": bar.size}
                for bar in self.moving
                if bar.size
            ],
        }
        write_line(line)
