"""The daemon as its own process: how it starts, what it says, how it ends."""

import fcntl
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from doubles import DONE, HELP, HELP_REPLY, content, get, put
from twistds import DEADLINE_SECONDS, ENVIRONMENT, TWISTD, Running, ask, run_daemon, run_twistd


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="needs IPv6")


def take_port() -> socket.socket:
    """Give a socket that listens on a port of its own."""
    return socket.create_server(("127.0.0.1", 0))


def test_serves_both_loopback_families_and_says_what(tmp_path: Path) -> None:
    with run_daemon(tmp_path, "--port", "0") as daemon:
        port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+)")[1])
        assert ask(("127.0.0.1", port), put("a", b"1") + get("a")) == DONE + content("a", b"1")
        if has_ipv6():
            daemon.wait_for(rf"listening on \[::1\]:{port}$")
            assert ask(("::1", port), HELP) == HELP_REPLY
        assert daemon.wait_for(r"serving (.*)")[1] == str(tmp_path / "files")
        daemon.end()
        assert not any("no accounts" in line for line in daemon.log)
    assert (tmp_path / "files" / "a").read_bytes() == b"1"


def test_settings_come_from_the_environment(tmp_path: Path) -> None:
    variables = {
        "FILETRANSFER_PORT": "0",
        "FILETRANSFER_ROOT": "drop",
        "FILETRANSFER_READ_ONLY": "yes",
        "FILETRANSFER_INTERFACE": "127.0.0.1",
    }
    (tmp_path / "drop").mkdir()
    with run_daemon(tmp_path, variables=variables) as daemon:
        port = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+)")[1])
        assert ask(("127.0.0.1", port), put("a", b"1")) == b"\xa0"
        daemon.wait_for("a.*refused, not-permitted")
        daemon.end()
        assert sum("listening on" in line for line in daemon.log) == 1
        assert any("read-only" in line for line in daemon.log)


def test_warns_once_when_everybody_can_reach_it(tmp_path: Path) -> None:
    arguments = ["--port", "0", "--interface", "0.0.0.0", "--durability", "none"]
    with run_daemon(tmp_path, *arguments) as daemon:
        daemon.wait_for("no accounts")
        port = int(daemon.wait_for("listening on 0.0.0.0:([0-9]+)")[1])
        assert ask(("127.0.0.1", port), HELP) == HELP_REPLY
        daemon.end()
        warnings = [line for line in daemon.log if "no accounts" in line]
        assert len(warnings) == 1
        assert "read and write" in warnings[0]
        assert "0.0.0.0" in warnings[0]
        assert any("durability is none" in line for line in daemon.log)


@needs_ipv6
def test_warns_of_ipv6_too(tmp_path: Path) -> None:
    arguments = ["--port", "0", "--interface", "::", "--read-only", "--root", "."]
    with run_daemon(tmp_path, *arguments) as daemon:
        daemon.wait_for("no accounts")
        daemon.end()
        [warning] = [line for line in daemon.log if "no accounts" in line]
        assert "can read everything" in warning


def test_listens_on_a_unix_socket(tmp_path: Path) -> None:
    address = str(tmp_path / "socket")
    with run_daemon(tmp_path, "--listen", f"unix:{address}") as daemon:
        daemon.wait_for(f"listening on unix:'{address}'")
        assert ask(address, HELP) == HELP_REPLY
        daemon.end()
        assert sum("listening on" in line for line in daemon.log) == 1
        assert not any("no accounts" in line for line in daemon.log)
    assert not Path(address).exists()


@needs_ipv6
def test_listens_on_several_endpoints(tmp_path: Path) -> None:
    arguments = ["--listen", r"tcp6:0:interface=\:\:1", "--listen", "tcp:0:interface=127.0.0.1"]
    with run_daemon(tmp_path, *arguments) as daemon:
        six = int(daemon.wait_for(r"listening on \[::1\]:([0-9]+)")[1])
        four = int(daemon.wait_for(r"listening on 127\.0\.0\.1:([0-9]+)")[1])
        assert ask(("::1", six), HELP) == ask(("127.0.0.1", four), HELP) == HELP_REPLY


