"""What ``ft-client`` says: results on standard output, everything else on standard error, one line each.

Names and whatever else came from a server, a file system or the command line goes through :func:`printable` first: a
file name may hold an escape sequence that moves the cursor, retitles the window, or worse.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import TYPE_CHECKING, ClassVar, TextIO

from filetransfer.errors import (
    ConnectFailed,
    DigestMismatch,
    NameInvalid,
    NotFound,
    RemoteProtocolError,
    RequestRefused,
    TransferInterrupted,
    UnknownToVersion,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from filetransfer.cli.progress import Progress

PROGRAM = "ft-client"
COMPLETION_VARIABLE = "_FT_CLIENT_COMPLETE"
"""That a shell sets when it asks for completions; the name is click's."""


class Verbosity(IntEnum):
    """How much is said."""

    QUIET = 0
    NORMAL = 1
    VERBOSE = 2


def printable(text: str) -> str:
    """Give text that a terminal shows as it is: what is no printable character becomes an escape, as in Python."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )


class OutputClosed(Exception):
    """Whoever read standard output has had enough: nothing more is to be done, and nothing to be said."""


def write_output(text: str) -> None:
    """Write a line to standard output. Raises OutputClosed."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise OutputClosed from error


def write_message(text: str) -> None:
    """Write a line to standard error. Where nobody reads it, the exit status has to say it all."""
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        forget(sys.stderr)


def forget(stream: TextIO) -> None:
    """Let all of a stream go nowhere whose other end is closed: at exit, Python would end with status 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


Item = Mapping[str, object]
"""What is said of one thing to programs; text, numbers, booleans, and maps and lists of them."""


class Console:
    """Says things to people.

    Args:
        verbosity: how much of them.
        server: what to call the server.

    Attributes:
        is_for_programs: whether programs read what is said on standard output.
    """

    is_for_programs: ClassVar[bool] = False

    def __init__(self, verbosity: Verbosity, server: str) -> None:
        self.verbosity = verbosity
        self.server = server

    @property
    def hears_notes(self) -> bool:
        """Whether :meth:`note` says anything: putting it into words takes longer than moving a small file."""
        return self.verbosity >= Verbosity.VERBOSE

    def begin(self, command: str) -> None:
        """Take note that a command begins."""

    def end(self, status: int) -> None:
        """Take note that the command has ended, with an exit status."""

    def make_progress(self, clock: IReactorTime) -> Progress:
        """Give what is told of octets that move."""
        from filetransfer.cli.progress import Bars, Progress

        is_shown = self.verbosity > Verbosity.QUIET and sys.stderr.isatty()
        return Bars(clock) if is_shown else Progress()

    def show(self, text: str, item: Item) -> None:
        """Print a result: what was asked for, even when quiet.

        Args:
            text: for people; safe to print.
            item: the same for programs.

        Raises:
            OutputClosed: nobody reads it.
        """
        write_output(text)

    def note(self, text: str, item: Item) -> None:
        """Say what was done, when that was asked for. The arguments are those of :meth:`show`."""
        if self.hears_notes:
            write_message(text)

    def skip(self, command: str, subject: str, reason: str) -> None:
        """Say what was left out on purpose, and why."""
        self.remark(command, subject, f"skipped: {reason}")

    def sum_up(self, text: str, counts: Mapping[str, int]) -> None:
        """Say what has become of a tree, when that was asked for.

        Args:
            text: for people; safe to print.
            counts: the same for programs.
        """
        if self.verbosity >= Verbosity.VERBOSE:
            write_message(text)

    def remark(self, command: str, subject: str, text: str) -> None:
        """Say in one line what a person should know, and that is no failure."""
        if self.verbosity > Verbosity.QUIET:
            self.complain(command, subject, text)

    def complain(self, command: str, subject: str, text: str) -> None:
        """Say in one line what went wrong with what. ``text`` may hold anything."""
        words = [PROGRAM, command, printable(subject), printable(text)]
        write_message(": ".join(word for word in words if word))

    def complain_about(self, command: str, subject: str, error: BaseException) -> None:
        """Say in one line what an error means."""
        self.complain(command, subject, self.explain(error, subject))

    def explain(self, error: BaseException, subject: str) -> str:
        """Give in one line what an error of something means."""
        if isinstance(error, NotFound):
            return str(error) if error.about == "to" else f"not found on {self.server}"
        if isinstance(error, DigestMismatch):
            return str(error)
        if isinstance(error, NameInvalid):
            return f"{error}; nothing was sent"
        if isinstance(error, UnknownToVersion):
            return (
                f"{self.server} is an older server, which can put, get, change, summary and help, and no more: "
                f"{error}"
            )
        if type(error) is RequestRefused:
            # All that version 1 says is no.
            return (
                f"refused by {self.server}, which does not say why: the name may not be allowed, or exist already, "
                "its directory may be missing, or the disk be full"
            )
        if isinstance(error, RequestRefused):
            return f"refused by {self.server}: {error}"
        if isinstance(error, ConnectFailed):
            return str(error)
        if isinstance(error, TransferInterrupted):
            return f"{self.server}: {error}"
        if isinstance(error, RemoteProtocolError):
            return f"{self.server} does not speak this protocol properly: {error}"
        if isinstance(error, OSError):
            return _explain_os_error(error, subject)
        return str(error) or type(error).__name__


def _explain_os_error(error: OSError, subject: str) -> str:
    is_subject = error.filename is not None and os.fsdecode(error.filename) in (
        subject,
        os.path.abspath(subject),
    )
    if isinstance(error, FileNotFoundError) and is_subject:
        return "no such file here"
    text = error.strerror or str(error)
    if error.filename is None or is_subject:
        return text
    return f"{os.fsdecode(error.filename)}: {text}"
