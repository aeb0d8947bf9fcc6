"""A daemon with some files."""

import pytest
from running import Daemon

FILES = {
    "a.txt": b"hello",
    "empty": b"",
    "numbers": b"10\n24\n44\n",
    "table.csv": b"when,what\n1,10\n2,20\n",
    "words": b"10\ntwo\n",
    "d/x": b"in d",
    "d/e/y": b"deeper",
}


@pytest.fixture
def town(daemon: Daemon) -> Daemon:
    """A daemon whose root holds FILES."""
    for name, octets in FILES.items():
        path = daemon.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    return daemon
