"""ft-client against the daemon: Ctrl-C in the middle, and the run that goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from programs import begin, finish, ft_client
from running import Daemon

OCTETS = 6 * 1024 * 1024


def start(
    daemon: Daemon, directory: Path, *command: str
) -> tuple[subprocess.Popen[bytes], dict[str, Any]]:
    """Start a slow ft-client, and wait until it has moved some MiB; gives what to start others with."""
    settings: dict[str, Any] = {
        "cwd": directory,
        "server": f"127.0.0.1:{daemon.port}",
        "XDG_STATE_HOME": str(directory / "state"),
    }
    process = begin(*command, "--json", "--limit-rate", "1M", **settings)
    assert process.stdout is not None
    while True:
        line = json.loads(process.stdout.readline())
        if line["type"] == "progress" and line["octets"]["moved"] > 2 * 1024 * 1024:
            return process, settings


@pytest.mark.parametrize("is_upload", [True, False])
@pytest.mark.parametrize("options", [[], ["--no-resume"]])
def test_ctrl_c_and_the_run_that_goes_on(
    daemon: Daemon, tmp_path: Path, is_upload: bool, options: list[str]
) -> None:
    octets = os.urandom(OCTETS)
    source = tmp_path / "a" if is_upload else daemon.root / "a"
    target = daemon.root / "b" if is_upload else tmp_path / "b"
    source.write_bytes(octets)
    command = ["put", "a", "--as", "b"] if is_upload else ["get", "a", "-o", "b"]
    process, settings = start(daemon, tmp_path, *command, *options)
    process.send_signal(signal.SIGINT)
    ran = finish(process)
    assert ran.status == 130
    assert not target.exists()
    assert ("the same command goes on where it stopped" in ran.errors) == (not options)
    ran = ft_client(*command, *options, "--json", **settings)
    assert (ran.status, ran.errors) == (0, "")
    item = json.loads(ran.output.splitlines()[1])
    assert (item.get("resumed_at", 0) > 0) == (not options)
    assert target.read_bytes() == octets


@pytest.mark.parametrize("is_upload", [True, False])
def test_two_at_once(daemon: Daemon, tmp_path: Path, is_upload: bool) -> None:
    """Neither spoils what the other has published, nor takes it for its own."""
    octets = os.urandom(OCTETS)
    source = tmp_path / "a" if is_upload else daemon.root / "a"
    target = daemon.root / "b" if is_upload else tmp_path / "b"
    source.write_bytes(octets)
    command = ["put", "a", "--as", "b"] if is_upload else ["get", "a", "-o", "b"]
    first, settings = start(daemon, tmp_path, *command)
    second = begin(*command, "--limit-rate", "4M", **settings)
    for process in (second, first):
        ran = finish(process)
        assert (ran.status, ran.errors) == (0, "")
        assert target.read_bytes() == octets
    assert list((tmp_path / "state" / "ft-client" / "transfers").iterdir()) == []
