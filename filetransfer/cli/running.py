"""Running a coroutine in the reactor until it ends, or a signal ends it; the exit status tells the truth about it.

Not ``task.react``: it exits from within and prints tracebacks. A signal cancels the coroutine, whose ``finally``
clauses remove parts and close connections; a second signal does not wait for them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

import click

from filetransfer.cli.console import (
    PROGRAM,
    Console,
    OutputClosed,
    Verbosity,
    forget,
    printable,
    write_message,
)
from filetransfer.cli.exit_status import ExitStatus, find_signal_status, find_status
from filetransfer.cli.invocation import Action, Invocation, Work, is_bug
from filetransfer.cli.promises import require
from filetransfer.cli.settings import Settings, choose_settings

if TYPE_CHECKING:
    from filetransfer.client import Session

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class CommandLine(Invocation):
    """One command of the command line, with a session of its own."""

    def choose(self, context: click.Context) -> Invocation:
        """See :meth:`Invocation.choose`."""
        return begin_command_line(choose_settings(context))

    def perform(self, command: str, action: Action) -> int:
        """See :meth:`Invocation.perform`."""
        console = self.console
        console.begin(command)
        status = run(lambda: self._act(command, action), console)
        console.end(status)
        return status

    async def _act(self, command: str, action: Action) -> int:
        from twisted.internet import reactor

        session = self.settings.begin_session()
        progress = self.console.make_progress(cast(Any, reactor))
        work = Work(command, session, self.console, progress)
        try:
            status = await work.attempt("", require(session, self.settings.required))
            status = status or await action(work)
        except BaseException:
            progress.close()
            await session.abort()
            if work.goes_on:
                text = "cut off; the same command goes on where it stopped"
                self.console.remark(command, "", text)
            raise
        progress.close()
        tell_of_version(session, self.console, command)
        await session.close()
        return status


def tell_of_version(session: Session, console: Console, command: str) -> None:
    """Say why version 1 was spoken, where there may be a better reason than the server's age."""
    if session.note:
        console.remark(command, session.server, session.note)


def begin_command_line(settings: Settings) -> CommandLine:
    """Give the invocation of a command, with nothing done yet."""
    return CommandLine(settings, make_console(settings))


def make_console(settings: Settings) -> Console:
    """Give what says things, in the manner that was asked for."""
    if settings.is_json:
        from filetransfer.cli.json_lines import JsonConsole

        return JsonConsole(settings.verbosity, str(settings.server))
    return Console(settings.verbosity, str(settings.server))


def run(
    act: Callable[[], Coroutine[Any, Any, int]],
    console: Console,
    *,
    interrupt: Callable[[], bool] = lambda: False,
) -> int:
    """Run a coroutine in the reactor.

    Args:
        act: the coroutine function.
        console: says what went wrong.
        interrupt: asked at Ctrl-C whether it has ended something less than everything.

    Returns:
        The coroutine's result, or the status for how it ended.
    """
    reactor = _load_reactor()
    _silence_logs()
    # Timers must not stand still, nor fire at once, when somebody sets the clock.
    cast(Any, reactor).seconds = time.monotonic
    running = _Running(reactor, act, console, interrupt)
    cast(Any, reactor).callWhenRunning(running.start)
    cast(Any, reactor).run()
    return running.status


_NEVER_USED = ("OpenSSL", "ssl", "http.cookiejar")
"""What Twisted and asyncio load and ft-client has no use for: for startTLS, which we never say (our TLS is in
``filetransfer/tls``), for asyncio's TLS, and to give it another name. With the last two a small put took 0.54 s on a
slow day, and 0.48 without."""


def _load_reactor() -> Any:
    """Give Twisted's reactor, without what it would load in vain, where nobody has loaded that yet."""
    left_out = [name for name in _NEVER_USED if name not in sys.modules]
    for name in left_out:
        # So Twisted and asyncio do without, as where it is not installed. The last has to have a name.
        stand_in = ModuleType(name) if name == "http.cookiejar" else None
        sys.modules[name] = stand_in  # type: ignore[assignment]
    try:
        from twisted.internet import endpoints, reactor  # noqa: F401 - endpoints load it, too
    finally:
        for name in left_out:
            del sys.modules[name]
    return reactor


def _silence_logs() -> None:
    from twisted.logger import globalLogBeginner

    # Until it begins, Twisted's log prints tracebacks on standard error.
    globalLogBeginner.beginLoggingTo([], redirectStandardIO=False)
    logging.getLogger("filetransfer").addHandler(logging.NullHandler())


class _Running:
    """A coroutine at work in the reactor."""

    def __init__(
        self,
        reactor: Any,
        act: Callable[[], Coroutine[Any, Any, int]],
        console: Console,
        interrupt: Callable[[], bool],
    ) -> None:
        self.status: int = ExitStatus.OTHER
        self._reactor = reactor
        self._act = act
        self._console = console
        self._interrupt = interrupt
        self._signal: int | None = None
        self._result: Any = None

    def start(self) -> None:
        from twisted.internet.defer import Deferred

        # The reactor has just installed handlers of its own, that would stop it before parts are removed.
        for number in _SIGNALS:
            # What a shell or nohup has told us to ignore, we go on ignoring.
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._take_signal)
        self._result = Deferred.fromCoroutine(self._act())
        self._result.addBoth(self._end)

    def _take_signal(self, number: int, frame: object) -> None:
        if self._signal is not None:
            self._leave(number)
        self._reactor.callFromThread(self._obey, number)

    def _obey(self, number: int) -> None:
        if number == signal.SIGINT and self._interrupt():
            return
        self._signal = number
        self._result.cancel()

    def _end(self, result: Any) -> None:
        if self._signal is not None:
            # Not reactor.stop(): it waits for threads, and one of them may be writing to a pipe that nobody reads.
            self._leave(self._signal)
        try:
            self.status = (
                result if isinstance(result, int) else complain_of_bug(self._console, result.value)
            )
        except OutputClosed:
            forget(sys.stdout)
        finally:
            # Whatever is wrong with saying so: a program that does not end is worse.
            self._reactor.stop()

    def _leave(self, number: int) -> None:
        status = find_signal_status(number)
        # Whoever read what we say may be gone.
        with suppress(OSError, OutputClosed):
            self._console.end(status)
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def complain_of_bug(console: Console, error: BaseException) -> int:
    """Say that something went wrong which nobody has thought of; the traceback only for those who want it."""
    if isinstance(error, OutputClosed):
        forget(sys.stdout)
        return ExitStatus.OTHER
    if not is_bug(error):
        console.complain_about("", "", error)
        return find_status(error)
    text = printable(f"{type(error).__name__}: {error}")
    write_message(f"{PROGRAM}: unexpected: {text}; please report it, with what -v shows")
    if console.verbosity is Verbosity.VERBOSE:
        write_message("".join(traceback.format_exception(error)).rstrip())
    return ExitStatus.OTHER
