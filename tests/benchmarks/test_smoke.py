"""The benchmarks run, and the octets they move are right; how fast is not asked here."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WORKLOADS = [
    "bulk",
    "commands",
    "durable",
    "fairness",
    "many",
    "memory",
    "pipelined",
    "requests",
    "start",
    "summary",
    "tls",
]


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_every_workload_runs_and_writes_its_tables(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", "--output", tmp_path],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.fspath(REPOSITORY)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in tmp_path.glob("*.txt")) == WORKLOADS
    for path in tmp_path.glob("*.txt"):
        assert "filetransfer" in path.read_text()
