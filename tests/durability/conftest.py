"""Skips what mounts where nothing can be mounted, such as in a container without privileges."""

import os
import re
from pathlib import Path

import pytest

_CAP_SYS_ADMIN = 21


def pytest_runtest_setup(item: pytest.Item) -> None:
    marks = item.iter_markers("needs_root")
    if any("mount" in mark.args for mark in marks) and (reason := explain_no_mounts()):
        pytest.skip(reason)


def explain_no_mounts() -> str:
    """Give why nothing can be mounted here; empty where it can."""
    for device in ("/dev/fuse", "/dev/loop-control"):
        if not os.path.exists(device):
            return f"needs {device}"
    effective = re.search(r"CapEff:\t(\w+)", Path("/proc/self/status").read_text())
    if effective is None or not int(effective[1], 16) >> _CAP_SYS_ADMIN & 1:
        return "needs the right to mount"
    return ""
