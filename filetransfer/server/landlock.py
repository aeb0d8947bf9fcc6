"""Landlock: a process takes away from itself, and from its children, what it will not need. No privilege is needed.

    landlock_create_ruleset    what is forbidden from now on, but for the rules
    landlock_add_rule          what is allowed all the same, below an open directory or for an open file
    landlock_restrict_self     for the calling thread and all that it begins, for ever

Files that are open already are not affected. The kernel says how much it knows by the number of its ABI: what it does
not know can neither be forbidden nor allowed.

    1  Linux 5.13  files and directories          4  6.7   binding and connecting TCP sockets
    2  5.19        rename to another directory    5  6.10  ioctl of devices
    3  6.2         truncate                       6  6.12  abstract sockets and signals of others

Source: landlock(7), include/uapi/linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import sys
from collections.abc import Mapping
from enum import IntFlag

# The same on all architectures but alpha. Elsewhere -1: the kernel answers ENOSYS.
_HAS_NUMBERS = sys.platform == "linux" and os.uname().machine != "alpha"
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = (444, 445, 446) if _HAS_NUMBERS else (-1, -1, -1)
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38
_ALL_TCP = 0b11
_ALL_SCOPES = 0b11

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class Access(IntFlag):
    """What may be done with files."""

    EXECUTE = 1 << 0
    WRITE_FILE = 1 << 1
    READ_FILE = 1 << 2
    READ_DIR = 1 << 3
    REMOVE_DIR = 1 << 4
    REMOVE_FILE = 1 << 5
    MAKE_CHAR = 1 << 6
    MAKE_DIR = 1 << 7
    MAKE_REG = 1 << 8
    MAKE_SOCK = 1 << 9
    MAKE_FIFO = 1 << 10
    MAKE_BLOCK = 1 << 11
    MAKE_SYM = 1 << 12
    REFER = 1 << 13
    TRUNCATE = 1 << 14
    IOCTL_DEV = 1 << 15


READ = Access.READ_FILE | Access.READ_DIR
RUN = READ | Access.EXECUTE
WRITE = (
    READ
    | Access.WRITE_FILE
    | Access.TRUNCATE
    | Access.MAKE_REG
    | Access.MAKE_DIR
    | Access.REMOVE_FILE
    | Access.REMOVE_DIR
    | Access.REFER
)
"""All that is done with regular files and directories, a rename to another directory included."""

_OF_FILES = (
    Access.EXECUTE | Access.WRITE_FILE | Access.READ_FILE | Access.TRUNCATE | Access.IOCTL_DEV
)
_KNOWN = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1


def find_abi() -> int:
    """Give how much Landlock this kernel knows; 0 where it has none, or it is switched off."""
    abi: int = _libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    return max(0, abi)


def restrict_process(rules: Mapping[str, Access], abi: int) -> None:
    """Forbid this process everything Landlock knows but for the rules; to be called while it has one thread.

    TCP sockets can neither be bound nor connected afterwards, and processes other than its own not be signalled.

    Args:
        rules: what may be done at, and below, each path; paths that do not exist are left out.
        abi: as :func:`find_abi` gives, > 0.

    Raises:
        OSError: a call failed; the process may do what it might do before.
    """
    handled = _KNOWN.get(abi, _ALL)
    ruleset = _create_ruleset(handled, abi)
    try:
        for path, access in rules.items():
            _allow(ruleset, path, access & handled)
        _call(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _call(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)


def _create_ruleset(handled: int, abi: int) -> int:
    # struct landlock_ruleset_attr: files, TCP, scopes; a kernel takes what it does not know only where it is 0.
    attributes = struct.pack(
        "=QQQ", handled, _ALL_TCP if abi >= 4 else 0, _ALL_SCOPES if abi >= 6 else 0
    )
    return _call(_libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))


def _allow(ruleset: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        # Nobody can do anything there, then.
        return
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            access &= _OF_FILES
        # struct landlock_path_beneath_attr, packed
        rule = struct.pack("=Qi", access, descriptor)
        _call(_libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0))
    finally:
        os.close(descriptor)


def _call(result: int) -> int:
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
