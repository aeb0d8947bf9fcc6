"""The client that all servers are measured with: ``c/load.c``, compiled and called through ctypes.

A call leaves Python until it is done, so threads of Python are threads of the load.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Failed

SOURCES = Path(__file__).with_name("c")
MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Answered:
    """What request_all() did."""

    count: int
    seconds: float


class Load:
    """The compiled load.

    Args:
        scratch: a directory for what is compiled.
    """

    def __init__(self, scratch: Path) -> None:
        library = scratch / "load.so"
        compile_c(SOURCES / "load.c", library, "-shared", "-fPIC")
        self._library = ctypes.CDLL(os.fspath(library))
        for name in ("discard", "generate", "ping", "request_all", "pipeline"):
            getattr(self._library, name).restype = ctypes.c_int64

    def make_octets(self, number: int) -> bytes:
        """Give the mebibyte that comes after ``number`` others in what :meth:`generate` sends."""
        buffer = ctypes.create_string_buffer(MEBIBYTE)
        self._library.fill(buffer, ctypes.c_int64(number))
        return buffer.raw

    def discard(self, socket: int, count: int) -> int:
        """Read and throw away ``count`` octets, or all there are when it is negative; gives how many there were."""
        return _check(self._library.discard(socket, ctypes.c_int64(count)))

    def generate(self, socket: int, count: int) -> None:
        """Send ``count`` octets."""
        _check(self._library.generate(socket, ctypes.c_int64(count)))

    def ping(
        self, socket: int, request: bytes, response: int, seconds: float, pause_seconds: float = 0.0
    ) -> list[float]:
        """Send a request, await its response of ``response`` octets, and again; gives the seconds each took."""
        most = 4_000_000
        latencies = (ctypes.c_int64 * most)()
        count = _check(
            self._library.ping(
                socket,
                request,
                ctypes.c_int64(len(request)),
                ctypes.c_int64(response),
                ctypes.c_double(seconds),
                ctypes.c_int64(int(pause_seconds * 1e9)),
                latencies,
                ctypes.c_int64(most),
            )
        )
        return [nanoseconds / 1e9 for nanoseconds in latencies[:count]]

    def request_all(
        self,
        sockets: Sequence[int],
        requests: Sequence[bytes],
        response: int,
        seconds: float,
        most: int = 1 << 40,
    ) -> Answered:
        """Keep one request under way on each connection, for some seconds or until ``most`` were sent."""
        count = len(sockets)
        lengths = [len(request) for request in requests]
        offsets = [sum(lengths[:number]) for number in range(count)]
        took = ctypes.c_int64()
        answered = _check(
            self._library.request_all(
                (ctypes.c_int * count)(*sockets),
                ctypes.c_int64(count),
                b"".join(requests),
                (ctypes.c_int64 * count)(*offsets),
                (ctypes.c_int64 * count)(*lengths),
                ctypes.c_int64(response),
                ctypes.c_double(seconds),
                ctypes.c_int64(most),
                ctypes.byref(took),
            )
        )
        return Answered(answered, took.value / 1e9)

    def pipeline(self, socket: int, requests: bytes, responses: bytearray) -> None:
        """Send everything at once and fill ``responses`` meanwhile."""
        place = (ctypes.c_char * len(responses)).from_buffer(responses)
        _check(
            self._library.pipeline(
                socket,
                requests,
                ctypes.c_int64(len(requests)),
                place,
                ctypes.c_int64(len(responses)),
            )
        )


def compile_c(source: Path, product: Path, *options: str) -> None:
    """Compile a source with the system's cc."""
    try:
        done = subprocess.run(
            ["cc", "-O2", "-pthread", *options, "-o", product, source],
            capture_output=True,
            text=True,
            check=False,
        )
    except FileNotFoundError as error:
        raise Failed("there is no C compiler: install gcc and libc6-dev") from error
    if done.returncode != 0:
        raise Failed(f"{source.name} does not compile: {done.stderr}")


def _check(result: int) -> int:
    if result < 0:
        raise Failed(f"the load client: {os.strerror(-result)}")
    return result
