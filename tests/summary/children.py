"""Starts the child process of SUMMARY as the server does, with nothing but the standard library."""

from __future__ import annotations

import socket
import subprocess


def start_child(arguments: list[str], selection: bytes, descriptor: int) -> subprocess.Popen[bytes]:
    """Start a child, and ask it for one file."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pipe = subprocess.PIPE
    with ours, theirs:
        child = subprocess.Popen(arguments, stdin=theirs, stdout=pipe, stderr=pipe, env={}, cwd="/")
        socket.send_fds(ours, [selection], [descriptor])
    return child
