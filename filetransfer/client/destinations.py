"""Where a GET goes: a file that appears whole or not at all, or a stream that takes the octets as they come.

A file is written as a part beside its destination and published with one rename (``store/upload.py``). Small files are
written and published in batches, in one thread hop for all that came in the meantime, and made durable as the server
does it (``store/commit.py``): fsync on several threads, then the renames in order, then each directory once. One at a
time, a small file costs ten times as much.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from filetransfer.digests import DEFAULT_ALGORITHM, start_digest
from filetransfer.errors import DigestMismatch, RequestRefused
from filetransfer.store.beneath import HeldDirectory, Root
from filetransfer.store.stable import Durability, choose_storage
from filetransfer.store.terms import check_replaceable
from filetransfer.store.upload import LocalUpload, Progress
from filetransfer.wire.messages import Digests

LocalDestination = str | os.PathLike[str] | int | IO[bytes]
"""A path, a descriptor or a writable binary file."""

# Each may hold two descriptors, its own and its directory's, from its fsync to its rename.
_MAX_BATCH = 128
# As many as the server's commit queue has: file systems group the flushes they are asked for at the same moment.
_FSYNC_THREADS = 16


_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# The fsyncs are ours: those of a whole batch at once.
_STORAGE = choose_storage("none")


class Stream:
    """A destination that keeps what it was given: standard output, a device, an open file.

    Args:
        write: appends octets and says how many it took; None for all.
        close: called at the end.

    Attributes:
        has_begun: whether octets are on their way into it, so that they cannot be sent once more.
    """

    __slots__ = ("_close", "_digest", "_is_closed", "_lock", "_write", "has_begun")

    def __init__(self, write: Callable[[Any], int | None], close: Callable[[], None]) -> None:
        self._write = write
        self._digest = start_digest()
        self._close = close
        # Whoever gives up closes it in one thread while the last octets are still being written in another.
        self._lock = threading.Lock()
        self._is_closed = False
        self.has_begun = False

    def write(self, octets: bytes) -> None:
        """Append octets; blocks. Nothing happens when it is closed. Raises OSError."""
        with self._lock:
            self._digest.update(octets)
            rest = memoryview(octets)
            while rest and not self._is_closed:
                written = self._write(rest)
                rest = rest[len(rest) if written is None else written :]

    def digest(self) -> bytes:
        """Give the digest of all that it was given."""
        return self._digest.digest()

    def close(self) -> None:
        """Flush it, and close it if it was opened here; blocks. Raises OSError."""
        with self._lock:
            self._is_closed = True
            self._close()


class PathDestination:
    """A file that will be published under a path.

    Args:
        path: of the file, absolute; its directory exists, and its last component is no symbolic link.
        durability: ``none`` leaves the fsyncs out.
    """

    __slots__ = ("is_durable", "name", "parent", "path")

    def __init__(self, path: str, durability: Durability) -> None:
        self.path = path
        self.parent, self.name = os.path.split(path)
        self.is_durable = durability == "full"

    def open_parent(self) -> int:
        """Give a new descriptor of its directory. Raises OSError."""
        return os.open(self.parent, _OPEN_DIRECTORY)

    def begin(self, part: str | None = None, progress: Progress | None = None) -> LocalUpload:
        """Begin to write it, or go on with a part that was kept, as far as it has come. Raises OSError."""
        return self.begin_in(self.open_parent(), part, progress)

    def begin_in(
        self, parent: int, part: str | None = None, progress: Progress | None = None
    ) -> LocalUpload:
        """Begin to write it in its open directory, whose descriptor is the upload's from now on. Raises OSError."""
        directory = HeldDirectory(parent)
        try:
            # The kernel would replace a FIFO or a device just as well.
            check_replaceable(self.name, parent)
        except RequestRefused as refusal:
            directory.close()
            raise explain_locally(refusal, self.path) from refusal
        try:
            return LocalUpload(directory, self.name, _STORAGE, part=part, progress=progress)
        except RequestRefused as refusal:
            raise explain_locally(refusal, self.path) from refusal


class BeneathDestination(PathDestination):
    """A file that will be published below a directory, and never outside of it.

    Args:
        root: the directory.
        root_path: its path, absolute, for messages.
        path: of the file in it, components joined by ``/``.
        durability: as for :class:`PathDestination`.
    """

    __slots__ = ("_inner", "_root")

    def __init__(self, root: Root, root_path: str, path: str, durability: Durability) -> None:
        super().__init__(os.path.join(root_path, path), durability)
        self._root = root
        self._inner = path.rpartition("/")[0]

    def open_parent(self) -> int:
        """See :meth:`PathDestination.open_parent`; no symbolic link is followed on the way."""
        return self._root.open(self._inner, _OPEN_DIRECTORY)


