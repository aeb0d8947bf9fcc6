"""What the daemon may do once its sockets are bound: the rules of its sandbox, by Landlock.

    write       the root, the directory of its log
    remove      from the directories of its pid file and of its Unix sockets, at its end
    run, read   Python, its libraries and those of the system: a SUMMARY is a process of its own
    read        certificates, and what C libraries read when they like

Nothing else: no other file, no TCP connection to anywhere, no signal to a stranger. Python's path has the directory
that twistd was started in, too; that is no reason to let the daemon read it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass

from twisted.internet.address import UNIXAddress

import filetransfer
from filetransfer.server.landlock import (
    READ,
    RUN,
    WRITE,
    Access,
    find_abi,
    restrict_process,
)
from filetransfer.server.settings import Settings

_SYSTEM_LIBRARIES = ("/usr", "/lib", "/lib64", "/bin")
_READ_BY_LIBRARIES = (
    *("/etc/ld.so.cache", "/etc/localtime", "/etc/ssl", "/etc/pki", "/etc/crypto-policies"),
    *("/etc/nsswitch.conf", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/resolv.conf"),
    # How many processors there are; which descriptors a child must not have.
    *("/sys/devices/system/cpu", "/proc", "/dev/urandom", "/dev/random", "/dev/zero"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The paths of one daemon that its sandbox has a rule for.

    Attributes:
        written: below these, files and directories are made, written and removed.
        removed_from: files are removed from these directories.
        read: at and below these, files are read.
    """

    written: tuple[str, ...] = ()
    removed_from: tuple[str, ...] = ()
    read: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"writes below {', '.join(map(repr, self.written)) or 'nothing'}"


def list_places(settings: Settings, addresses: Iterable[object]) -> Places:
    """Give the paths of a daemon with these settings, which listens on these addresses."""
    root = os.path.abspath(settings.root)
    written = () if settings.is_read_only else (root,)
    if settings.log_file is not None:
        written = (*written, os.path.dirname(settings.log_file))
    sockets = [
        os.fsdecode(address.name)
        for address in addresses
        # A path; an abstract address begins with a NUL.
        if isinstance(address, UNIXAddress) and address.name and address.name[:1] != b"\0"
    ]
    removed = sockets if settings.pid_file is None else [settings.pid_file, *sockets]
    return Places(
        written=written,
        removed_from=tuple(os.path.dirname(os.path.abspath(path)) for path in removed),
        read=(root, *_list_certificate_directories(settings)),
    )


def _list_certificate_directories(settings: Settings) -> set[str]:
    """Give where certificates are, and where links lead from there: those that are renewed will be there, too."""
    files = settings.tls.files if settings.tls is not None else ()
    return {
        os.path.dirname(path)
        for file in files
        for path in (os.path.abspath(file), os.path.realpath(file))
    }


def confine_process(places: Places) -> int:
    """Put this process, and the children it will have, into the sandbox; to be called while it has one thread.

    Returns:
        The ABI of Landlock; 0 where there is none, and nothing is forbidden.

    Raises:
        OSError: the kernel has Landlock and refuses it.
    """
    abi = find_abi()
    if abi:
        restrict_process(make_rules(places), abi)
    return abi


def make_rules(places: Places) -> dict[str, Access]:
    """Give what may be done at, and below, each path."""
    rules: dict[str, Access] = {"/dev/null": READ | Access.WRITE_FILE}
    for paths, access in (
        (_SYSTEM_LIBRARIES, RUN),
        (list_python_directories(), RUN),
        (_READ_BY_LIBRARIES, READ),
        (places.read, READ),
        (places.removed_from, Access.REMOVE_FILE),
        (places.written, WRITE),
    ):
        for path in paths:
            rules[path] = rules.get(path, Access(0)) | access
    return rules


def list_python_directories() -> Iterable[str]:
    """Give the directories that this Python and its modules are in."""
    working = os.getcwd()
    return {
        sys.prefix,
        sys.base_prefix,
        os.path.dirname(os.path.realpath(sys.executable)),
        *filetransfer.__path__,
        *(path for path in sys.path if path and os.path.abspath(path) not in (working, "/")),
    }
