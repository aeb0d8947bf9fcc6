"""Two ends of a real connection over loopback, in one reactor, and files for what they move."""

from __future__ import annotations

import functools
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from reactors import run
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ClientCreator, Factory, Protocol, connectionDone
from twisted.python.failure import Failure

from filetransfer.tls.layer import LayerFactory


class Peer(Protocol):
    """One end: keeps what it receives and lets a test wait for it."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.made: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._waiting: list[tuple[int, Deferred[None]]] = []

    async def wait_for(self, count: int) -> bytes:
        """Wait until so many octets have been received in all, and give all there are."""
        if len(self.received) < count:
            enough: Deferred[None] = Deferred()
            self._waiting.append((count, enough))
            await enough
        return bytes(self.received)

    def connectionMade(self) -> None:
        self.made.callback(None)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        waiting, self._waiting = self._waiting, []
        for count, enough in waiting:
            if len(self.received) >= count:
                enough.callback(None)
            else:
                self._waiting.append((count, enough))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


class Loopback:
    """Makes connections and files; what is left of them is cut and closed at the end."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def connect(self, near: Any = None, far: Any = None, tls: Any = None) -> tuple[Any, Any]:
        """Connect two protocols over TCP; or over TLS, both ends of which ``tls`` makes."""
        from twisted.internet import reactor

        near, far = near or Peer(), far or Peer()
        factory: Any = Factory.forProtocol(lambda: near)
        far_end = far
        if tls is not None:
            factory = LayerFactory(tls, factory, is_client=False)
            made: Any = Factory.forProtocol(lambda: far)
            far_end = LayerFactory(tls, made, is_client=True).buildProtocol(None)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")  # type: ignore[attr-defined]
        await ClientCreator(reactor, lambda: far_end).connectTCP("127.0.0.1", port.getHost().port)
        await near.made
        await port.stopListening()
        self._stack.push_async_callback(_cut, near)
        self._stack.push_async_callback(_cut, far)
        return near, far

    def make_file(self, octets: bytes = b"") -> int:
        """Give an open file with these octets in it."""
        file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
        file.write(octets)
        file.flush()
        return file.fileno()


async def _cut(end: Peer) -> None:
    end.transport.abortConnection()
    await end.lost


def over_loopback(
    test: Callable[[Loopback], Coroutine[Deferred[Any], Any, None]],
) -> Callable[[], None]:
    """Run a test in the reactor; afterwards every descriptor that it opened must be closed."""

    async def run_test() -> None:
        await pause()
        before = _list_descriptors()
        async with AsyncExitStack() as stack:
            await test(Loopback(stack))
        assert _list_descriptors() == before

    @functools.wraps(test)
    def run_in_reactor() -> None:
        run(run_test())

    # pytest must not take the parameter for a fixture.
    del run_in_reactor.__wrapped__  # type: ignore[attr-defined]
    return run_in_reactor


def _list_descriptors() -> set[str]:
    # Pipes are kept by the threads that have moved something, and /dev/null is Twisted's reserve.
    found = set()
    for name in os.listdir("/proc/self/fd"):
        path = f"/proc/self/fd/{name}"
        target = os.readlink(path) if os.path.lexists(path) else "pipe:"
        if not target.startswith(("pipe:", "/dev/null")):
            found.add(f"{name} {target}")
    return found


def start(work: Coroutine[Deferred[Any], Any, Any]) -> Deferred[Any]:
    """Let a coroutine run while the test goes on."""
    return Deferred.fromCoroutine(work)


def pause(seconds: float = 0.0) -> Deferred[None]:
    """Let the reactor do what is due."""
    from twisted.internet import reactor

    turn: Deferred[None] = Deferred()
    reactor.callLater(seconds, turn.callback, None)  # type: ignore[attr-defined]
    return turn
