"""What the daemon may no longer do once it serves: tried in processes of their own, by the calls that must fail."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doubles import DONE, HELP, HELP_REPLY, change, content, get, put, summary
from twistds import DEADLINE_SECONDS, ENVIRONMENT, Running, ask, run_daemon, run_twistd
from twisted.internet.address import IPv4Address, UNIXAddress

from filetransfer.server import landlock, privileges, sandbox
from filetransfer.server.landlock import READ, RUN, WRITE, Access
from filetransfer.server.privileges import PrivilegesKept, drop_privileges, verify_privileges
from filetransfer.server.sandbox import Places, list_places, make_rules
from filetransfer.server.settings import Settings

CONFINED = {name: text for name, text in ENVIRONMENT.items() if not name.startswith("COV")}
CONFINED.pop("FILETRANSFER_NO_LANDLOCK", None)

needs_landlock = pytest.mark.skipif(not landlock.find_abi(), reason="needs Landlock")


def test_places(tmp_path: Path) -> None:
    settings = Settings(root="files", log_file="/var/log/ft/log", pid_file="/run/ft/pid")
    addresses = [
        IPv4Address("TCP", "127.0.0.1", 9000),
        UNIXAddress(b"/run/sockets/a"),
        UNIXAddress(b"\0abstract"),
        UNIXAddress(None),
    ]
    root = os.path.abspath("files")
    assert list_places(settings, addresses) == Places(
        written=(root, "/var/log/ft"), removed_from=("/run/ft", "/run/sockets"), read=(root,)
    )
    assert list_places(Settings(root="/srv", is_read_only=True), []) == Places(read=("/srv",))


def test_rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.syspath_prepend("/")
    monkeypatch.syspath_prepend("")
    places = Places(
        written=("/srv",), removed_from=("/run", "/srv"), read=("/srv", "/certificates")
    )
    rules = make_rules(places)
    assert rules["/srv"] == WRITE
    assert rules["/run"] == Access.REMOVE_FILE
    assert rules["/certificates"] == READ
    assert rules[sys.prefix] == RUN
    # It is what twistd was started in, and may be anything.
    assert not {"", "/", str(tmp_path)} & set(rules)


TRIES = """
import os, signal, socket, subprocess, sys
from filetransfer.server.sandbox import Places, confine_process

root, outside, port = sys.argv[1:]
print("version", confine_process(Places(written=(root,))))

def attempt(name, act, *args):
    try:
        result = act(*args)
    except OSError as error:
        result = error.strerror
    print(name, result if isinstance(result, str) else "done")

def write(path):
    with open(path, "w") as file:
        file.write("1")
        file.truncate(0)

def bind():
    socket.socket().bind(("127.0.0.1", 0))

def run():
    assert subprocess.run([sys.executable, "-I", "-c", "import json"], check=True)