def find_destination(
    local: LocalDestination | PathDestination, durability: Durability
) -> PathDestination | Stream | Callable[[], Stream]:
    """Look at where something is to be written.

    Returns:
        The file; or the stream, or a function that opens it, and may wait for its other end.

    Raises:
        OSError: it is a directory, its directory is missing or may not be written to.
    """
    if isinstance(local, PathDestination):
        return local
    if isinstance(local, int):
        return Stream(lambda octets: os.write(local, octets), lambda: None)
    if not isinstance(local, str | os.PathLike):
        return Stream(local.write, local.flush)
    # Absolute: the program may go to another directory before the file is published.
    path = os.path.abspath(local) if not os.path.isabs(local) else os.fspath(local)
    mode = _find_mode(path)
    if stat.S_ISLNK(mode):
        # The link stays, and what it points to is replaced.
        path = os.path.realpath(path)
        mode = _find_mode(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory", path)
    if not stat.S_ISREG(mode):
        # A rename would replace /dev/null itself.
        return lambda: _open_special(path)
    destination = PathDestination(path, durability)
    _check_parent(destination.parent)
    return destination


def _find_mode(path: str) -> int:
    """Give the mode of what is there, or of what will be."""
    try:
        return os.lstat(path).st_mode
    except FileNotFoundError:
        return stat.S_IFREG


def _open_special(path: str) -> Stream:
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    return Stream(lambda octets: os.write(descriptor, octets), lambda: os.close(descriptor))


def _check_parent(parent: str) -> None:
    """Refuse before anything is transferred what could not be written at the end."""
    if os.access(parent, os.W_OK | os.X_OK):
        return
    number = errno.EACCES if os.path.isdir(parent) else errno.ENOENT
    raise OSError(number, os.strerror(number), parent)


def explain_locally(refusal: RequestRefused, path: str) -> OSError:
    """Give the error of this machine that a local file's refusal stands for; its text speaks of a server."""
    cause = refusal.__cause__
    number = cause.errno if isinstance(cause, OSError) and cause.errno else errno.EISDIR
    return OSError(number, os.strerror(number), path)


def check_digest(digests: Digests, found: bytes) -> None:
    """Compare what the sender says with what was received.

    Args:
        digests: what the sender says, by algorithm.
        found: what the octets that came give, in the algorithm that is used when none is asked for.

    Raises:
        DigestMismatch: they differ, or the sender says nothing that is understood.
    """
    said = digests.get(DEFAULT_ALGORITHM)
    if said is None:
        raise DigestMismatch(f"the server sent no digest in {DEFAULT_ALGORITHM}: nothing was kept")
    if said != found:
        raise DigestMismatch("what arrived is not what was sent: nothing was kept, try again")


@dataclass(frozen=True, slots=True)
class Attributes:
    """What a file is given besides its octets. Source: protocol, section 2, "Types".

    Attributes:
        modified: nanoseconds since 1970 UTC; None for now.
        mode: permission bits; None for those of a new file.
    """

    modified: int | None
    mode: int | None

    def apply(self, descriptor: int) -> None:
        """Give them to an open file. Raises OSError."""
        if self.mode is not None:
            os.fchmod(descriptor, self.mode & 0o777)
        if self.modified is not None:
            os.utime(descriptor, ns=(time.time_ns(), self.modified))


class Delivery:
    """One file whose octets have all come, on its way to its place.

    Args:
        destination: where.
        done: called once in the reactor thread, with None or what went wrong.
        octets: of a small file.
        upload: of a large one; its octets are written already.
        digests: each must be that of the octets.
        attributes: what else it is given.

    Attributes:
        error: what went wrong.
        has_come_open: whether it holds descriptors already.
    """

    __slots__ = (
        "_attributes",
        "_digests",
        "_octets",
        "_upload",
        "destination",
        "done",
        "error",
        "has_come_open",
    )

    def __init__(
        self,
        destination: PathDestination,
        done: Callable[[BaseException | None], None],
        *,
        octets: bytes = b"",
        upload: LocalUpload | None = None,
        digests: Sequence[Digests] = (),
        attributes: Attributes | None = None,
    ) -> None:
        self.destination = destination
        self.done = done
        self.error: OSError | RequestRefused | None = None
        self._digests = digests
        self._attributes = attributes
        self._octets = octets
        self._upload = upload
        self.has_come_open = upload is not None

    def prepare(self, parents: _Parents) -> None:
        """Bring the octets to where they are safe; any thread. A failure is noted in ``error``."""
        try:
            if self._upload is None:
                parent = os.dup(parents.open(self.destination))
                self._upload = self.destination.begin_in(parent)
                self._upload.write(self._octets)
            for digests in self._digests:
                check_digest(digests, self._upload.digest())
            if self._attributes is not None:
                self._attributes.apply(self._upload.fileno())
            if self.destination.is_durable:
                os.fsync(self._upload.fileno())
        except (OSError, RequestRefused) as error:
            self._fail(error)

    def publish(self) -> None:
        """Let a prepared file appear. A failure is noted in ``error``."""
        if self.error is not None or self._upload is None:
            return
        try:
            self._upload.publish()
        except RequestRefused as refusal:
            self._fail(refusal)

    def drop(self) -> None:
        """Leave no trace of it."""
        if self._upload is not None:
            self._upload.abort()

    def _fail(self, error: OSError | RequestRefused) -> None:
        if isinstance(error, RequestRefused) and not isinstance(error, DigestMismatch):
            error = explain_locally(error, self.destination.path)
        self.error = error
        self.drop()


class _Parents:
    """The directories of one batch, each opened once."""

    def __init__(self) -> None:
        self._descriptors: dict[tuple[type[PathDestination], str], int] = {}
        self._lock = threading.Lock()

    def open(self, destination: PathDestination) -> int:
        """Give the descriptor of a file's directory; any thread. Raises OSError."""
        # What was opened with links on the way must not serve those who follow none.
        place = (type(destination), destination.parent)
        with self._lock:
            descriptor = self._descriptors.get(place)
            if descriptor is None:
                descriptor = self._descriptors[place] = destination.open_parent()
            return descriptor

    def close(self) -> None:
        """Close them all."""
        for descriptor in self._descriptors.values():
            os.close(descriptor)


class RunInThread(Protocol):
    """Calls a function in a thread; :func:`twisted.internet.threads.deferToThread`."""

    def __call__(self, f: Callable[..., Any], /, *args: Any) -> Deferred[Any]: ...


class Publisher:
    """Takes deliveries and publishes them, batch after batch, in the order they came.

    Args:
        run_in_thread: as :class:`RunInThread`.

    Attributes:
        open_count: large files that wait, with their descriptors open.
    """

    def __init__(self, run_in_thread: RunInThread) -> None:
        self.open_count = 0
        self._run_in_thread = run_in_thread
        self._waiting: list[Delivery] = []
        self._working: Deferred[Any] | None = None
        self._threads: ThreadPoolExecutor | None = None

    def submit(self, delivery: Delivery) -> None:
        """Publish it soon; its ``done`` tells."""
        self._waiting.append(delivery)
        self.open_count += delivery.has_come_open
        if self._working is None:
            self._begin_batch()

    async def close(self) -> None:
        """Let the batch at work end, and drop what waits."""
        waiting, self._waiting = self._waiting, []
        for delivery in waiting:
            delivery.drop()
        if self._working is not None:
            ended: Deferred[None] = Deferred()
            self._working.addBoth(lambda _: ended.callback(None))
            await ended
        if self._threads is not None:
            self._threads.shutdown()

    def _begin_batch(self) -> None:
        batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        self._working = self._run_in_thread(self._publish, batch)
        self._working.addBoth(self._batch_ended, batch)

    def _batch_ended(self, result: Failure | None, batch: list[Delivery]) -> None:
        self._working = None
        if self._waiting:
            self._begin_batch()
        for delivery in batch:
            self.open_count -= delivery.has_come_open
            # A batch that broke down, by a fault of ours, published nothing that we know of.
            delivery.done(delivery.error if result is None else result.value)

    def _publish(self, batch: list[Delivery]) -> None:
        parents = _Parents()
        try:
            durable = [delivery for delivery in batch if delivery.destination.is_durable]
            if len(durable) > 1:
                self._prepare_in_parallel(durable, parents)
            for delivery in batch:
                if len(durable) <= 1 or not delivery.destination.is_durable:
                    delivery.prepare(parents)
                delivery.publish()
            for destination in {
                each.destination.parent: each.destination for each in durable
            }.values():
                _sync_parent(destination, parents, durable)
        finally:
            parents.close()

    def _prepare_in_parallel(self, deliveries: list[Delivery], parents: _Parents) -> None:
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_FSYNC_THREADS, "ft-client-fsync")
        shares = [deliveries[first::_FSYNC_THREADS] for first in range(_FSYNC_THREADS)]
        for future in [
            self._threads.submit(_prepare_share, share, parents) for share in shares if share
        ]:
            future.result()


def _prepare_share(share: list[Delivery], parents: _Parents) -> None:
    for delivery in share:
        delivery.prepare(parents)


def _sync_parent(
    destination: PathDestination, parents: _Parents, deliveries: list[Delivery]
) -> None:
    try:
        os.fsync(parents.open(destination))
    except OSError as error:
        for delivery in deliveries:
            if delivery.destination.parent == destination.parent and delivery.error is None:
                delivery.error = error
