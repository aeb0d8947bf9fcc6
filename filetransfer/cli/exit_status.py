"""The exit statuses of ``ft-client``: the one table that --help, the documentation and the tests are made from."""

from __future__ import annotations

import signal
from enum import IntEnum

from filetransfer.errors import (
    ConnectTimeout,
    LocalProtocolError,
    NotFound,
    RemoteProtocolError,
    RequestRefused,
    TransferInterrupted,
    TransferTimeout,
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
    OTHER = 1, "another error: a local file that cannot be read or written, or that changed"
    USAGE = 2, "wrong usage; nothing was sent"
    NOT_FOUND = 4, "not found: no such file, on the server or here"
    DISCONNECTED = 5, "no connection, or lost, and trying again did not help"
    PROTOCOL = 7, "the server broke the rules of the protocol"
    REFUSED = 20, "refused: it exists, the name is not allowed, no space, ..."
    TIMEOUT = 30, "nothing moved for --timeout seconds"
    CONNECT_TIMEOUT = 35, "no connection within --connect-timeout seconds"
    INTERRUPTED = 130, "ended by Ctrl-C (SIGINT)"
    TERMINATED = 143, "ended by SIGTERM"


SEVERAL = (
    "With several files, one that fails does not stop the others, and the status is that of the "
    "first that failed, in the order they were named."
)

# The first that fits counts: leaves before their branches.
_STATUSES: tuple[tuple[type[BaseException], ExitStatus], ...] = (
    (NotFound, ExitStatus.NOT_FOUND),
    (FileNotFoundError, ExitStatus.NOT_FOUND),
    (RequestRefused, ExitStatus.REFUSED),
    (LocalProtocolError, ExitStatus.REFUSED),
    (ConnectTimeout, ExitStatus.CONNECT_TIMEOUT),
    (TransferTimeout, ExitStatus.TIMEOUT),
    (TransferInterrupted, ExitStatus.DISCONNECTED),
    (RemoteProtocolError, ExitStatus.PROTOCOL),
)


def find_status(error: BaseException) -> ExitStatus:
    """Give the exit status for an error."""
    for kind, status in _STATUSES:
        if isinstance(error, kind):
            return status
    return ExitStatus.OTHER


def find_signal_status(number: int) -> int:
    """Give the exit status after a signal: what a shell reports for a program that died of it."""
    return 128 + signal.Signals(number)