def test_listens_on_what_systemd_gives(tmp_path: Path) -> None:
    """LISTEN_PID must be its own, which only it can know before it starts: another program becomes it."""
    become = (
        "import os, sys; os.dup2(int(sys.argv[1]), 3);"
        "os.environ.update(LISTEN_FDS='1', LISTEN_FDNAMES='ft', LISTEN_PID=str(os.getpid()));"
        "os.execv(sys.argv[2], sys.argv[2:])"
    )
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", become, str(listening.fileno())),
                *(TWISTD, "-n", "--pidfile=", "filetransfer"),
                *("--listen", "systemd:domain=INET:index=0"),
            ],
            bufsize=0,
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[listening.fileno()],
        )
    running = Running(process)
    try:
        running.wait_for(rf"listening on 127\.0\.0\.1:{port}")
        assert ask(("127.0.0.1", port), HELP) == HELP_REPLY
    finally:
        running.end()
        assert process.stdout is not None
        process.stdout.close()


def assert_one_line(result: tuple[int, list[str]], *words: str) -> None:
    """It ended with one line that says why, and status 1."""
    status, lines = result
    assert status == 1, lines
    # With -n the log is what one reads, and twistd puts the time before each line.
    assert " filetransfer: " in lines[-1], lines
    assert sum("error" in line for line in lines) == 1, lines
    assert not any("Traceback" in line for line in lines), lines
    for word in words:
        assert word in lines[-1], lines


def test_port_that_is_taken(tmp_path: Path) -> None:
    with take_port() as taken:
        port = str(taken.getsockname()[1])
        assert_one_line(run_twistd(tmp_path, "--port", port), port, "--port")
    assert not (tmp_path / "files").exists()


@needs_ipv6
def test_port_that_is_taken_in_the_other_family(tmp_path: Path) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = str(taken.getsockname()[1])
        assert_one_line(run_twistd(tmp_path, "--port", port), port)


def test_address_that_is_not_ours(tmp_path: Path) -> None:
    assert_one_line(run_twistd(tmp_path, "--port", "0", "--interface", "192.0.2.7"), "192.0.2.7")


def test_unix_socket_that_another_daemon_holds(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/socket"
    with run_daemon(tmp_path, "--listen", address) as daemon:
        result = run_twistd(tmp_path, "--listen", address, "--root", "other")
        assert_one_line(result, address)
        assert ask(f"{tmp_path}/socket", HELP) == HELP_REPLY
        daemon.end()


def test_root_that_another_daemon_holds(tmp_path: Path) -> None:
    with run_daemon(tmp_path, "--port", "0") as daemon:
        result = run_twistd(tmp_path, "--port", "0")
        assert_one_line(result, "'files'", "another daemon")
        # But any number of daemons may read it.
        with run_daemon(tmp_path, "--port", "0", "--read-only") as reader:
            reader.end()
        daemon.end()


def test_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "files").touch()
    assert_one_line(run_twistd(tmp_path, "--port", "0"), "'files'")


def test_root_that_is_missing_and_may_only_be_read(tmp_path: Path) -> None:
    assert_one_line(run_twistd(tmp_path, "--port", "0", "--read-only"), "'files'")


def test_root_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "files").mkdir(mode=0o500)
    before: tuple[str, ...] = ()
    if os.geteuid() == 0:
        # Root may write everywhere: take that from it.
        if shutil.which("setpriv") is None:
            pytest.skip("root needs the program setpriv")
        before = ("setpriv", "--bounding-set=-dac_override")
    result = run_twistd(tmp_path, "--port", "0", before=before)
    assert_one_line(result, "'files'", "permission")
    assert not list((tmp_path / "files").iterdir())


def test_root_on_a_file_system_that_cannot_be_written(tmp_path: Path) -> None:
    assert_one_line(run_twistd(tmp_path, "--port", "0", "--root", "/proc/self"), "'/proc/self'")


