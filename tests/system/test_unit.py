"""The systemd unit: how much it takes from the daemon, and that the daemon works with what is left.

There is no systemd here to start it. Its restrictions are put together from the same parts: bwrap for mounts, users and
the network, ``restricted.py`` for what is a filter or a limit. Not among them: DynamicUser's own user, ProtectHome
(Python may be in there), ProcSubset and the cgroup's rules for devices.
"""

import os
import re
import socket
import ssl
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from certificates import Made, make_certificate

DEPLOY = Path(__file__).parents[2] / "deploy"
SERVICE = DEPLOY / "filetransfer.service"
TWISTD = Path(sys.executable).with_name("twistd")
DEADLINE_SECONDS = 30
MAX_EXPOSURE = 1.5


@pytest.mark.needs_root("systemd-analyze")
def test_exposure() -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", SERVICE],
        capture_output=True,
        text=True,
        check=False,
    )
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", done.stdout)
    assert found, done
    assert float(found[1]) <= MAX_EXPOSURE


def ask(port: int, octets: bytes, count: int, made: Made | None) -> bytes:
    """Send octets, and give ``count`` of the answer's."""
    with ExitStack() as opened:
        peer = opened.enter_context(socket.create_connection(("127.0.0.1", port), DEADLINE_SECONDS))
        if made is not None:
            context = ssl.create_default_context(cafile=str(made.file))
            peer = opened.enter_context(context.wrap_socket(peer, server_hostname="localhost"))
        peer.sendall(octets)
        answer = b""
        while len(answer) < count and (more := peer.recv(65536)):
            answer += more
        return answer


@pytest.mark.needs_root("systemd-analyze", "bwrap")
@pytest.mark.parametrize("has_tls", [False, True], ids=["plain", "tls"])
def test_daemon_works_under_the_restrictions_of_its_unit(tmp_path: Path, has_tls: bool) -> None:
    text = SERVICE.read_text()
    command = re.search("^ExecStart=.*/twistd (.*)$", text, re.MULTILINE)
    assert command
    arguments = command[1].replace("domain=INET6", "domain=INET").split()
    made = make_certificate(tmp_path) if has_tls else None
    if made is not None:
        arguments = [word.replace("--listen", "--tls-listen") for word in arguments]
        arguments += ["--certificate", str(made.file), "--private-key", str(made.key_file)]
    state = tmp_path / "state"
    state.mkdir()
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notified.bind(str(state / "notify"))
    notified.settimeout(DEADLINE_SECONDS)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("COV")}
    environment |= {"FILETRANSFER_ROOT": f"{state}/files", "NOTIFY_SOCKET": f"{state}/notify"}
    listening = socket.create_server(("127.0.0.1", 0))
    process = subprocess.Popen(
        [
            *("bwrap", "--die-with-parent", "--ro-bind", "/", "/", "--dev", "/dev"),
            *("--proc", "/proc", "--bind", state, state, "--unshare-all", "--cap-drop", "ALL"),
            *("--uid", "65534", "--gid", "65534", "--chdir", "/"),
            *(sys.executable, Path(__file__).with_name("restricted.py"), SERVICE),
            str(listening.fileno()),
            *(TWISTD, *arguments),
        ],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=[listening.fileno()],
        text=True,
    )
    try:
        port = listening.getsockname()[1]
        assert "READY=1" in notified.recv(4096).decode()
        numbers = b"".join(b"%d\n" % i for i in range(100_000))
        put = b"\x03big" + len(numbers).to_bytes(4, "big") + numbers
        # PUT, CHANGE, SUMMARY, GET, HELP
        text = b"Max: 99999.0\nMin: 0.0\nAvg: 49999.5\n"
        expected = b"\0\0\x4bsummary.txt" + len(text).to_bytes(4, "big") + text
        expected += b"\x21a" + len(numbers).to_bytes(4, "big") + numbers
        expected += b"\xdfbye change get help put summary"
        requests = put + b"\x43big\x01a" + b"\x61a" + b"\x21a" + b"\x80"
        assert ask(port, requests, len(expected), made) == expected
        # The daemon is the child of bwrap, which passes no signals on.
        [pid] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        [daemon] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        status = Path(f"/proc/{daemon}/status").read_text()
        assert re.search(r"^CapEff:\s*0+$", status, re.MULTILINE)
        assert re.search(r"^Seccomp:\s*2$", status, re.MULTILINE)
        os.kill(int(daemon), 15)
        assert "STOPPING=1" in notified.recv(4096).decode()
    except BaseException:
        process.kill()
        raise
    finally:
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)
        print(output)  # noqa: T201
        listening.close()
        notified.close()
    assert process.returncode == 0
    assert "confined by Landlock" in output
    assert "Traceback" not in output
