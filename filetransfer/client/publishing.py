"""Files whose octets have all come, on their way to their places.

What is quick is done in the reactor's thread, what waits for a disk in others: a thread that makes five short calls a
file while the reactor works may wait after each of them, up to 5 ms, until it is given the interpreter's lock again.
So a small file that need not be durable is published at once, and of the others batches are made:

    reactor    parts are written   |                         |  renames        |                        |  told
    threads                        |  fsync, 16 at a time    |                 |  fsync of directories  |

The directories of one batch are synced together with the files of the next. Of a large file, there is more that takes
its time: the thread that syncs it compares its digest before, and renames it after.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from filetransfer.client.destinations import PathDestination, explain_locally
from filetransfer.digests import DEFAULT_ALGORITHM, digest_octets
from filetransfer.errors import DigestMismatch, RequestRefused
from filetransfer.store.beneath import HeldDirectory, close_quietly
from filetransfer.store.terms import check_replaceable
from filetransfer.store.upload import LocalUpload
from filetransfer.wire.messages import Digests

# Each may hold two descriptors, its own and its directory's, from its fsync to its rename.
_MAX_BATCH = 128
# As many as the server's commit queue has: file systems group the flushes they are asked for at the same moment.
_FSYNC_THREADS = 16

_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# The names of parts: no other program begins with the same number, and no call is needed for each.
_numbers = count(secrets.randbits(63))


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
    """One file on its way. A step that fails notes why in ``error``, and those after it do nothing.

    Args:
        destination: where it goes.
        done: called once in the reactor's thread, with None or what went wrong.
        digests: each must be that of the octets.
        attributes: what else it is given.

    Attributes:
        error: what went wrong.
    """

    __slots__ = ("_attributes", "_digests", "destination", "done", "error")

    is_small: bool

    def __init__(
        self,
        destination: PathDestination,
        done: Callable[[BaseException | None], None],
        digests: Sequence[Digests] = (),
        attributes: Attributes | None = None,
    ) -> None:
        self.destination = destination
        self.done = done
        self.error: BaseException | None = None
        self._digests = digests
        self._attributes = attributes

    def write(self) -> None:
        """Do what is quick before it waits for a disk; in the reactor's thread."""

    def settle(self) -> None:
        """Do what waits for a disk; any thread."""

    def publish(self) -> None:
        """Let it appear, if it has not; in the reactor's thread."""

    def drop(self) -> None:
        """Leave no trace of it."""

    def _fail(self, error: OSError | RequestRefused) -> None:
        path = self.destination.path
        if isinstance(error, OSError):
            self.error = OSError(error.errno, error.strerror, path)
        elif isinstance(error, DigestMismatch):
            self.error = error
        else:
            self.error = explain_locally(error, path)
        self.drop()


