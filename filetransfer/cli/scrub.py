"""``filetransfer-scrub``: reads a served directory again, and says what is damaged.

Thin over :mod:`filetransfer.store.scrub`. It knows nothing of Twisted: it runs where the daemon runs, beside it, from
cron as well as at a terminal.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from threading import Thread
from typing import TYPE_CHECKING

import click

from filetransfer import __version__
from filetransfer.cli.console import printable
from filetransfer.cli.documented import DocumentedCommand
from filetransfer.store.scrub import Finding, Outcome, Scrub, measure

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

PROGRAM = "filetransfer-scrub"
DONE, DAMAGED, USAGE, UNREADABLE, INTERRUPTED = 0, 1, 2, 3, 130

STATUSES = {
    DONE: "no damage",
    DAMAGED: "damage was found; each file is named on a line of standard output",
    USAGE: "wrong usage; nothing was read",
    UNREADABLE: "no damage in what could be read, but not all could be read, recorded or told",
    INTERRUPTED: "ended by Ctrl-C (SIGINT)",
}
"""The exit statuses: the one table that --help, the documentation and the tests are made from."""

EXAMPLES = (
    f"{PROGRAM} /srv/files",
    f"{PROGRAM} --check /srv/files",
    f"{PROGRAM} --cold --threads 1 /srv/files",
    f"{PROGRAM} /srv/files reports 2024/january.csv",
    f"{PROGRAM} --accept /srv/files reports/q1.csv",
)

_REFRESH_SECONDS = 0.1
# More threads than this do not help a disk, and a small file costs the interpreter more than the disk.
_MAX_DEFAULT_THREADS = 4


class ScrubCommand(DocumentedCommand):
    """The command, whose help ends with examples and exit statuses."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, and the table of exit statuses."""
        super().format_epilog(ctx, formatter)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status), meaning) for status, meaning in STATUSES.items()])


