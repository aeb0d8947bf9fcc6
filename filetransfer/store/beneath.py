"""Opening below a root and never outside it.

A check of the path's text is not enough: between the check and the opening, somebody else on the machine may put a
symbolic link where a directory was. So every opening starts at one descriptor of the root, held for as long as the
store is open, and the kernel is told where it must not go. There are two ways with the same results:

    openat2     one call: RESOLVE_BENEATH, no symbolic link anywhere, no other mount. 3.2 µs.
    a walk      where there is no openat2 (before Linux 5.6, or a sandbox that forbids it): component by component,
                each opened with O_PATH | O_NOFOLLOW from the descriptor of the one before, so that what was looked at
                is what is used. 3 µs a component.

The one difference: the walk knows another file system by its device, so a bind mount of the same file system passes.

Opening a FIFO must not wait for its other end: O_NONBLOCK. Nothing is read from, or written to, what ``fstat`` does
not call a regular file. (Looking with O_PATH first would leave even the FIFO's other end undisturbed, and cost each
GET 4.5 µs more.)
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from filetransfer.store import calls

Opener = Callable[[int, bytes, int], int]
"""Opens a path (second; ``.`` for the directory itself) below a directory (first) with flags (third)."""

_RESOLVE = (
    calls.RESOLVE_BENEATH
    | calls.RESOLVE_NO_SYMLINKS
    | calls.RESOLVE_NO_MAGICLINKS
    | calls.RESOLVE_NO_XDEV
)
_PATH_MAX = 4096
"""What the kernel takes of a path in one call, the NUL at its end included. Source: linux/limits.h."""

_ALWAYS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class HeldDirectory:
    """An open directory that others open things from.

    After :meth:`close` its number is -1, which no call takes for a directory: a late user gets EBADF, never a
    descriptor of somebody else that happens to have the number now.
    """

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def fileno(self) -> int:
        """Give the descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Close it; a second call does nothing."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            close_quietly(descriptor)


class Root(HeldDirectory):
    """A directory that nothing is opened outside of.

    Args:
        path: the directory; a symbolic link to one will do.
        open_beneath: the way; None: openat2 where there is one, else the walk.

    Raises:
        OSError: the directory cannot be opened.
    """

    __slots__ = ("_can_open_cached", "_open_beneath")

    def __init__(self, path: str | os.PathLike[str], open_beneath: Opener | None = None) -> None:
        super().__init__(os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        self._open_beneath = open_beneath or choose_opener(self._descriptor)
        self._can_open_cached = self._open_beneath is open_by_kernel and calls.is_local(
            self._descriptor
        )

    def open(self, path: str, flags: int) -> int:
        """Open what is under ``path``; nothing is created.

        Args:
            path: components joined by ``/``; empty for the root itself.
            flags: as for ``os.open``; O_NOFOLLOW, O_NONBLOCK, O_NOCTTY and O_CLOEXEC are added.

        Returns:
            A new descriptor. It may be one of a directory or a special file: look before use.

        Raises:
            OSError: ELOOP or ENOTDIR at a symbolic link, EXDEV where the path leaves the root or its file system,
                EILSEQ for a text that is no name, others as for ``open``.
        """
        return self._open_beneath(self._descriptor, encode_path(path), flags | _ALWAYS)

    def open_octets(self, path: bytes, flags: int) -> int:
        """As :meth:`open`, for a path as a directory of the root has it: no text, perhaps; ``.`` for the root."""
        return self._open_beneath(self._descriptor, path, flags | _ALWAYS)

    def look_at(self, path: str) -> os.stat_result:
        """Give what is under a path, be it a symbolic link, without opening it: a FIFO does not notice.

        Raises as :meth:`open`, but nothing for the link itself.
        """
        # O_PATH goes with none of the other flags.
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = self._open_beneath(self._descriptor, encode_path(path), flags)
        try:
            return os.fstat(descriptor)
        finally:
            close_quietly(descriptor)

    def open_cached(self, path: str, flags: int) -> int | None:
        """As :meth:`open`, but None when that could block, or when the kernel cannot tell."""
        if not self._can_open_cached:
            return None
        octets = encode_path(path)
        try:
            return calls.openat2(
                self._descriptor, octets, flags | _ALWAYS, _RESOLVE | calls.RESOLVE_CACHED
            )
        except OSError as error:
            if error.errno == errno.EINVAL:
                # Linux 5.6 to 5.11 do not know RESOLVE_CACHED, and will not learn it while we run.
                self._can_open_cached = False
            # A path may have one octet more than fits into one call.
            elif error.errno not in (errno.EAGAIN, errno.ENAMETOOLONG):
                raise
            return None

    def open_directory(self, path: str) -> HeldDirectory:
        """Open a directory below the root; empty for the root itself. Raises as :meth:`open`."""
        return HeldDirectory(self.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def open_directory_in(self, directory: HeldDirectory, name: bytes) -> HeldDirectory:
        """Open a directory, by its single name, in one that was opened beneath this root. Raises as :meth:`open`."""
        flags = os.O_RDONLY | os.O_DIRECTORY | _ALWAYS
        return HeldDirectory(self._open_beneath(directory.fileno(), name, flags))


def encode_path(path: str) -> bytes:
    """Give a path as the octets that a file system call wants; ``.`` for the empty one.

    Raises:
        OSError: EILSEQ for what no file can be called, EXDEV for a path that may lead out.
    """
    try:
        octets = path.encode()
    except UnicodeEncodeError:
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ)) from None
    if not octets:
        return b"."
    if b"\0" in octets:
        # The kernel would open what stands before the NUL.
        raise OSError(errno.EILSEQ, os.strerror(errno.EILSEQ))
    for component in octets.split(b"/"):
        if component in (b"", b".", b".."):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    return octets