class SmallDelivery(Delivery):
    """A small file, whose octets are in memory. Arguments as for :class:`Delivery`, and the octets."""

    __slots__ = ("_descriptor", "_directory", "_octets", "_part")

    is_small = True

    def __init__(self, octets: bytes, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._octets = octets
        self._part = ""
        self._descriptor = -1
        self._directory: HeldDirectory | None = None

    def write(self) -> None:
        """See :meth:`Delivery.write`."""
        try:
            self._write()
        except (OSError, RequestRefused) as error:
            self._fail(error)

    def _write(self) -> None:
        octets = self._octets
        if self._digests:
            found = digest_octets(octets)
            for digests in self._digests:
                check_digest(digests, found)
        self._directory = self.destination.open_parent()
        parent = self._directory.fileno()
        name = self.destination.name
        # access() says no without an exception, which would cost 2 µs.
        if os.access(name, os.F_OK, dir_fd=parent, follow_symlinks=False):
            # The kernel would replace a FIFO or a device just as well.
            check_replaceable(name, parent)
        part = f".ft-{next(_numbers):016x}.part"
        # 0666: the kernel takes the umask, or the directory's default list, off.
        self._descriptor = os.open(part, _CREATE, 0o666, dir_fd=parent)
        self._part = part
        written = os.write(self._descriptor, octets)
        while written < len(octets):
            written += os.write(self._descriptor, octets[written:])
        if self._attributes is not None:
            self._attributes.apply(self._descriptor)

    def settle(self) -> None:
        """See :meth:`Delivery.settle`."""
        if self.error is None and self.destination.is_durable:
            try:
                os.fsync(self._descriptor)
            except OSError as error:
                self._fail(error)

    def publish(self) -> None:
        """See :meth:`Delivery.publish`."""
        if self.error is not None or self._directory is None:
            return
        parent = self._directory.fileno()
        try:
            os.rename(self._part, self.destination.name, src_dir_fd=parent, dst_dir_fd=parent)
        except OSError as error:
            self._fail(error)
        else:
            self._part = ""
            self.drop()

    def drop(self) -> None:
        """See :meth:`Delivery.drop`."""
        if self._directory is None:
            return
        if self._part:
            with suppress(OSError):
                os.unlink(self._part, dir_fd=self._directory.fileno())
            self._part = ""
        if self._descriptor >= 0:
            close_quietly(self._descriptor)
            self._descriptor = -1
        self._directory.close()
        self._directory = None


class LargeDelivery(Delivery):
    """A large file, whose octets are written. Arguments as for :class:`Delivery`, and the upload, which it ends."""

    __slots__ = ("_upload",)

    is_small = False

    def __init__(self, upload: LocalUpload, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._upload = upload

    def settle(self) -> None:
        """See :meth:`Delivery.settle`."""
        try:
            for digests in self._digests:
                check_digest(digests, self._upload.digest())
            if self._attributes is not None:
                self._attributes.apply(self._upload.fileno())
            if self.destination.is_durable:
                os.fsync(self._upload.fileno())
            self._upload.publish()
        except (OSError, RequestRefused) as error:
            self._fail(error)

    def drop(self) -> None:
        """See :meth:`Delivery.drop`."""
        self._upload.abort()


class RunInThread(Protocol):
    """Calls a function in a thread; :func:`twisted.internet.threads.deferToThread`."""

    def __call__(self, f: Callable[..., Any], /, *args: Any) -> Deferred[Any]: ...


class Publisher:
    """Takes deliveries and publishes them, those that wait for a disk in batches, in the order they came.

    Args:
        run_in_thread: as :class:`RunInThread`.

    Attributes:
        open_count: large files that wait, with their descriptors open.
    """

    def __init__(self, run_in_thread: RunInThread) -> None:
        self.open_count = 0
        self._run_in_thread = run_in_thread
        self._waiting: list[Delivery] = []
        self._published: list[Delivery] = []
        self._working: Deferred[Any] | None = None
        self._threads: ThreadPoolExecutor | None = None

    def submit(self, delivery: Delivery) -> None:
        """Publish it, at once or soon; its ``done`` tells."""
        if delivery.is_small and not delivery.destination.is_durable:
            delivery.write()
            delivery.publish()
            delivery.done(delivery.error)
            return
        self._waiting.append(delivery)
        self.open_count += not delivery.is_small
        if self._working is None:
            self._begin_batch()

    async def close(self) -> None:
        """Let the batch at work end, and drop what waits."""
        waiting, self._waiting = self._waiting, []
        for delivery in waiting:
            delivery.drop()
        while self._working is not None:
            ended: Deferred[None] = Deferred()
            self._working.addBoth(_note_end, ended)
            await ended
        if self._threads is not None:
            self._threads.shutdown()

    def _begin_batch(self) -> None:
        batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        published, self._published = self._published, []
        for delivery in batch:
            delivery.write()
        self._working = self._run_in_thread(self._settle, batch, published)
        self._working.addBoth(self._batch_settled, batch, published)

    def _batch_settled(
        self, result: Failure | None, batch: list[Delivery], published: list[Delivery]
    ) -> None:
        self._working = None
        if result is not None:
            # A fault of ours: nothing is known of any of them.
            for delivery in batch + published:
                delivery.error = delivery.error or result.value
                delivery.drop()
        for delivery in batch:
            delivery.publish()
        is_published = [each.error is None and each.destination.is_durable for each in batch]
        self._published = [each for each, is_it in zip(batch, is_published, strict=True) if is_it]
        ended = [each for each, is_it in zip(batch, is_published, strict=True) if not is_it]
        if self._waiting or self._published:
            self._begin_batch()
        for delivery in ended + published:
            self.open_count -= not delivery.is_small
            delivery.done(delivery.error)

    # In a thread.

    def _settle(self, batch: list[Delivery], published: list[Delivery]) -> None:
        works: list[Callable[[], None]] = [each.settle for each in batch if each.error is None]
        works += _list_syncs(published)
        if len(works) == 1:
            works[0]()
            return
        if self._threads is None:
            self._threads = ThreadPoolExecutor(_FSYNC_THREADS, "ft-client-fsync")
        shares = [works[first::_FSYNC_THREADS] for first in range(_FSYNC_THREADS)]
        for future in [self._threads.submit(_do_all, share) for share in shares if share]:
            future.result()


def _note_end(_: object, ended: Deferred[None]) -> None:
    ended.callback(None)


def _do_all(works: Sequence[Callable[[], None]]) -> None:
    for work in works:
        work()


def _list_syncs(published: Sequence[Delivery]) -> list[Callable[[], None]]:
    """Give what brings the names of files to stable storage that were published: one call for each directory."""
    files: dict[str, list[Delivery]] = {}
    for delivery in published:
        files.setdefault(delivery.destination.parent, []).append(delivery)
    return [lambda inside=inside: _sync_parent(inside) for inside in files.values()]  # type: ignore[misc]


def _sync_parent(published: Sequence[Delivery]) -> None:
    try:
        directory = published[0].destination.open_parent()
        try:
            os.fsync(directory.fileno())
        finally:
            directory.close()
    except OSError as error:
        for delivery in published:
            delivery.error = error
