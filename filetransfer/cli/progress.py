"""Progress bars on standard error: only at a terminal, and only when it takes longer than half a second.

One bar for each large file that is moving, and one over all when there are several files. What moves faster than that
costs nothing: rich is imported when the first bar is shown.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from filetransfer.cli.console import Console, Verbosity, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_SHOWN_AFTER_SECONDS = 0.5
_REFRESH_SECONDS = 0.1
# Smaller files come and go faster than one can read their names.
_MIN_SIZE = 1024 * 1024


class Bar:
    """The progress of one file; call it with the octets moved and the octets in all.

    Args:
        label: what to call it.
    """

    __slots__ = ("label", "moved", "size", "task")

    def __init__(self, label: str) -> None:
        self.label = label
        self.moved = 0
        self.size = 0
        self.task: TaskID | None = None

    def __call__(self, moved: int, size: int) -> None:
        """Take note of progress."""
        self.moved = moved
        self.size = size


class Bars:
    """The bars of one run.

    Args:
        clock: for when to show and to refresh them.
        console: says whether it wants any.
    """

    def __init__(self, clock: IReactorTime, console: Console) -> None:
        self._clock = clock
        self._is_wanted = console.verbosity > Verbosity.QUIET and sys.stderr.isatty()
        self._moving: dict[Bar, None] = {}
        self._expected = 0
        self._ended = 0
        self._call: IDelayedCall | None = None
        self._progress: Progress | None = None
        self._total: TaskID | None = None

    def expect(self, count: int) -> None:
        """Take note that so many files will be moved."""
        self._expected += count

    def begin(self, label: str) -> Bar:
        """Give the bar of a file that begins to move."""
        bar = Bar(printable(label))
        if self._is_wanted:
            self._moving[bar] = None
            if self._call is None:
                self._call = self._clock.callLater(_SHOWN_AFTER_SECONDS, self._refresh)
        return bar

    def end(self, bar: Bar) -> None:
        """Take note that a file moves no more."""
        self._ended += 1
        self._moving.pop(bar, None)
        if bar.task is not None and self._progress is not None:
            self._progress.remove_task(bar.task)

    def close(self) -> None:
        """Take the bars off the screen."""
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
        self._expected = self._ended = 0
        self._total = None

    def _refresh(self) -> None:
        if self._progress is None:
            self._progress = _make_progress()
            self._progress.start()
        if self._expected > 1 and self._total is None:
            self._total = self._progress.add_task("", total=self._expected, is_count=True)
        for bar in self._moving:
            self._refresh_bar(bar, self._progress)
        if self._total is not None:
            description = f"{self._ended} of {self._expected} files"
            self._progress.update(self._total, completed=self._ended, description=description)
        self._progress.refresh()
        self._call = self._clock.callLater(_REFRESH_SECONDS, self._refresh)

    @staticmethod
    def _refresh_bar(bar: Bar, progress: Progress) -> None:
        if bar.size < _MIN_SIZE and bar.moved == bar.size:
            return
        if bar.task is None:
            bar.task = progress.add_task(bar.label, is_count=False)
        progress.update(bar.task, completed=bar.moved, total=bar.size)


def _make_progress() -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.text import Text

    class OctetsOnly(ProgressColumn):
        """Another column, but for the bar that counts files."""

        def __init__(self, column: ProgressColumn) -> None:
            self._column = column
            super().__init__()

        def render(self, task: Task) -> Any:
            return Text() if task.fields["is_count"] else self._column.render(task)

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        OctetsOnly(DownloadColumn()),
        OctetsOnly(TransferSpeedColumn()),
        TimeRemainingColumn(),
        console=RichConsole(stderr=True),
        auto_refresh=False,
        # It would go where the bars go: to standard error.
        redirect_stdout=False,
        transient=True,
    )
