"""What a command is given, and what it gives back: an action on a session.

A command's function reads its arguments, refuses wrong usage, and hands an :data:`Action` to
:meth:`Invocation.perform`. On the command line that connects, acts, and gives the exit status; at the prompt it is done
with the session that is open there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from filetransfer.cli.console import Console
from filetransfer.cli.exit_status import ExitStatus, find_status

if TYPE_CHECKING:
    import click

    from filetransfer.cli.progress import Bar, Progress
    from filetransfer.cli.settings import Settings
    from filetransfer.client import Session

Result = TypeVar("Result")


@dataclass(slots=True)
class Work:
    """What an action works with.

    Attributes:
        command: its name, for messages.
        session: with the server.
        console: says things.
        progress: is told of what moves.
        keeps_parts: whether what is cut off may be gone on with.
        goes_on: whether something was cut off that the next run goes on with.
    """

    command: str
    session: Session
    console: Console
    progress: Progress
    keeps_parts: bool = False
    goes_on: bool = False

    @contextmanager
    def moving(self, label: str) -> Iterator[Bar]:
        """Give the bar of a file, while it moves. ``label``: what to call it."""
        from twisted.internet.defer import CancelledError

        bar = self.progress.begin(label)
        try:
            yield bar
        except CancelledError:
            self.goes_on |= self._can_go_on(bar)
            raise
        finally:
            self.progress.end(bar)

    def give_up(self, bar: Bar) -> None:
        """Take note that a file moves no more, in the middle of it perhaps."""
        self.goes_on |= self._can_go_on(bar)
        self.progress.end(bar)

    def _can_go_on(self, bar: Bar) -> bool:
        from filetransfer.client.resuming import FEATURE, MIN_OCTETS

        info = self.session.server_info
        has_parts = info is not None and FEATURE in info.features and bar.size >= MIN_OCTETS
        return self.keeps_parts and has_parts and bar.moved > 0

    async def attempt(self, subject: str, doing: Coroutine[Any, Any, None]) -> int:
        """Do one thing; an error is said, and gives the status."""
        return (await self.find(subject, doing))[0]

    async def find(
        self, subject: str, doing: Coroutine[Any, Any, Result]
    ) -> tuple[int, Result | None]:
        """Do one thing that gives something; an error is said, and gives the status, and then None."""
        try:
            return ExitStatus.DONE, await doing
        except Exception as error:
            if is_bug(error):
                raise
            self.console.complain_about(self.command, subject, error)
            return find_status(error), None


Action = Callable[[Work], Coroutine[Any, Any, int]]


class Invocation:
    """One run of one command.

    Args:
        settings: what the options of ``ft-client`` itself say.
        console: says things.

    Attributes:
        is_in_conversation: whether it is one of several, with a session that is open.
    """

    is_in_conversation: ClassVar[bool] = False

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console

    def choose(self, context: click.Context) -> Invocation:
        """Give the invocation of a command, whose options may change settings. Raises click.UsageError."""
        raise NotImplementedError

    def perform(self, command: str, action: Action) -> int:
        """Do an action, for a command of this name, and give the exit status."""
        raise NotImplementedError

    def tell(self, command: str, tell: Callable[[Console], None]) -> int:
        """Say what needs no server, for a command of this name, and give the exit status."""
        self.console.begin(command)
        tell(self.console)
        self.console.end(ExitStatus.DONE)
        return ExitStatus.DONE


def is_bug(error: BaseException) -> bool:
    """Tell whether an exception is none that a user can do anything about, or a request to end."""
    from twisted.internet.defer import CancelledError

    from filetransfer.errors import FileTransferError

    return isinstance(error, CancelledError) or not isinstance(error, FileTransferError | OSError)
