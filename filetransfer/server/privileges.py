"""Becoming a user with fewer rights, for good: groups, gid, uid, and the proof that there is no way back."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import suppress


class PrivilegesKept(Exception):
    """The process could not become that user, or could be another one again. The message is one line for people."""


def drop_privileges(user: str, group: str | None) -> None:
    """Become a user.

    Args:
        user: a name or a number.
        group: the same; None for the user's own.

    Raises:
        PrivilegesKept: there is no such user or group, this process may not become it, or it would have a way back.
    """
    account = _find_user(user)
    gid = account.pw_gid if group is None else _find_group(group)
    if account.pw_uid == 0:
        raise PrivilegesKept("root has no fewer rights: choose another user")
    if os.getresuid() != (account.pw_uid,) * 3 or os.getresgid() != (gid,) * 3:
        try:
            os.initgroups(account.pw_name, gid)
            os.setresgid(gid, gid, gid)
            os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        except PermissionError as error:
            raise PrivilegesKept(f"only root can become {user!r}: start it as root") from error
    verify_privileges(account.pw_uid, gid)


def verify_privileges(uid: int, gid: int) -> None:
    """Make sure that this process is that user, and can be no other. Raises PrivilegesKept."""
    if os.getresuid() != (uid,) * 3 or os.getresgid() != (gid,) * 3:
        raise PrivilegesKept("its user or group is not what it was set to")
    if 0 in os.getgroups() and gid != 0:
        raise PrivilegesKept("it is still in the group of root")
    with suppress(PermissionError):
        os.setresuid(0, 0, 0)
        raise PrivilegesKept("it could become root again")
    with suppress(PermissionError):
        os.setgroups([])
        raise PrivilegesKept("it could change its groups again")


def _find_user(user: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        raise PrivilegesKept(f"there is no user {user!r}") from None


def _find_group(group: str) -> int:
    try:
        return (grp.getgrgid(int(group)) if group.isdecimal() else grp.getgrnam(group)).gr_gid
    except KeyError:
        raise PrivilegesKept(f"there is no group {group!r}") from None
