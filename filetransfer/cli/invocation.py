"""What a command is given, and what it gives back: an action on a session.

A command's function reads its arguments, refuses wrong usage, and hands an :data:`Action` to
:attr:`Invocation.perform`. On the command line that connects, acts, and gives the exit status; at the prompt it is done
with the session that is open there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from filetransfer.cli.console import Console
from filetransfer.cli.exit_status import ExitStatus, find_status
from filetransfer.cli.settings import Settings

if TYPE_CHECKING:
    from filetransfer.cli.progress import Bars
    from filetransfer.client import Session


@dataclass(slots=True)
class Work:
    """What an action works with.

    Attributes:
        command: its name, for messages.
        session: with the server.
        console: says things.
        bars: show progress.
    """

    command: str
    session: Session
    console: Console
    bars: Bars

    async def attempt(self, subject: str, doing: Coroutine[Any, Any, None]) -> int:
        """Do one thing; an error is said, and gives the status."""
        try:
            await doing
        except Exception as error:
            if is_bug(error):
                raise
            self.console.complain_about(self.command, subject, error)
            return find_status(error)
        return ExitStatus.DONE


Action = Callable[[Work], Coroutine[Any, Any, int]]


@dataclass(slots=True)
class Invocation:
    """One run of one command.

    Attributes:
        settings: the options before the command.
        console: says things.
        perform: does an action, for a command of this name, and gives the exit status.
    """

    settings: Settings
    console: Console
    perform: Callable[[str, Action], int]


def is_bug(error: BaseException) -> bool:
    """Tell whether an exception is none that a user can do anything about, or a request to end."""
    from twisted.internet.defer import CancelledError

    from filetransfer.errors import FileTransferError

    return isinstance(error, CancelledError) or not isinstance(error, FileTransferError | OSError)
