"""Secrets: from a file, from what a command prints, or from the environment; never from the command line.

Everybody on a machine can read its command lines, and shells write them down.
"""

from __future__ import annotations

import os
import shlex
import subprocess

from filetransfer.errors import CertificateUnusable

_VARIABLE = "FT_PASSPHRASE"
_COMMAND_SECONDS = 300
"""That a command may take: somebody may have to unlock a keyring for it."""


def find_passphrase(file: str | None, command: str | None) -> bytes | None:
    """Give the passphrase of a private key, without the end of its line; None when nobody has said where it is.

    Args:
        file: that it is the first line of.
        command: that prints it, split into words as a shell does.

    Raises:
        CertificateUnusable: it cannot be had from there.
    """
    if file is not None:
        return _first_line(_read(file), file)
    if command is not None:
        return _first_line(_run(command), "the command of --passphrase-command")
    found = os.environb.get(_VARIABLE.encode())
    return found or None


def _first_line(text: bytes, source: str) -> bytes:
    line = text.partition(b"\n")[0].removesuffix(b"\r")
    if not line:
        raise CertificateUnusable(f"{source} gives no passphrase")
    return line


def _read(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError as error:
        raise CertificateUnusable(f"{file!r} cannot be read: {error.strerror}") from error


def _run(command: str) -> bytes:
    try:
        return subprocess.run(  # noqa: S603 - it is what the user typed
            shlex.split(command), stdout=subprocess.PIPE, timeout=_COMMAND_SECONDS, check=True
        ).stdout
    except (OSError, ValueError, IndexError) as error:
        text = getattr(error, "strerror", None) or error
        raise CertificateUnusable(f"--passphrase-command cannot be run: {text}") from error
    except subprocess.CalledProcessError as error:
        raise CertificateUnusable(
            f"--passphrase-command failed with status {error.returncode}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CertificateUnusable(
            f"--passphrase-command took longer than {_COMMAND_SECONDS} seconds"
        ) from error
