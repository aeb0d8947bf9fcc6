"""The exit statuses of ``ft-client``: the one table that --help, the documentation and the tests are made from."""

from __future__ import annotations

import errno
import signal
from collections.abc import Collection
from enum import IntEnum

from filetransfer.errors import (
    Busy,
    ConnectTimeout,
    DigestMismatch,
    LocalProtocolError,
    NoSpace,
    NotAuthenticated,
    NotFound,
    NotPermitted,
    RemoteProtocolError,
    RequestRefused,
    ShuttingDown,
    SizeMismatch,
    SourceChanged,
    SourceEmpty,
    TooManyDeletions,
    TransferInterrupted,
    TransferTimeout,
    Untrusted,
)


class ExitStatus(IntEnum):
    """What ``ft-client`` ends with."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> ExitStatus:
        """Make a member of a number and its meaning."""
        status = int.__new__(cls, number)
        status._value_ = number
        status.meaning = meaning
        return status

    DONE = 0, "done: all of it, confirmed by the server or on this disk"
    OTHER = 1, "another error, such as a local disk that fails"
    USAGE = 2, "wrong usage, or settings that cannot be understood; nothing was sent"
    NOT_FOUND = 4, "not found: no such file, on the server or here"
    TEMPORARY = 5, "no connection, or lost, or the server is busy, and trying again did not help"
    PROTOCOL = 7, "the server broke the rules of the protocol"
    REFUSED = 20, "refused: it exists, the name is not allowed, a condition does not hold, ..."
    INTEGRITY = 21, "what arrived is not what was sent: a digest or a size differs"
    PERMISSION = 22, "not allowed, by the server or here, or the server wants to know who asks"
    SOME_FAILED = 23, "some of several failed, or all of them for different reasons"
    SOURCE_CHANGED = 24, "a local file changed or vanished while it was read"
    TOO_MANY_DELETIONS = 25, "sync would have deleted more than --max-delete; nothing was done"
    NO_SPACE = 26, "no space left, on the server or here"
    UNTRUSTED = 27, "over TLS, the server has not proved who it is, or does not accept this client"
    TIMEOUT = 30, "nothing moved for --timeout seconds"
    CONNECT_TIMEOUT = 35, "no connection within --connect-timeout seconds"
    INTERRUPTED = 130, "ended by Ctrl-C (SIGINT)"
    TERMINATED = 143, "ended by SIGTERM"

    @property
    def word(self) -> str:
        """Its name in machine-readable output."""
        return self.name.lower().replace("_", "-")


SEVERAL = (
    "With several files, one that fails does not stop the others. If all fail for the same reason, "
    "the status is that of the reason; if only some fail, or for different reasons, it is 23. What "
    "ends the run for all that is left, such as a lost connection, gives its own status."
)

# The first that fits counts: leaves before their branches.
_STATUSES: tuple[tuple[type[BaseException], ExitStatus], ...] = (
    (NotFound, ExitStatus.NOT_FOUND),
    (FileNotFoundError, ExitStatus.NOT_FOUND),
    (FileExistsError, ExitStatus.REFUSED),
    (DigestMismatch, ExitStatus.INTEGRITY),
    (SizeMismatch, ExitStatus.INTEGRITY),
    (NotAuthenticated, ExitStatus.PERMISSION),
    (NotPermitted, ExitStatus.PERMISSION),
    (PermissionError, ExitStatus.PERMISSION),
    (NoSpace, ExitStatus.NO_SPACE),
    (Busy, ExitStatus.TEMPORARY),
    (ShuttingDown, ExitStatus.TEMPORARY),
    (RequestRefused, ExitStatus.REFUSED),
    (LocalProtocolError, ExitStatus.REFUSED),
    (SourceEmpty, ExitStatus.REFUSED),
    (TooManyDeletions, ExitStatus.TOO_MANY_DELETIONS),
    (SourceChanged, ExitStatus.SOURCE_CHANGED),
    (ConnectTimeout, ExitStatus.CONNECT_TIMEOUT),
    (TransferTimeout, ExitStatus.TIMEOUT),
    (TransferInterrupted, ExitStatus.TEMPORARY),
    (RemoteProtocolError, ExitStatus.PROTOCOL),
    (Untrusted, ExitStatus.UNTRUSTED),
)

_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})


def find_status(error: BaseException) -> ExitStatus:
    """Give the exit status for an error."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return ExitStatus.NO_SPACE
    return ExitStatus.OTHER


def combine(statuses: Collection[int], count: int) -> int:
    """Give the exit status of several things.

    Args:
        statuses: of those that failed; DONE does not count.
        count: of them all.
    """
    failed = [status for status in statuses if status]
    if not failed:
        return ExitStatus.DONE
    alike = set(failed)
    if len(alike) == 1 and len(failed) == count:
        return alike.pop()
    return ExitStatus.SOME_FAILED


def find_signal_status(number: int) -> int:
    """Give the exit status after a signal: what a shell reports for a program that died of it."""
    return 128 + signal.Signals(number)


def find_word(number: int) -> str:
    """Give the word for an exit status in machine-readable output; ``signal`` for one that is not in the table."""
    return next((status.word for status in ExitStatus if status == number), "signal")
