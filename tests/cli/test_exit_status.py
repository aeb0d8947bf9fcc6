"""Every exit status, in a process of its own; and one table of them everywhere."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import make_certificate
from plain_servers import Peer, PlainServer
from programs import Ran, begin, finish, ft_client, list_names
from tls_servers import serve_tls
from version2_servers import Version2Server, list_entries

from filetransfer.cli.exit_status import ExitStatus, find_status
from filetransfer.errors import (
    Busy,
    DigestMismatch,
    Exists,
    FileTransferError,
    NoSpace,
    NotAuthenticated,
    NotPermitted,
    PreconditionFailed,
    RequestRefused,
    ShuttingDown,
    SizeMismatch,
)
from filetransfer.wire.messages import Entry, Greeting, List, Put, Unavailable

SEEN: set[int] = set()


def expect(ran: Ran, status: ExitStatus, *errors: str) -> None:
    """Compare, and insist on one line for each error."""
    SEEN.add(status)
    assert (ran.status, ran.errors.splitlines()) == (status, list(errors))


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        yield server


def test_done(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    expect(ft_client("put", "a", cwd=tmp_path, server=server.address), ExitStatus.DONE)
    assert server.files == {"a": b"abc"}
    expect(ft_client("get", "a", "-o", "b", cwd=tmp_path, server=server.address), ExitStatus.DONE)
    assert (tmp_path / "b").read_bytes() == b"abc"


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["get", "a", "--retry", "1"], ExitStatus.TEMPORARY),
        (["get", "a", "--retry", "1", "--json"], ExitStatus.TEMPORARY),
        (["get", "a", "--retry", "no"], ExitStatus.USAGE),
    ],
    ids=["nobody there", "nobody there, in JSON", "misuse"],
)
def test_nobody_hears_what_went_wrong(arguments: list[str], status: ExitStatus) -> None:
    # As of a cron job whose mailer has died. Once this was a program that never ended.
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "filetransfer.cli", "--server", "127.0.0.1:1", *arguments]
    ran = subprocess.run(command, stderr=writing, stdout=subprocess.PIPE, timeout=60, check=False)
    os.close(writing)
    assert ran.returncode == status


def test_a_local_file_that_cannot_be_sent(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    ran = ft_client("put", "d", cwd=tmp_path, server=server.address)
    expect(ran, ExitStatus.OTHER, "ft-client: put: d: is a directory; -r sends all that is in it")


def test_a_local_file_that_changes(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"x" * 50_000_000)

    def converse(peer: Peer) -> None:
        peer.read(1_000_000)
        path.write_bytes(b"short")
        peer.read_until_end()

    with PlainServer(converse) as server:
        ran = ft_client("put", "a", cwd=tmp_path, server=server.address)
    expect(
        ran,
        ExitStatus.SOURCE_CHANGED,
        "ft-client: put: a: the file changed while it was sent: send it again",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["put"],
        ["put", "-"],
        ["put", "a", "b", "--as", "c"],
        ["put", "x/a", "y/a"],
        ["get"],
        ["get", "a", "b", "-o", "c"],
        ["get", "x/a", "y/a"],
        ["change", "a"],
        ["summary"],
        ["put", "a", "--exclude", "*.key"],
        ["get", "a", "--include", "*.csv"],
        ["get", "a", "-j", "2"],
        ["cp", "a", ":b", "--follow"],
        ["get", "a", "--durability", "some"],
        ["--server", "host:port", "help"],
        ["--timeout", "0", "help"],
        ["-v", "-q", "help"],
        ["help", "nonsense"],
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: list[str]) -> None:
    ran = ft_client(*arguments, cwd=tmp_path)
    SEEN.add(ExitStatus.USAGE)
    assert ran.status == ExitStatus.USAGE
    assert ran.output == ""
    assert ran.errors.startswith("Usage: ft-client")


def test_what_a_profile_says_of_trees_is_no_wrong_usage(
    server: PlainServer, tmp_path: Path
) -> None:
    (tmp_path / "a").touch()
    ran = ft_client("put", "a", cwd=tmp_path, server=server.address, FT_EXCLUDE="*.key")
    expect(ran, ExitStatus.DONE)


def test_not_found_on_the_server(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("get", "report.csv", cwd=tmp_path, server=server.address)
    expect(ran, ExitStatus.NOT_FOUND, f"ft-client: get: report.csv: not found on {server.address}")
    assert list_names(tmp_path) == []


def test_not_found_here(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("put", "report.csv", cwd=tmp_path, server=server.address)
    expect(ran, ExitStatus.NOT_FOUND, "ft-client: put: report.csv: no such file here")


def test_nobody_listens(tmp_path: Path) -> None:
    with PlainServer() as server:
        pass
    ran = ft_client("help", cwd=tmp_path, server=server.address)
    expect(
        ran,
        ExitStatus.TEMPORARY,
        f"ft-client: help: no connection to {server.address}: connection refused;"
        " is the server running there?",
    )


def test_a_server_that_always_closes(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.reset()

    with PlainServer(converse) as server:
        ran = ft_client("get", "a", cwd=tmp_path, server=server.address)
        assert server.connections == 3
    expect(
        ran,
        ExitStatus.TEMPORARY,
        f"ft-client: get: a: {server.address}: the connection was lost",
    )


def test_a_change_without_an_answer(tmp_path: Path) -> None:
    with PlainServer(lambda peer: peer.read(4) and None) as server:
        ran = ft_client("mv", "a", "b", cwd=tmp_path, server=server.address)
        assert server.connections == 1
    expect(
        ran,
        ExitStatus.TEMPORARY,
        f"ft-client: change: a: {server.address}: the connection was lost;"
        " the change may have been done: look before you repeat it",
    )


def test_a_server_that_speaks_something_else(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        peer.read_until_end()

    with PlainServer(converse) as server:
        ran = ft_client("get", "a", cwd=tmp_path, server=server.address)
    expect(
        ran,
        ExitStatus.PROTOCOL,
        f"ft-client: get: a: {server.address} does not speak this protocol properly:"
        " the server answered Get with code 2",
    )


def test_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")

    def converse(peer: Peer) -> None:
        peer.read(7)
        peer.write(b"\xa0")
        peer.read_until_end()

    with PlainServer(converse) as server:
        ran = ft_client("put", "a", cwd=tmp_path, server=server.address)
    SEEN.add(ExitStatus.REFUSED)
    assert ran.status == ExitStatus.REFUSED
    assert ran.errors.startswith(f"ft-client: put: a: refused by {server.address}, ")
    assert len(ran.errors.splitlines()) == 1


def test_an_unknown_request(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(1)
        peer.write(b"\x80")
        peer.read_until_end()

    with PlainServer(converse) as server:
        ran = ft_client("help", cwd=tmp_path, server=server.address)
    expect(
        ran,
        ExitStatus.REFUSED,
        f"ft-client: help: refused by {server.address}: the server does not know this request",
    )


@pytest.mark.parametrize("promise", ["durable", "verified", "durable,verified"])
def test_a_promise_that_version_1_cannot_give(
    server: PlainServer, tmp_path: Path, promise: str
) -> None:
    ran = ft_client("--require", promise, "get", "a", cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.REFUSED
    assert f"does not promise that what it takes is {promise.replace(',', ' and ')}" in ran.errors


@pytest.mark.parametrize("name", ["../a", "/a", "a//b", ".ft-a"])
def test_a_name_that_is_none(server: PlainServer, tmp_path: Path, name: str) -> None:
    ran = ft_client("get", name, cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.REFUSED
    assert ran.errors.startswith(f"ft-client: get: {name}: ")
    assert ran.errors.endswith("nothing was sent\n")
    assert server.connections == 0


def test_a_name_that_version_1_cannot_say(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("get", "n" * 40, cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.REFUSED
    assert "names of 1 to 31 octets" in ran.errors


def test_what_version_1_cannot_say_is_said_once(server: PlainServer, tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    for name in ("a", "b", "c"):
        (tmp_path / "t" / name).touch()
    ran = ft_client("put", "-r", "t", cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.REFUSED
    (line,) = ran.errors.splitlines()
    assert (
        f"{server.address} is an older server, which can put, get, change, summary and help" in line
    )
    assert line.endswith("version 1 of the protocol cannot say MAKE_DIRECTORY")
    assert server.files == {}
    for command in ("ls", "info", "stat a", "rm a", "mkdir a", "digest a", "cp :a :b"):
        ran = ft_client(*command.split(), cwd=tmp_path, server=server.address)
        assert ran.status == (0 if command == "info" else ExitStatus.REFUSED)


def test_times_that_version_1_does_not_tell(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"abc"}
    ran = ft_client("get", "-p", "a", cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.REFUSED
    assert "tells neither times nor modes" in ran.errors
    assert list_names(tmp_path) == []


def test_silence(tmp_path: Path) -> None:
    with PlainServer(Peer.read_until_end) as server:
        ran = ft_client("--timeout", "0.1", "get", "a", cwd=tmp_path, server=server.address)
    expect(
        ran,
        ExitStatus.TIMEOUT,
        f"ft-client: get: a: {server.address}: nothing moved for 0.1 seconds",
    )


def test_no_connection_in_time(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        # Those who come after these are not even told that there is no room.
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        ran = ft_client(
            "--connect-timeout", "0.2", "help", cwd=tmp_path, server=f"127.0.0.1:{port}"
        )
        for each in waiting:
            each.close()
    expect(
        ran,
        ExitStatus.CONNECT_TIMEOUT,
        f"ft-client: help: no connection to 127.0.0.1:{port} within 0.2 seconds",
    )


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (signal.SIGINT, ExitStatus.INTERRUPTED),
        (signal.SIGTERM, ExitStatus.TERMINATED),
        (signal.SIGHUP, 129),
    ],
)
def test_signals_leave_no_parts(tmp_path: Path, number: int, status: int) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"\x21a" + (80_000_000).to_bytes(4, "big") + b"x" * 64_000_000)
        # That is more than sockets hold: the client is in the middle of it.
        assert any(name.endswith(".part") for name in list_names(tmp_path))
        os.kill(process.pid, number)
        peer.read_until_end()

    with PlainServer(converse) as server:
        process = begin("get", "a", cwd=tmp_path, server=server.address)
        ran = finish(process)
    SEEN.add(status)
    assert (ran.status, ran.errors) == (status, "")
    assert list_names(tmp_path) == []


@pytest.mark.parametrize("command", [["get", "a", "b", "c"], ["put", "x", "y", "z"]])
def test_a_signal_says_nothing_of_each_file(tmp_path: Path, command: list[str]) -> None:
    for name in command[1:]:
        (tmp_path / name).write_bytes(b"")

    def converse(peer: Peer) -> None:
        peer.read(6)
        process.send_signal(signal.SIGINT)
        peer.read_until_end()

    with PlainServer(converse) as server:
        process = begin(*command, cwd=tmp_path, server=server.address)
        ran = finish(process)
    assert (ran.status, ran.errors) == (ExitStatus.INTERRUPTED, "")


def test_a_signal_while_standard_output_is_full(tmp_path: Path) -> None:
    def converse(peer: Peer) -> None:
        peer.read(2)
        peer.write(b"\x21a" + (50_000_000).to_bytes(4, "big"))
        # Nobody reads its output: a thread of it will sit in write().
        peer.write(b"x" * 20_000_000)

    with PlainServer(converse) as server:
        process = begin("get", "a", "-o", "-", cwd=tmp_path, server=server.address)
        assert process.stdout is not None
        process.stdout.read(1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == ExitStatus.TERMINATED
        finish(process)


def test_a_signal_while_standard_input_is_silent(server: PlainServer, tmp_path: Path) -> None:
    process = begin("put", "-", "--as", "a", cwd=tmp_path, server=server.address)
    assert process.stdin is not None
    # It takes more than a pipe holds: so it is reading.
    process.stdin.write(b"x" * 200_000)
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == ExitStatus.INTERRUPTED
    finish(process)
    assert server.files == {}


def test_a_signal_that_is_ignored_stays_ignored(server: PlainServer, tmp_path: Path) -> None:
    server.files["a"] = b"x"

    def converse(peer: Peer) -> None:
        os.kill(process.pid, signal.SIGHUP)
        server.serve(peer)

    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with PlainServer(converse) as nohup:
            process = begin("get", "a", cwd=tmp_path, server=nohup.address)
            assert finish(process).status == ExitStatus.DONE
    finally:
        signal.signal(signal.SIGHUP, before)


def test_some_of_several_fail(server: PlainServer, tmp_path: Path) -> None:
    server.files = {"a": b"a", "d": b"d"}
    (tmp_path / "d").mkdir()
    ran = ft_client("get", "a", "missing", "../x", "d", cwd=tmp_path, server=server.address)
    SEEN.add(ran.status)
    assert ran.status == ExitStatus.SOME_FAILED
    assert len(ran.errors.splitlines()) == 3
    assert list_names(tmp_path) == ["a", "d"]


def test_all_of_several_fail(server: PlainServer, tmp_path: Path) -> None:
    ran = ft_client("get", "missing", "lost", cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.NOT_FOUND
    ran = ft_client("get", "missing", "../x", cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.SOME_FAILED


def test_what_all_fail_of_is_said_once(tmp_path: Path) -> None:
    with PlainServer() as server:
        pass
    names = [f"n{number}" for number in range(2000)]
    ran = ft_client("get", *names, cwd=tmp_path, server=server.address)
    expect(
        ran,
        ExitStatus.TEMPORARY,
        f"ft-client: get: n0: no connection to {server.address}: connection refused;"
        " is the server running there?",
        "ft-client: get: 1999 more files were not transferred",
    )


def test_a_server_that_is_not_believed(tmp_path: Path) -> None:
    made = make_certificate(tmp_path / "made")
    with serve_tls(made) as server:
        ran = ft_client("help", cwd=tmp_path, server=f"tls://{server.address}")
        assert not server.files
    expect(
        ran,
        ExitStatus.UNTRUSTED,
        f"ft-client: help: {server.address}: the certificate is self-signed, and nobody has said that it can be"
        " trusted",
    )


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (DigestMismatch("differs"), ExitStatus.INTEGRITY),
        (NotPermitted("read-only"), ExitStatus.PERMISSION),
        (NotAuthenticated("who?"), ExitStatus.PERMISSION),
        (NoSpace("full"), ExitStatus.NO_SPACE),
        (Busy("later"), ExitStatus.TEMPORARY),
        (PreconditionFailed("it changed"), ExitStatus.REFUSED),
    ],
)
def test_refusals_over_version_2(
    tmp_path: Path, refusal: RequestRefused, status: ExitStatus
) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with Version2Server({Put: lambda *_: refusal}) as server:
        ran = ft_client("--retry", "0", "put", "a", cwd=tmp_path, server=server.address)
    SEEN.add(ran.status)
    assert ran.status == status
    assert str(refusal) in ran.errors
    assert len(ran.errors.splitlines()) == 1


def test_more_deletions_than_allowed(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a").write_bytes(b"abc")
    found = list_entries(Entry("x", "file", 1), Entry("y", "file", 1))
    with Version2Server({List: lambda *_: found}) as server:
        ran = ft_client(
            "sync", "--delete", "--max-delete", "1", "t", ":", cwd=tmp_path, server=server.address
        )
        assert [type(request) for request in server.asked] == [List]
    expect(
        ran,
        ExitStatus.TOO_MANY_DELETIONS,
        "ft-client: sync: t: 2 files would be deleted, more than 1; nothing was done",
    )


def test_a_server_that_cannot_serve(tmp_path: Path) -> None:
    with Version2Server(greeting=Unavailable(ShuttingDown("bye", retry_after=0))) as server:
        ran = ft_client("--retry", "0", "get", "a", cwd=tmp_path, server=server.address)
    assert ran.status == ExitStatus.TEMPORARY


def test_a_promise_that_is_not_given(tmp_path: Path) -> None:
    greeting = Greeting(2, "s", ["digests"])
    with Version2Server(greeting=greeting) as server:
        for promises, status in (("durable,verified", 20), ("durable", 20), ("verified", 0)):
            ran = ft_client("--require", promises, "help", cwd=tmp_path, server=server.address)
            assert ran.status == status


def test_every_status_was_seen() -> None:
    missing = set(ExitStatus) - SEEN
    if len(SEEN) < 3:
        pytest.skip("the other tests of this file did not run in this process")
    assert missing == set()


def test_the_table_is_in_the_help(tmp_path: Path) -> None:
    ran = ft_client("--help", cwd=tmp_path)
    assert ran.status == 0
    text = " ".join(ran.output.split())
    for status in ExitStatus:
        assert f"{status.value} {status.meaning}" in text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Exists("exists"), ExitStatus.REFUSED),
        (FileTransferError("other"), ExitStatus.OTHER),
        (PermissionError(13, "no"), ExitStatus.PERMISSION),
        (OSError(errno.ENOSPC, "full"), ExitStatus.NO_SPACE),
        (OSError(errno.EDQUOT, "full"), ExitStatus.NO_SPACE),
        (OSError(errno.EIO, "broken"), ExitStatus.OTHER),
        (NoSpace("full"), ExitStatus.NO_SPACE),
        (DigestMismatch("differs"), ExitStatus.INTEGRITY),
        (SizeMismatch("differs"), ExitStatus.INTEGRITY),
        (NotPermitted("no"), ExitStatus.PERMISSION),
        (NotAuthenticated("who"), ExitStatus.PERMISSION),
        (Busy("later"), ExitStatus.TEMPORARY),
        (ShuttingDown("bye"), ExitStatus.TEMPORARY),
    ],
)
def test_status_of_errors(error: Exception, status: ExitStatus) -> None:
    assert find_status(error) is status
