"""Servers as processes: begun, waited for, measured, and ended by their ids."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

START_SECONDS = 20.0
END_SECONDS = 20.0

_TICKS = os.sysconf("SC_CLK_TCK")


class Failed(Exception):
    """A program or a server did not do what the benchmark needs of it."""


class ServerProcess:
    """A server in the foreground, with whatever processes it makes.

    Args:
        command: its arguments.
        log: a file for what it says.
        environment: what is added to ours.
        directory: where it runs.
        processors: it may run on; None for all.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        processors: frozenset[int] | None = None,
    ) -> None:
        self._log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**os.environ, **(environment or {})},
            )
        if processors is not None:
            os.sched_setaffinity(self._process.pid, processors)

    def wait_for_port(self, port: int) -> None:
        """Return when somebody listens; raises Failed with the server's last words when that does not happen."""
        deadline = time.monotonic() + START_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                return
            time.sleep(0.01)
        words = self._log.read_text(errors="replace")[-2000:]
        self.end()
        raise Failed(f"{self._process.args!r} does not listen: {words}")

    def end(self) -> None:
        """End it and what it has made: asked first, by id; then killed."""
        made = list(_list_tree(self._process.pid))
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for process in made[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def read_cpu_seconds(self) -> float:
        """Give the processor time that it and its processes used so far, those that ended included."""
        total = 0.0
        for process in _list_tree(self._process.pid):
            with contextlib.suppress(OSError, IndexError):
                # What stat says is counted in ticks of 10 ms; a transfer of 1 GiB takes 15 of them. The clock of
                # another process is exact, but knows nothing of children that ended.
                total += time.clock_gettime((~process << 3) | 2)
                fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[13]) + int(fields[14])) / _TICKS
        return total

    def read_memory(self) -> int:
        """Give the octets of memory that it and its processes use: what they share is divided (PSS)."""
        total = 0
        for process in _list_tree(self._process.pid):
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
                    if line.startswith("Pss:"):
                        total += int(line.split()[1]) * 1024
        return total


def _list_tree(process: int) -> Iterator[int]:
    yield process
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{process}/task"):
            for child in Path(f"/proc/{process}/task/{task}/children").read_text().split():
                yield from _list_tree(int(child))


def find_free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def run_command(
    command: Sequence[str | Path],
    *,
    directory: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> float:
    """Run a whole command and give the seconds it took; raises Failed unless it ends with 0."""
    started = time.perf_counter()
    done = subprocess.run(
        list(command),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd=directory,
        env={**os.environ, **(environment or {})},
        check=False,
    )
    seconds = time.perf_counter() - started
    if done.returncode != 0:
        words = (done.stderr or done.stdout).decode(errors="replace")[-1000:]
        raise Failed(f"{' '.join(map(str, command))[:200]}: status {done.returncode}: {words}")
    return seconds
