"""Telling systemd, or whoever else started the daemon, how it is: the protocol of ``sd_notify``.

Whoever wants to be told gives the path of a datagram socket in ``NOTIFY_SOCKET``. A datagram holds assignments, one a
line. Nobody answers, and nobody is waited for.

Source: sd_notify(3), sd_watchdog_enabled(3).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Notifier:
    """Tells of the daemon's states; does nothing where nobody asked.

    The socket is connected at once: afterwards a sandbox may keep its path from us.

    Args:
        environment: where ``NOTIFY_SOCKET``, ``WATCHDOG_USEC`` and ``WATCHDOG_PID`` may be.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._socket: socket.socket | None = None
        self._environment = environment
        address = environment.get("NOTIFY_SOCKET", "")
        if address[:1] in ("/", "@"):
            # An @ stands for the NUL of an abstract address.
            self._connect(address.replace("@", "\0", 1) if address[0] == "@" else address)

    @property
    def watchdog_seconds(self) -> float | None:
        """How often at the least :meth:`tell_alive` is to be called, > 0; None where nobody watches us."""
        text = self._environment.get("WATCHDOG_USEC", "")
        pid = self._environment.get("WATCHDOG_PID", str(os.getpid()))
        if self._socket is None or pid != str(os.getpid()):
            return None
        if not (text.isascii() and text.isdigit()) or int(text) == 0:
            return None
        return int(text) / 1_000_000

    def tell_ready(self) -> None:
        """It serves; or has reloaded."""
        self._send("READY=1", "STATUS=serving")

    def tell_reloading(self) -> None:
        """It looks at its files again, until :meth:`tell_ready`."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def tell_stopping(self, status: str) -> None:
        """It ends; ``status`` is one line for people."""
        self._send("STOPPING=1", f"STATUS={status}")

    def tell_alive(self) -> None:
        """The reactor turns."""
        self._send("WATCHDOG=1")

    def close(self) -> None:
        """Tell nobody any more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _connect(self, address: str) -> None:
        connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        connected.setblocking(False)
        try:
            connected.connect(address)
        except OSError:
            # Whoever started us is gone, or never wanted to hear: that is no reason not to serve.
            connected.close()
        else:
            self._socket = connected

    def _send(self, *assignments: str) -> None:
        if self._socket is not None:
            with suppress(OSError):
                self._socket.send("\n".join(assignments).encode())
