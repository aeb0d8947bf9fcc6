"""OpenSSL's side of a connection is not made for two threads: whoever wants it meanwhile waits, and then has it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from certificates import make_certificate
from ends import Creator, Pair
from OpenSSL import SSL

from filetransfer.tls import layer as layer_module
from filetransfer.tls.layer import Layer


class Doorkeeper:
    """Sees who comes to OpenSSL, and who has to wait for it."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.has_somebody_come = threading.Event()

    def watch(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """Give the same call, noted under a name."""

        def noted(*args: Any) -> Any:
            self.calls.append(name)
            self.has_somebody_come.set()
            return call(*args)

        return noted

    def make_door(self) -> Door:
        return Door(self.has_somebody_come)


class Door:
    """A lock that tells when somebody has to wait for it."""

    def __init__(self, has_somebody_come: threading.Event) -> None:
        # Another kind of lock: threading.Lock is this one meanwhile.
        self._lock = threading.RLock()
        self._has_somebody_come = has_somebody_come

    def __enter__(self) -> None:
        if not self._lock.acquire(blocking=False):
            self._has_somebody_come.set()
            self._lock.acquire()

    def __exit__(self, *reason: object) -> None:
        self._lock.release()


@pytest.mark.parametrize(
    ("act", "call"),
    [
        (lambda layer: layer.write(b"answer"), "send"),
        (lambda layer: layer.loseConnection(), "shutdown"),
        (lambda layer: layer.send_pending(), "bio_read"),
        (lambda layer: layer.unregisterProducer(), "release_buffers"),
    ],
    ids=["write", "lose", "send_pending", "unregister"],
)
def test_nobody_comes_to_openssl_while_another_thread_decrypts(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Layer], None],
    call: str,
) -> None:
    doorkeeper = Doorkeeper()
    made = make_certificate(tmp_path)
    creator = Creator(made)
    names = ("send", "bio_read", "shutdown")
    watched = {name: doorkeeper.watch(name, getattr(SSL.Connection, name)) for name in names}
    creator.connection = type("Watched", (SSL.Connection,), watched)
    with mock.patch("threading.Lock", doorkeeper.make_door):
        pair = Pair(made, creator=creator)
    pair.pump()
    if call == "release_buffers":
        pair.server.layer.registerProducer(object(), streaming=True)
    pair.server.layer.pauseProducing()
    pair.client.layer.write(b"octets")
    other = threading.Thread(target=act, args=[pair.server.layer])

    def decrypt_beside_another(*args: Any) -> Any:
        doorkeeper.has_somebody_come.clear()
        other.start()
        assert doorkeeper.has_somebody_come.wait(60)
        assert not doorkeeper.calls
        return decrypt_into(*args)

    decrypt_into, release_buffers = layer_module.decrypt_into, layer_module.release_buffers
    monkeypatch.setattr(layer_module, "decrypt_into", decrypt_beside_another)
    monkeypatch.setattr(
        layer_module, "release_buffers", doorkeeper.watch("release_buffers", release_buffers)
    )
    doorkeeper.calls.clear()
    into = bytearray(100)
    count, goes_on = pair.server.layer.decrypt(memoryview(pair.client.take()), memoryview(into))
    other.join()
    assert (into[:count], goes_on) == (b"octets", True)
    assert doorkeeper.calls[0] == call