def choose_opener(directory: int) -> Opener:
    """Give :func:`open_by_kernel` where it works, else :func:`open_by_walk`."""
    try:
        close_quietly(open_by_kernel(directory, b".", os.O_PATH))
    except OSError:
        return open_by_walk
    return open_by_kernel


def open_by_kernel(directory: int, path: bytes, flags: int) -> int:
    """Open below ``directory`` with openat2, in two steps where the path does not fit into one call."""
    parent, slash, name = path.rpartition(b"/")
    if len(path) < _PATH_MAX or not slash:
        return calls.openat2(directory, path, flags, _RESOLVE)
    held = open_by_kernel(directory, parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return calls.openat2(held, name, flags, _RESOLVE)
    finally:
        close_quietly(held)


def open_by_walk(directory: int, path: bytes, flags: int) -> int:
    """Open below ``directory`` one component at a time."""
    device = os.fstat(directory).st_dev
    *parents, last = path.split(b"/")
    held = directory
    try:
        for component in parents:
            inner = os.open(component, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            if held != directory:
                close_quietly(held)
            held = inner
            _check_step(held, device)
        return _open_last(held, last, flags, device)
    finally:
        if held != directory:
            close_quietly(held)


def _check_step(descriptor: int, device: int) -> None:
    status = os.fstat(descriptor)
    if stat.S_ISLNK(status.st_mode):
        error = errno.ELOOP
    elif not stat.S_ISDIR(status.st_mode):
        error = errno.ENOTDIR
    elif status.st_dev != device:
        error = errno.EXDEV
    else:
        return
    raise OSError(error, os.strerror(error))


def _open_last(directory: int, name: bytes, flags: int, device: int) -> int:
    descriptor = os.open(name, flags, dir_fd=directory)
    try:
        if os.fstat(descriptor).st_dev != device:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    except OSError:
        close_quietly(descriptor)
        raise
    return descriptor


def close_quietly(descriptor: int) -> None:
    """Close a descriptor that nothing is lost with.

    The kernel frees the number even when it tells of an error: closing once more would close somebody else's.
    """
    # No suppress(): it costs 0.4 µs, and each small request closes a file.
    try:  # noqa: SIM105
        os.close(descriptor)
    except OSError:
        pass
