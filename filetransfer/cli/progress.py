"""Progress: what has moved, of each file and of all, and the bars that show it at a terminal.

Bars are shown on standard error when it takes longer than half a second: one over all, and one for each of the files
that have moved longest, as many as one can read. What moves faster than that costs nothing: rich is imported when the
first bar is shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from filetransfer.cli.console import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

_SHOWN_AFTER_SECONDS = 0.5
_REFRESH_SECONDS = 0.1
# Smaller files come and go faster than one can read their names.
_MIN_SIZE = 1024 * 1024
_MAX_BARS = 5
# Of a name: the end says more than the beginning, and the bar needs room as well.
_NAME_SHARE = 3
_MIN_NAME = 12


class Bar:
    """The progress of one file; call it with the octets moved and the octets in all.

    Args:
        label: what to call it; anything.
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


class Progress:
    """The progress of one run; shows nothing.

    Attributes:
        expected: files to move.
        ended: files that move no more.
        octets_expected: of all files; 0 when that is not known.
        moving: files, the one that began first before the others.
    """

    def __init__(self) -> None:
        self.expected = 0
        self.ended = 0
        self.octets_expected = 0
        self.moving: dict[Bar, None] = {}
        self._octets_ended = 0

    @property
    def octets_moved(self) -> int:
        """Of all files; it may shrink, when a transfer is repeated."""
        return self._octets_ended + sum(bar.moved for bar in self.moving)

    def expect(self, files: int, octets: int = 0) -> None:
        """Take note that so many files will be moved, of so many octets in all; 0 when that is not known."""
        self.expected += files
        self.octets_expected += octets

    def begin(self, label: str) -> Bar:
        """Give the bar of a file that begins to move."""
        bar = Bar(label)
        self.moving[bar] = None
        return bar

    def begin_small(self) -> None:
        """Take note that a file begins to move that has no bar of its own."""

    def end_small(self, octets: int) -> None:
        """Take note that such a file moves no more, and how many octets of it have moved."""
        self.ended += 1
        self._octets_ended += octets

    def end(self, bar: Bar) -> None:
        """Take note that a file moves no more."""
        self.ended += 1
        self._octets_ended += bar.moved
        self.moving.pop(bar, None)

    def close(self) -> None:
        """Show nothing more."""


class TimedProgress(Progress):
    """Progress that is shown again and again while anything moves.

    Args:
        clock: says when.
        first_seconds: from the first file to the first time.
        next_seconds: from one time to the next.
    """

    def __init__(self, clock: IReactorTime, first_seconds: float, next_seconds: float) -> None:
        super().__init__()
        self._clock = clock
        self._first_seconds = first_seconds
        self._next_seconds = next_seconds
        self._call: IDelayedCall | None = None

    def show(self) -> None:
        """Show what has moved."""
        raise NotImplementedError

    def begin(self, label: str) -> Bar:
        """See :meth:`Progress.begin`."""
        self.begin_small()
        return super().begin(label)

    def begin_small(self) -> None:
        """See :meth:`Progress.begin_small`."""
        if self._call is None:
            self._call = self._clock.callLater(self._first_seconds, self._show_again)

    def close(self) -> None:
        """See :meth:`Progress.close`."""
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _show_again(self) -> None:
        self._call = self._clock.callLater(self._next_seconds, self._show_again)
        self.show()


class Bars(TimedProgress):
    """Bars at a terminal.

    Args:
        clock: for when to show and to refresh them.
    """

    def __init__(self, clock: IReactorTime) -> None:
        super().__init__(clock, _SHOWN_AFTER_SECONDS, _REFRESH_SECONDS)
        self._screen: RichProgress | None = None
        self._total: TaskID | None = None

    def end(self, bar: Bar) -> None:
        """See :meth:`Progress.end`."""
        super().end(bar)
        if bar.task is not None and self._screen is not None:
            self._screen.remove_task(bar.task)
            bar.task = None

    def close(self) -> None:
        """Take the bars off the screen."""
        super().close()
        if self._screen is not None:
            self._screen.stop()
            self._screen = None
        self._total = None

    def show(self) -> None:
        """See :meth:`TimedProgress.show`."""
        screen = self._screen or _make_screen()
        if self.expected > 1:
            self._show_total(screen)
        shown = sum(bar.task is not None for bar in self.moving)
        for bar in self.moving:
            if bar.task is None and (shown == _MAX_BARS or _is_brief(bar)):
                continue
            shown += bar.task is None
            self._show_bar(bar, screen)
        if self._screen is None:
            # Not before it has something to show: it draws at once.
            self._screen = screen
            screen.start()
        else:
            screen.refresh()

    def _show_total(self, screen: RichProgress) -> None:
        moved = self.octets_moved
        description = f"{self.ended} of {self.expected} files"
        if self._total is None:
            self._total = screen.add_task(description, total=None)
        screen.update(
            self._total,
            description=description,
            completed=moved,
            total=max(self.octets_expected, moved) if self.octets_expected else None,
        )

    @staticmethod
    def _show_bar(bar: Bar, screen: RichProgress) -> None:
        if bar.task is None:
            bar.task = screen.add_task(shorten(printable(bar.label), screen.console.width))
        screen.update(bar.task, completed=bar.moved, total=bar.size)


def _is_brief(bar: Bar) -> bool:
    return bar.size < _MIN_SIZE and bar.moved == bar.size


def shorten(label: str, columns: int) -> str:
    """Give what of a label has room in a third of a terminal: its end."""
    room = max(columns // _NAME_SHARE, _MIN_NAME)
    return label if len(label) <= room else "…" + label[1 - room :]


def _make_screen() -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        Task,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column, Table

    class Screen(Progress):
        def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
            table = super().make_tasks_table(tasks)
            # The terminal shows a Ctrl-C as ^C: on a line without room for it that takes another line.
            table.width = max(console.width - len("^C"), 1)
            return table

    console = RichConsole(stderr=True)
    return Screen(
        TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True)),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        auto_refresh=False,
        expand=True,
        # It would go where the bars go: to standard error.
        redirect_stdout=False,
        transient=True,
    )