os.chdir(root)
attempt("make", os.mkdir, "a")
attempt("write", write, "file")
attempt("move", os.rename, "file", "a/file")
attempt("read", open, "a/file")
attempt("remove", os.remove, "a/file")
attempt("remove-directory", os.rmdir, "a")
attempt("run", run)
attempt("list-outside", os.listdir, outside)
attempt("read-outside", open, outside + "/file")
attempt("write-outside", write, outside + "/file")
attempt("make-outside", os.mkdir, outside + "/a")
attempt("remove-outside", os.remove, outside + "/file")
attempt("run-outside", subprocess.run, [outside + "/file"])
attempt("link", os.symlink, "b", "c")
attempt("make-socket", lambda: socket.socket(socket.AF_UNIX).bind("socket"))
attempt("bind", bind)
attempt("connect", socket.create_connection, ("127.0.0.1", int(port)))
attempt("signal", os.kill, os.getppid(), 0)
"""
DENIED, NOT_PERMITTED = "Permission denied", "Operation not permitted"


@needs_landlock
def test_sandbox(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "file").write_text("#!/bin/sh\n")
    (outside / "file").chmod(0o755)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        done = subprocess.run(
            [sys.executable, "-c", TRIES, root, outside, str(listening.getsockname()[1])],
            cwd=tmp_path,
            env=CONFINED,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    outcomes = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    version = int(outcomes.pop("version"))
    assert version == landlock.find_abi()
    allowed = {name for name, outcome in outcomes.items() if outcome == "done"}
    expected = {"make", "write", "move", "read", "remove", "remove-directory", "run"}
    if version < 2:
        expected.discard("move")
    if version < 4:
        expected |= {"bind", "connect"}
    if version < 6:
        expected |= {"signal"}
    assert allowed == expected
    assert {outcomes[name] for name in outcomes.keys() - expected} <= {DENIED, NOT_PERMITTED}


def read_status(daemon: Running, name: str) -> str:
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    found = re.search(rf"^{name}:\s*(.*)$", status, re.MULTILINE)
    assert found
    return found[1]


def exercise(address: str, *, has_python: bool = True) -> None:
    """Do everything that there is: a summary of many lines takes a parser in, a small one does not."""
    numbers = b"".join(b"%d\n" % i for i in range(100_000))
    assert ask(address, put("a", b"1\n2\n") + put("big", numbers)) == DONE * 2
    if has_python:
        assert ask(address, summary("a")).startswith(b"\x4bsummary.txt")
        assert b"Max: 99999.0\n" in ask(address, summary("big"))
    assert ask(address, change("a", "d/a") + get("d/a")) == DONE + content("d/a", b"1\n2\n")
    assert ask(address, get("big")) == content("big", numbers)


@needs_landlock
def test_daemon_in_its_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twistds.ENVIRONMENT", CONFINED)
    address = str(tmp_path / "socket")
    (tmp_path / "new").mkdir()
    with run_daemon(tmp_path, "--listen", f"unix:{address}", "--root", "new/root") as daemon:
        daemon.wait_for(rf"confined by Landlock, ABI [0-9]+: writes below '{tmp_path}/new/root'")
        (tmp_path / "new" / "root" / "d").mkdir()
        exercise(address)
        assert read_status(daemon, "NoNewPrivs") == "1"
        assert daemon.end() == 0
        assert not any("Traceback" in line for line in daemon.log)
    assert not Path(address).exists()


@needs_landlock
def test_daemon_that_reads_in_its_sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("twistds.ENVIRONMENT", CONFINED)
    address = str(tmp_path / "socket")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "a").write_bytes(b"1")
    with run_daemon(tmp_path, "--listen", f"unix:{address}", "--read-only") as daemon:
        daemon.wait_for("writes below nothing")
        assert ask(address, get("a") + summary("a")).startswith(content("a", b"1"))
        assert daemon.end() == 0


def test_no_landlock(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with run_daemon(tmp_path, "--listen", f"unix:{address}", "--no-landlock") as daemon:
        assert read_status(daemon, "NoNewPrivs") == "0"
        # Who is answered knows that signals are heard.
        assert ask(address, HELP) == HELP_REPLY
        assert daemon.end() == 0
        assert not any("confined" in line for line in daemon.log)


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """Give a directory that belongs to nobody: those of pytest cannot be entered by others."""
    account = pwd.getpwnam("nobody")
    directory = Path(tempfile.mkdtemp(prefix="filetransfer-"))
    os.chown(directory, account.pw_uid, account.pw_gid)
    yield directory
    shutil.rmtree(directory)


@pytest.mark.needs_root
def test_daemon_becomes_another_user(
    public_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("twistds.ENVIRONMENT", CONFINED)
    account = pwd.getpwnam("nobody")
    address = str(public_directory / "socket")
    arguments = ["--listen", f"unix:{address}", "--user", "nobody"]
    with run_daemon(public_directory, *arguments) as daemon:
        daemon.wait_for(f"running as uid {account.pw_uid}, gid {account.pw_gid}")
        (public_directory / "files" / "d").mkdir(mode=0o777)
        (public_directory / "files" / "d").chmod(0o777)
        # The interpreter may lie in the home of root, where nobody can run it.
        has_python = not any("cannot run" in line for line in daemon.log)
        exercise(address, has_python=has_python)
        assert set(read_status(daemon, "Uid").split()) == {str(account.pw_uid)}
        assert set(read_status(daemon, "Gid").split()) == {str(account.pw_gid)}
        assert "0" not in read_status(daemon, "Groups").split()
        for capabilities in ("CapPrm", "CapEff", "CapInh", "CapAmb"):
            assert int(read_status(daemon, capabilities), 16) == 0
        assert daemon.end() == 0
        assert not any("as root" in line for line in daemon.log)
    assert (public_directory / "files" / "big").stat().st_uid == account.pw_uid


@pytest.mark.parametrize("user", ["no-such-user", "4000000000", "root", "0"])
def test_daemon_that_cannot_become_that_user(tmp_path: Path, user: str) -> None:
    status, lines = run_twistd(tmp_path, "--port", "0", "--user", user)
    assert status == 1
    assert f"cannot run as '{user}'" in lines[-1]
    assert not any("Traceback" in line for line in lines)
    assert not (tmp_path / "files").exists()


def test_group_that_does_not_exist() -> None:
    with pytest.raises(PrivilegesKept, match="no group 'no-such-group'"):
        drop_privileges("nobody", "no-such-group")
    with pytest.raises(PrivilegesKept, match="no group '4000000000'"):
        drop_privileges("nobody", "4000000000")


class Calls:
    """Stands in for the system's calls: who we are, and what succeeds."""

    def __init__(self, uids: tuple[int, int, int], gids: tuple[int, int, int]) -> None:
        self.uids, self.gids, self.groups = uids, gids, [gids[0]]
        self.succeeding: set[str] = set()

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(privileges.os, "getresuid", lambda: self.uids)
        monkeypatch.setattr(privileges.os, "getresgid", lambda: self.gids)
        monkeypatch.setattr(privileges.os, "getgroups", lambda: self.groups)
        for name in ("setresuid", "setresgid", "setgroups", "initgroups"):
            monkeypatch.setattr(privileges.os, name, lambda *_, name=name: self.call(name))

    def call(self, name: str) -> None:
        if name not in self.succeeding:
            raise PermissionError