@pytest.mark.parametrize(
    ("arguments", "variables", "word"),
    [
        (["--port", "x"], {}, "--port"),
        ([], {"FILETRANSFER_PORT": "x"}, "--port"),
        ([], {"FILETRANSFER_READ_ONLY": "maybe"}, "FILETRANSFER_READ_ONLY"),
        (["--nonsense"], {}, "--nonsense"),
        (["files"], {}, "arguments"),
    ],
)
def test_option_that_cannot_be(
    tmp_path: Path, arguments: list[str], variables: dict[str, str], word: str
) -> None:
    status, lines = run_twistd(tmp_path, *arguments, **variables)
    assert status == 1
    assert word in lines[-1]
    assert not any("Traceback" in line for line in lines)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it(tmp_path: Path, number: signal.Signals) -> None:
    arguments = ["--listen", f"unix:{tmp_path}/socket", "--drain-seconds", "0"]
    with run_daemon(tmp_path, *arguments) as daemon:
        with socket.socket(socket.AF_UNIX) as peer:
            peer.connect(f"{tmp_path}/socket")
            peer.settimeout(DEADLINE_SECONDS)
            peer.sendall(HELP + put("a", b"x" * 100_000, size=200_000))
            assert peer.recv(100) == HELP_REPLY
            status = daemon.end(number)
            with suppress(ConnectionResetError):
                assert peer.recv(100) == b""
        assert status == 0
        assert not any("Traceback" in line for line in daemon.log), daemon.log
    assert not (tmp_path / "files" / "a").exists()
    # What the daemon was told to store is there; its lock is free.
    with run_daemon(tmp_path, "--listen", f"unix:{tmp_path}/socket") as again:
        again.end()


def test_help(tmp_path: Path) -> None:
    status, lines = run_twistd(tmp_path, "--help")
    assert status == 0
    assert "Examples:" in lines
    assert not list(tmp_path.iterdir())


@contextmanager
def end_by_pid(pidfile: Path) -> Iterator[None]:
    """End a daemon that nobody is the parent of, and wait until it is gone."""
    try:
        yield
    finally:
        if pidfile.exists():
            process = os.pidfd_open(int(pidfile.read_text()))
            try:
                signal.pidfd_send_signal(process, signal.SIGTERM)
                assert select.select([process], [], [], DEADLINE_SECONDS)[0]
            finally:
                os.close(process)


def await_end(pidfile: Path) -> None:
    """Wait until a daemon that cannot serve is gone: it says so before it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        process = os.pidfd_open(int(pidfile.read_text()))
        try:
            assert select.select([process], [], [], DEADLINE_SECONDS)[0]
        finally:
            os.close(process)


def daemonise(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run twistd as its users do: it returns when the daemon serves, or cannot."""
    return subprocess.run(
        [TWISTD, "--pidfile=pid", "--logfile=log", "filetransfer", *arguments],
        cwd=directory,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def test_becomes_a_daemon(tmp_path: Path) -> None:
    with end_by_pid(tmp_path / "pid"):
        done = daemonise(tmp_path, "--listen", f"unix:{tmp_path}/socket", "--root", "served")
        log = (tmp_path / "log").read_text()
        assert done.returncode == 0, done.stderr + log
        assert done.stdout + done.stderr == ""
        octets = put("a", b"1") + b"\x61a" + get("a")
        answer = ask(f"{tmp_path}/socket", octets)
        assert answer.startswith(DONE + b"\x4bsummary.txt")
        assert answer.endswith(content("a", b"1"))
    log = (tmp_path / "log").read_text()
    assert f"serving {tmp_path}/served" in log
    assert "Traceback" not in log
    assert not (tmp_path / "pid").exists()
    # The lock went with it.
    lock = os.open(tmp_path / "served" / ".ft-store" / "lock", os.O_RDWR)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(lock)


def test_daemon_that_cannot_serve_says_so_where_it_was_started(tmp_path: Path) -> None:
    with take_port() as taken, end_by_pid(tmp_path / "pid"):
        port = str(taken.getsockname()[1])
        done = daemonise(tmp_path, "--port", port)
        await_end(tmp_path / "pid")
    assert done.returncode == 1
    assert "filetransfer: cannot listen on" in done.stderr
    assert port in done.stderr
    assert "Traceback" not in done.stderr + (tmp_path / "log").read_text()
    assert not (tmp_path / "pid").exists()


def test_daemon_whose_root_is_held_says_so_where_it_was_started(tmp_path: Path) -> None:
    with run_daemon(tmp_path, "--port", "0") as first, end_by_pid(tmp_path / "pid"):
        done = daemonise(tmp_path, "--port", "0")
        await_end(tmp_path / "pid")
        first.end()
    assert done.returncode == 1
    assert "filetransfer: cannot serve 'files'" in done.stderr
    assert "another daemon" in (tmp_path / "log").read_text()
