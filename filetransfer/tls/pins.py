"""A pin names a public key: ``sha256:`` and the digest of its SubjectPublicKeyInfo, in base64 or in hexadecimal.

A certificate that is renewed with the same key keeps its pin. Source: RFC 7469, section 2.4.
"""

from __future__ import annotations

import base64
import binascii
import hashlib

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_PREFIX = "sha256:"
_CURL_PREFIX = "sha256//"
"""How curl writes it, see its option --pinnedpubkey."""

_DIGEST_OCTETS = 32


def read_pin(text: str) -> bytes:
    """Give the digest that a pin holds, 32 octets. Raises ValueError, with a line for a person."""
    for prefix in (_PREFIX, _CURL_PREFIX):
        if text.startswith(prefix):
            digest = _read_digest(text.removeprefix(prefix))
            if digest is not None:
                return digest
    raise ValueError(f"{text!r} is no pin: sha256: and 44 characters of base64, or 64 hexadecimal")


def _read_digest(text: str) -> bytes | None:
    for decode in (bytes.fromhex, _decode_base64):
        try:
            digest = decode(text)
        except (ValueError, binascii.Error):
            continue
        if len(digest) == _DIGEST_OCTETS:
            return digest
    return None


def _decode_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def write_pin(digest: bytes) -> str:
    """Give the pin of a digest, as :func:`read_pin` reads it."""
    return _PREFIX + base64.b64encode(digest).decode()


def find_pin(certificate: x509.Certificate) -> bytes:
    """Give the digest of a certificate's public key.

    Raises:
        ValueError: the key is of a kind that nobody here understands.
    """
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm as error:
        raise ValueError("the certificate's key is of an unknown kind") from error
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(info).digest()