def test_privileges_that_are_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = Calls((1, 1, 1), (2, 2, 2))
    calls.install(monkeypatch)
    verify_privileges(1, 2)


@pytest.mark.parametrize(
    ("uids", "gids", "groups", "succeeding"),
    [
        ((1, 1, 0), (2, 2, 2), [2], set()),
        ((1, 1, 1), (2, 2, 0), [2], set()),
        ((1, 1, 1), (2, 2, 2), [2, 0], set()),
        ((1, 1, 1), (2, 2, 2), [2], {"setresuid"}),
        ((1, 1, 1), (2, 2, 2), [2], {"setgroups"}),
    ],
)
def test_privileges_that_are_not_gone(
    monkeypatch: pytest.MonkeyPatch,
    uids: tuple[int, int, int],
    gids: tuple[int, int, int],
    groups: list[int],
    succeeding: set[str],
) -> None:
    calls = Calls(uids, gids)
    calls.groups, calls.succeeding = groups, succeeding
    calls.install(monkeypatch)
    with pytest.raises(PrivilegesKept):
        verify_privileges(1, 2)


def test_only_root_can_become_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    Calls((1, 1, 1), (2, 2, 2)).install(monkeypatch)
    with pytest.raises(PrivilegesKept, match="only root"):
        drop_privileges("nobody", None)


def test_whoever_is_that_user_already_needs_no_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    account = pwd.getpwnam("nobody")
    calls = Calls((account.pw_uid,) * 3, (account.pw_gid,) * 3)
    calls.install(monkeypatch)
    drop_privileges("nobody", str(account.pw_gid))


def test_kernel_without_landlock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "find_abi", lambda: 0)
    assert sandbox.confine_process(Places()) == 0
