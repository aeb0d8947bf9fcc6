"""A server over TLS that is not ours: Python's own ssl module, in threads."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from certificates import Made
from plain_servers import Peer, PlainServer


@contextmanager
def serve_tls(
    made: Made,
    converse: Callable[[Peer], None] | None = None,
    *,
    protocols: Sequence[str] = (),
    client_ca: Made | None = None,
    newest: ssl.TLSVersion = ssl.TLSVersion.MAXIMUM_SUPPORTED,
    suites: str | None = None,
) -> Iterator[PlainServer]:
    """Run a server that shows a certificate; ``converse`` is handed what is above TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.file, made.key_file)
    context.maximum_version = newest
    if suites is not None:
        context.set_ciphers(suites)
    if protocols:
        context.set_alpn_protocols(list(protocols))
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca.file)

    def act(peer: Peer) -> None:
        try:
            wrapped = context.wrap_socket(peer.socket, server_side=True)
        except (ssl.SSLError, OSError):
            return
        with wrapped, contextlib.suppress(ssl.SSLError, OSError):
            (converse or server.serve)(Peer(wrapped))

    server = PlainServer(act)
    with server:
        yield server


def end_properly(peer: Peer) -> None:
    """Say close_notify, which is what an end of TLS looks like."""
    with contextlib.suppress(ssl.SSLError, OSError):
        peer.socket.unwrap()  # type: ignore[attr-defined]
