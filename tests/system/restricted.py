"""Runs a program under those restrictions of a unit that can be had without systemd.

python restricted.py UNIT DESCRIPTOR PROGRAM ARGUMENT...

    SystemCallFilter, SystemCallErrorNumber    a seccomp filter of the same calls; systemd-analyze lists the groups
    RestrictAddressFamilies                    the same filter, by the first argument of socket()
    NoNewPrivileges, UMask, LimitNOFILE        as they are
    socket activation                          the listening socket is descriptor 3

What is done with mounts and namespaces, test_unit.py does with bwrap.
"""

import ctypes
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

ALLOW, ERRNO_EPERM = 0x7FFF0000, 0x00050001
EQUAL = 4
PR_SET_NO_NEW_PRIVS = 38


class Comparison(ctypes.Structure):
    """struct scmp_arg_cmp"""

    _fields_ = (
        ("arg", ctypes.c_uint),
        ("op", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def read_unit(path: str) -> dict[str, list[str]]:
    """Give the words of each setting, those of several lines together."""
    settings: dict[str, list[str]] = {}
    for line in Path(path).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            settings.setdefault(name, []).append(value)
    return settings


def list_calls(group: str) -> set[str]:
    """Give the calls of a group of systemd's, or the call."""
    if not group.startswith("@"):
        return {group}
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", group], check=True, capture_output=True, text=True
    )
    names = [line.split("#")[0].strip() for line in told.stdout.splitlines()[1:]]
    return set().union(*(list_calls(name) for name in names if name))


def list_allowed(lines: list[str]) -> set[str]:
    allowed: set[str] = set()
    for line in lines:
        calls = set().union(*map(list_calls, line.removeprefix("~").split()))
        allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed


def restrict_calls(allowed: set[str]) -> None:
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ERRNO_EPERM))
    # What systemd needs to become the service, and always allows.
    for name in (allowed | {"execve", "exit_group", "rt_sigreturn"}) - {"socket"}:
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number >= 0:
            assert seccomp.seccomp_rule_add(context, ALLOW, number, 0) == 0, name
    number = seccomp.seccomp_syscall_resolve_name(b"socket")
    is_unix = Comparison(0, EQUAL, socket.AF_UNIX, 0)
    assert seccomp.seccomp_rule_add_array(context, ALLOW, number, 1, ctypes.byref(is_unix)) == 0
    assert seccomp.seccomp_load(context) == 0


def main() -> None:
    unit = read_unit(sys.argv[1])
    assert unit["RestrictAddressFamilies"] == ["AF_UNIX"]
    allowed = list_allowed(unit["SystemCallFilter"])
    os.umask(int(unit["UMask"][0], 8))
    limit = min(int(unit["LimitNOFILE"][0]), resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, limit), limit))
    os.dup2(int(sys.argv[2]), 3)
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES="port")
    libc = ctypes.CDLL(None)
    assert libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
    restrict_calls(allowed)
    os.execv(sys.argv[3], sys.argv[3:])


main()
