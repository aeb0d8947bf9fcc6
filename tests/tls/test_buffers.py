"""Buffers are given back only when nothing is in them, and what comes afterwards goes through new ones."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from certificates import make_certificate
from OpenSSL import SSL

from filetransfer.tls.buffers import release_buffers
from filetransfer.tls.contexts import make_context
from filetransfer.tls.credentials import read_credentials


def carry(sender: Any, receiver: Any) -> None:
    with suppress(SSL.WantReadError):
        receiver.bio_write(sender.bio_read(1 << 20))


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Any, Any]:
    """Give both ends of a connection whose handshake is done."""
    made = make_certificate(tmp_path)
    context = make_context(SSL.TLS_SERVER_METHOD)
    read_credentials(made.file, made.key_file).install(context)
    server = SSL.Connection(context, None)
    server.set_accept_state()
    client = SSL.Connection(make_context(SSL.TLS_CLIENT_METHOD), None)
    client.set_connect_state()
    for _ in range(3):
        for one, other in ((client, server), (server, client)):
            with suppress(SSL.WantReadError):
                one.do_handshake()
            carry(one, other)
    return client, server


def test_what_waits_is_kept(pair: tuple[Any, Any]) -> None:
    client, server = pair
    client.send(b"asked")
    release_buffers(client)
    carry(client, server)
    release_buffers(server)
    assert server.recv(100) == b"asked"


def test_what_comes_afterwards(pair: tuple[Any, Any]) -> None:
    client, server = pair
    with pytest.raises(SSL.WantReadError):
        server.recv(100)
    for text in (b"first", b"second"):
        for one, other in (pair, pair[::-1]):
            release_buffers(one)
            one.send(text)
            carry(one, other)
            assert other.recv(100) == text
            release_buffers(other)
    client.shutdown()
    carry(client, server)
    with pytest.raises(SSL.ZeroReturnError):
        server.recv(100)