@click.command(
    cls=ScrubCommand,
    examples=EXAMPLES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("root", type=click.Path(exists=True, file_okay=False))
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("--check", "is_check", is_flag=True, help="Mark and record nothing; only report.")
@click.option(
    "--accept",
    "is_accept",
    is_flag=True,
    help="Take what is found damaged for the truth: record its content as it is now, and have the daemon serve it.",
)
@click.option(
    "--cold",
    "is_cold",
    is_flag=True,
    help="Read from the disk what the machine holds in memory, too; the daemon reads it again as well, then.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=min(_MAX_DEFAULT_THREADS, os.cpu_count() or 1),
    show_default="one a processor, at most 4",
    help="Files read at the same time.",
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def scrub(
    root: str,
    paths: Sequence[str],
    is_check: bool,
    is_accept: bool,
    is_cold: bool,
    threads: int,
) -> int:
    """Read every file below ROOT again, or below each PATH in it, and find what is damaged.

    ROOT is a directory that filetransfer serves; the daemon may be running. A file is damaged when its octets are not
    those that were recorded, although its size and modification time are. It is marked, and the daemon refuses to
    serve it until it is sent again, put back, or accepted. A file that is new, or was edited since, is recorded as it
    is. No symbolic link is followed, and what lies on another file system is left out.
    """
    if is_check and is_accept:
        raise click.UsageError("--check and --accept exclude each other")
    report = Report()
    try:
        run = Scrub(
            root,
            octets := [_find_below(root, path) for path in paths] or [b""],
            is_check=is_check,
            is_accept=is_accept,
            is_cold=is_cold,
            threads=threads,
            on_outcome=report.add,
        )
    except OSError as error:
        raise click.UsageError(f"cannot read {printable(root)!r}: {error.strerror}") from error
    progress = Bar(root, octets) if sys.stderr.isatty() else None
    report.progress = progress
    is_interrupted = False
    try:
        run.start()
        _wait(run, progress)
    except KeyboardInterrupt:
        is_interrupted = run.is_stopping = True
        run.wait()
    finally:
        if progress is not None:
            progress.close()
    run.close()
    report.show_summary(run.octets, is_interrupted=is_interrupted)
    return INTERRUPTED if is_interrupted else report.status


class Report:
    """Says what was found.

    Attributes:
        progress: what has to make room for a line.
    """

    def __init__(self) -> None:
        self.progress: Bar | None = None
        self._counts: Counter[Finding] = Counter()
        self._is_incomplete = False
        self._started = time.monotonic()

    def add(self, outcome: Outcome) -> None:
        """Count an outcome, and say it in a line if somebody has to do something about it."""
        finding = outcome.finding
        self._counts[finding] += 1
        if finding is Finding.UNREADABLE or (outcome.note and finding is not Finding.DAMAGED):
            self._is_incomplete = True
        if finding in _TOLD or outcome.note:
            words = [finding.value, printable(os.fsdecode(outcome.path)) or ".", outcome.note]
            self._show(": ".join(word for word in words if word))

    @property
    def status(self) -> int:
        """The exit status."""
        if self._counts[Finding.DAMAGED]:
            return DAMAGED
        return UNREADABLE if self._is_incomplete else DONE

    def show_summary(self, octets: int, *, is_interrupted: bool) -> None:
        """Say in one line what was found."""
        seconds = max(time.monotonic() - self._started, 1e-3)
        found = ", ".join(
            f"{self._counts[finding]} {finding.value}"
            for finding in Finding
            if self._counts[finding] or finding in (Finding.GOOD, Finding.DAMAGED)
        )
        rate = f"{octets / 1e9:.3f} GB in {seconds:.1f} s ({octets / seconds / 1e9:.2f} GB/s)"
        end = "; interrupted, the rest was not read" if is_interrupted else ""
        count = self._counts.total()
        self._show(f"{count} {'file' if count == 1 else 'files'}, {rate}: {found}{end}")

    def _show(self, line: str) -> None:
        if self.progress is None or not self.progress.show_line(line):
            _print(line)


_TOLD = (Finding.DAMAGED, Finding.REPAIRED, Finding.ACCEPTED, Finding.UNREADABLE)


class Bar:
    """The progress bar. How far there is to go is found out meanwhile.

    Args:
        root: what is scrubbed.
        paths: in it.
    """

    def __init__(self, root: str, paths: Sequence[bytes]) -> None:
        self._total: float | None = None
        self._is_closed = False
        self._progress = _make_progress()
        self._task: TaskID = self._progress.add_task("", total=None)
        self._progress.start()
        self._measuring = Thread(target=self._measure, args=(root, paths), daemon=True)
        self._measuring.start()

    def show(self, octets: int) -> None:
        """Show how much has been read."""
        self._progress.update(self._task, completed=octets, total=self._total)
        self._progress.refresh()

    def show_line(self, line: str) -> bool:
        """Print a line above the bar, where standard output is the terminal as well; else tell that it is not."""
        if self._is_closed or not sys.stdout.isatty():
            return False
        self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        return True

    def close(self) -> None:
        """Take the bar off the screen."""
        self._is_closed = True
        self._progress.stop()
        self._measuring.join()

    def _measure(self, root: str, paths: Sequence[bytes]) -> None:
        total = 0
        try:
            for size in measure(root, paths):
                total += size
                if self._is_closed:
                    return
        except OSError:
            # A file that is gone, or what the scrub itself will say; a bar without an end does no harm.
            return
        self._total = total


def _make_progress() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    return Progress(
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
        transient=True,
    )


def _print(line: str) -> None:
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except OSError as error:
        # Python would write what is left once more at exit, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OutputLost(f"what was found cannot be written: {error.strerror}") from error


class OutputLost(click.ClickException):
    """Nobody learns what was found. Click would make status 1 of a broken pipe: damage."""

    exit_code = UNREADABLE


def _wait(run: Scrub, progress: Bar | None) -> None:
    while not run.wait(_REFRESH_SECONDS):
        if progress is not None:
            progress.show(run.octets)


def _find_below(root: str, path: str) -> bytes:
    """Give a path of the command line as one below the root. An absolute one must be below it."""
    octets = os.fsencode(path)
    if os.path.isabs(octets):
        octets = os.path.relpath(octets, os.path.abspath(os.fsencode(root)))
    octets = os.path.normpath(octets)
    if octets.split(b"/")[0] == b"..":
        raise click.UsageError(f"{printable(path)!r} is not below the root")
    return b"" if octets == b"." else octets


def run_scrub(arguments: Sequence[str]) -> int:
    """Run ``filetransfer-scrub``.

    Args:
        arguments: without the program's name.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding cannot show must not end the program.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        status: int = scrub.main(list(arguments), PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    return status


def main() -> None:
    """Run ``filetransfer-scrub`` with the arguments of this process, and exit."""
    sys.exit(run_scrub(sys.argv[1:]))
