"""The daemon as a process of its own, in the foreground, and the simplest client of it."""

import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

TWISTD = Path(sys.executable).with_name("twistd")
DEADLINE_SECONDS = 60
ENVIRONMENT = {
    name: text for name, text in os.environ.items() if not name.startswith("FILETRANSFER_")
}
if any(name.startswith("COVERAGE_PROCESS") for name in ENVIRONMENT):
    # What is measured is written at the daemon's end, where its sandbox lets it write nothing.
    ENVIRONMENT["FILETRANSFER_NO_LANDLOCK"] = "1"


def run_twistd(
    directory: Path, *arguments: str, before: tuple[str, ...] = (), **variables: str
) -> tuple[int, list[str]]:
    """Run the daemon to its end, by the command ``before``; gives its exit status and what it said."""
    done = subprocess.run(
        [*before, TWISTD, "-n", "--pidfile=", "filetransfer", *arguments],
        cwd=directory,
        env=ENVIRONMENT | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.splitlines()


class Running:
    """A daemon that runs in the foreground."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.log: list[str] = []

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait for a line of the log."""
        assert self.process.stdout is not None
        for line in self.log:
            if found := re.search(pattern, line):
                return found
        while True:
            assert select.select([self.process.stdout], [], [], DEADLINE_SECONDS)[0], self.log
            octets = self.process.stdout.readline()
            assert octets, self.log
            self.log.append(octets.decode().rstrip("\n"))
            if found := re.search(pattern, self.log[-1]):
                return found

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it as an operator does; gives its exit status."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)
        assert self.process.stdout is not None
        self.log += self.process.stdout.read().decode().splitlines()
        return self.process.wait(DEADLINE_SECONDS)


@contextmanager
def run_daemon(
    directory: Path,
    *arguments: str,
    before: tuple[str, ...] = (),
    pass_fds: tuple[int, ...] = (),
    variables: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run the daemon in the foreground, by the command ``before``, until it serves."""
    process = subprocess.Popen(
        [*before, TWISTD, "-n", "--pidfile=", "filetransfer", *arguments],
        bufsize=0,  # select() must not wait for lines that were read already
        cwd=directory,
        env=ENVIRONMENT | dict(variables or {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=pass_fds,
    )
    running = Running(process)
    try:
        running.wait_for("listening on")
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(DEADLINE_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def ask(address: str | tuple[str, int], octets: bytes) -> bytes:
    """Send octets, and give all that is answered until the daemon closes."""
    if isinstance(address, str):
        peer = socket.socket(socket.AF_UNIX)
    else:
        peer = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
    with peer:
        peer.connect(address)
        peer.settimeout(DEADLINE_SECONDS)
        peer.sendall(octets)
        peer.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: peer.recv(65536), b""))
