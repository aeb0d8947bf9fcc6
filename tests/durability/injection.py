"""One system call of a running daemon, of one thread, the n-th since now: failed or killed, by strace.

strace counts for each thread by itself, and many threads make the same call. So the daemon is first watched while it
serves a request, and then each call of each thread is a place of its own: ``Place(thread, "fsync", 1)``.

An injected error keeps the call from being made. So none is injected into ``close``: the descriptor that stays open
then is the rig's fault.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# What belongs to the interpreter, its memory and its locks, and fails only with the process.
_UNWATCHED = (
    "futex,mmap,munmap,mprotect,brk,madvise,clock_nanosleep,gettid,getpid,sched_yield,mremap"
)
_UNWATCHED += ",rt_sigaction,rt_sigprocmask,rt_sigreturn,restart_syscall,set_robust_list,rseq,exit"
_CALL = re.compile(r"^(\d+) +(?:<\.\.\. )?(\w+)[( ]")

FILE_ERRORS = ("EIO", "ENOSPC", "EMFILE", "EINTR", "EDQUOT")
"""What any call on files may fail with."""

_POSSIBLE = {
    "accept4": ("EMFILE", "EINTR"),
    "clone": ("EAGAIN",),
    "clone3": ("EAGAIN",),
    "close": (),
    "epoll_ctl": (),
    "epoll_wait": ("EINTR",),
    "fcntl": (),
    "getsockname": (),
    "ioctl": (),
    "kill": (),
    "pipe2": ("EMFILE",),
    "read": ("EINTR",),
    "recvfrom": ("ECONNRESET", "EINTR"),
    "sendto": ("ECONNRESET", "EINTR"),
    "setsockopt": (),
    "shutdown": (),
    "vfork": ("EAGAIN",),
    "wait4": ("EINTR",),
    "write": ("EINTR",),
}
"""What calls on sockets, pipes and processes may fail with. ``read`` and ``write`` serve pipes alone here."""


@dataclass(frozen=True, slots=True)
class Place:
    """The n-th call of that name in one thread.

    Attributes:
        thread: which one, in the order of their creation, from 0.
        call: the name.
        count: from 1.
    """

    thread: int
    call: str
    count: int

    @property
    def errors(self) -> tuple[str, ...]:
        """What the call may fail with."""
        return _POSSIBLE.get(self.call, FILE_ERRORS)


class Watch:
    """An strace that is attached.

    Args:
        process: what it watches.
        log: where it writes.
    """

    def __init__(self, process: int, log: Path) -> None:
        self._threads = list_threads(process)
        self._log = log

    @property
    def has_injected(self) -> bool:
        """Whether the call has been made."""
        return "(INJECTED)" in self._log.read_text()

    def list_places(self) -> list[Place]:
        """Give every call that was made."""
        counts: Counter[tuple[int, str]] = Counter()
        for line in self._log.read_text().splitlines():
            match = _CALL.match(line)
            # What was under way at the attaching ("resumed" without its beginning) cannot be hit again.
            if match and "resumed>" not in line and int(match[1]) in self._threads:
                counts[self._threads.index(int(match[1])), match[2]] += 1
        return [
            Place(thread, call, which + 1)
            for (thread, call), count in counts.items()
            for which in range(count)
        ]


@contextmanager
def watch(process: int, log: Path) -> Iterator[Watch]:
    """Watch all threads of a process."""
    with _trace(log, "-f", "-p", str(process), "-e", f"trace=!{_UNWATCHED}"):
        yield Watch(process, log)


@contextmanager
def inject(process: int, place: Place, what: str, log: Path) -> Iterator[Watch]:
    """Let one call fail.

    Args:
        process: whose.
        place: which one; a thread that is not there, or not any more, is the last one.
        what: ``error=EIO`` or ``signal=KILL``.
        log: where strace writes.
    """
    expression = f"inject={place.call}:{what}:when={place.count}"
    thread = list_threads(process)[: place.thread + 1][-1]
    with _trace(log, "-p", str(thread), "-e", f"trace={place.call}", "-e", expression):
        yield Watch(process, log)


def list_threads(process: int) -> list[int]:
    """Give the threads of a process in the order of their creation."""
    return sorted(map(int, os.listdir(f"/proc/{process}/task")))


@contextmanager
def _trace(log: Path, *arguments: str) -> Iterator[None]:
    log.unlink(missing_ok=True)
    with subprocess.Popen(
        ["strace", "-o", str(log), *arguments], stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            line = process.stderr.readline()
            assert "attached" in line, line
            yield
        finally:
            process.terminate()
            process.communicate()
