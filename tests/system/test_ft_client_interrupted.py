"""ft-client against the daemon: Ctrl-C in the middle, and the run that goes on."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from programs import begin, finish, ft_client
from running import Daemon

OCTETS = 6 * 1024 * 1024


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
    settings: dict[str, Any] = {
        "cwd": tmp_path,
        "server": f"127.0.0.1:{daemon.port}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    process = begin(*command, *options, "--json", "--limit-rate", "1M", **settings)
    assert process.stdout is not None
    while True:
        line = json.loads(process.stdout.readline())
        if line["type"] == "progress" and line["octets"]["moved"] > 2 * 1024 * 1024:
            break
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
