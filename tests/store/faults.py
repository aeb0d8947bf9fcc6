"""Failing the n-th system call of the store.

Every module of the store calls the system by the name ``os`` in itself, or by what ``calls`` made with ctypes: these
names are replaced, nothing else.
"""

import ctypes
import fcntl
import importlib
import os
import pkgutil
import threading
from collections.abc import Callable
from typing import Any

import pytest

import filetransfer.store
from filetransfer.store import calls, copying, directory

# All there are: a list of names would let a module be forgotten.
_MODULES = tuple(
    importlib.import_module(f"filetransfer.store.{module.name}")
    for module in pkgutil.iter_modules(filetransfer.store.__path__)
)
_CALLS = [
    *("open", "close", "mkdir", "rmdir", "chmod", "fchmod", "stat", "fstat", "statvfs", "access"),
    *("rename", "link", "unlink", "scandir", "listdir", "pread", "preadv", "pwrite", "ftruncate"),
    *("fsync", "utime", "setxattr", "getxattr", "copy_file_range", "posix_fadvise"),
]


class Faults:
    """Counts system calls and fails one.

    Attributes:
        names: the calls made since :meth:`arm`.
        failed: the name of the one that failed; None if none has.
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.failed: str | None = None
        self._at: dict[int, int] = {}
        self._only: str | None = None
        self._lock = threading.Lock()

    def arm(self, at: int, error: int, *, only: str | None = None, times: int = 1) -> None:
        """Fail the calls number ``at``, ``at + 1`` ... (from 0), ``times`` of them; only those called ``only``."""
        self.names = []
        self.failed = None
        self._only = only
        self._at = {at + n: error for n in range(times)}

    def disarm(self) -> None:
        """Fail nothing any more."""
        self._at = {}

    def _take(self, name: str) -> int:
        with self._lock:
            if self._only not in (None, name):
                return 0
            error = self._at.get(len(self.names), 0)
            self.names.append(name)
            if error:
                self.failed = name
            return error

    def wrap(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Give a call of ``os`` that may fail."""

        def act(*arguments: Any, **keywords: Any) -> Any:
            error = self._take(name)
            if error and name == "close":
                # The kernel closes even when it tells of an error.
                call(*arguments, **keywords)
            if error:
                raise OSError(error, os.strerror(error))
            return call(*arguments, **keywords)

        return act

    def wrap_foreign(self, name: str, call: Callable[..., int]) -> Callable[..., int]:
        """Give a call of ctypes that may fail."""

        def act(*arguments: Any) -> int:
            error = self._take(name)
            if error:
                ctypes.set_errno(error)
                return -1
            return call(*arguments)

        return act


class _FaultyOs:
    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        value = getattr(os, name)
        return self._faults.wrap(name, value) if name in _CALLS else value


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Faults:
    """Faults that are not armed yet."""
    faults = Faults()
    faulty_os = _FaultyOs(faults)
    for module in _MODULES:
        if hasattr(module, "os"):
            monkeypatch.setattr(module, "os", faulty_os)
    monkeypatch.setattr(calls, "_syscall", faults.wrap_foreign("openat2", calls._syscall))
    monkeypatch.setattr(calls, "_renameat2", faults.wrap_foreign("renameat2", calls._renameat2))
    monkeypatch.setattr(copying.fcntl, "ioctl", faults.wrap("ioctl", fcntl.ioctl))
    monkeypatch.setattr(directory.fcntl, "flock", faults.wrap("flock", fcntl.flock))
    return faults
