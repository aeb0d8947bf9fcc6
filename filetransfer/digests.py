"""Running digests: what both ends compute over the octets of a file.

``xxh3-128`` is the default. It runs at 12 to 27 GB/s a core, so that computing it costs a transfer next to nothing;
it detects accidents, not attackers. ``sha256`` runs at 1.3 to 1.8 GB/s and halves the rate of a fast transfer.

Source: protocol, section 2, "digest".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import xxhash

from filetransfer.errors import Unsupported

DEFAULT_ALGORITHM = "xxh3-128"


class Digest(Protocol):
    """A digest of the octets seen so far."""

    def update(self, octets: bytes | bytearray | memoryview, /) -> None:
        """Take more octets in."""

    def digest(self) -> bytes:
        """Give the digest of everything taken in; more may follow."""


def start_digest(algorithm: str = DEFAULT_ALGORITHM) -> Digest:
    """Start a digest of no octets yet.

    Args:
        algorithm: a name of section 2 of the protocol.

    Returns:
        A new running digest.

    Raises:
        Unsupported: we do not know the algorithm; the message names those we know.
    """
    start = _ALGORITHMS.get(algorithm)
    if start is None:
        raise Unsupported(f"unknown digest algorithm: known are {', '.join(_ALGORITHMS)}")
    return start()


digest_octets: Callable[[bytes], bytes] = xxhash.xxh3_128_digest
"""Gives the digest of octets, by the algorithm that is used when none is asked for."""


def is_known_algorithm(algorithm: str) -> bool:
    """Tell whether :func:`start_digest` knows the algorithm."""
    return algorithm in _ALGORITHMS


def _start_sha256() -> Digest:
    # hashlib loads OpenSSL: not for those who never ask.
    import hashlib

    return hashlib.sha256()


_ALGORITHMS: dict[str, Callable[[], Digest]] = {
    DEFAULT_ALGORITHM: xxhash.xxh3_128,
    "sha256": _start_sha256,
}
