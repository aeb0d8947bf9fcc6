"""The policy: which TLS is spoken at all, by the daemon and by the client alike.

TLS 1.3, or 1.2 with what 1.3 kept: an ephemeral key agreement on elliptic curves and authenticated encryption. The
rest is switched off rather than configured: compression (it leaks what it compresses), renegotiation, and sessions
that are resumed (their tickets would have to be protected as the private key is; a handshake takes a millisecond).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from OpenSSL import SSL, crypto

_AES = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"
_CHACHA = "TLS_CHACHA20_POLY1305_SHA256"
_OLDER_AES = "ECDHE+AESGCM"
_OLDER_CHACHA = "ECDHE+CHACHA20"
# ECDHE without a signature: nobody would know with whom.
_NEVER = "!aNULL"

_OPTIONS = SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_NO_TICKET

_PARTIAL_WRITES = 0x1
"""SSL_MODE_ENABLE_PARTIAL_WRITE, which pyOpenSSL sets: send() would return after each record of 16 KiB."""


def make_context(method: int) -> SSL.Context:
    """Give a context that follows the policy, without certificates.

    The order of suites is the client's affair, who knows its processor; none of them is weak.

    Args:
        method: ``SSL.TLS_SERVER_METHOD`` or ``SSL.TLS_CLIENT_METHOD``.
    """
    context = SSL.Context(method)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # Buffers of 16 KiB each way are given back while a connection is idle: 47 KiB a connection become 25.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.clear_mode(_PARTIAL_WRITES)
    suites, older = [*_AES, _CHACHA], [_OLDER_AES, _OLDER_CHACHA]
    if not _has_aes():
        suites, older = [_CHACHA, *_AES], [_OLDER_CHACHA, _OLDER_AES]
    context.set_tls13_ciphersuites(":".join(suites).encode())
    context.set_cipher_list(":".join([*older, _NEVER]).encode())
    return context


def believe_only(context: SSL.Context, authorities: Sequence[x509.Certificate]) -> None:
    """Let a context believe what leads to one of these certificates, be it an authority or the peer itself."""
    store = context.get_cert_store()
    assert store is not None  # noqa: S101 - a context always has one
    store.set_flags(crypto.X509StoreFlags.PARTIAL_CHAIN)
    for authority in authorities:
        store.add_cert(crypto.X509.from_cryptography(authority))


def _has_aes() -> bool:
    """Tell whether the processor does AES by itself: one that does not is five times faster with ChaCha20."""
    try:
        return " aes" in Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return True
