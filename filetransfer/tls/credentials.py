"""A certificate with what it is signed by, and its private key: read from files, looked over, put into a context."""

from __future__ import annotations

import datetime
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)
from OpenSSL import SSL

from filetransfer.errors import CertificateUnusable
from filetransfer.tls.alerts import describe_error
from filetransfer.tls.pins import find_pin, write_pin

_OTHERS_READ = stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP
"""Who may have a private key: its owner, and a group for reading it."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What one end proves itself with.

    Attributes:
        chain: the certificate, then those that lead to an authority.
        key: the private key of the first.
        is_exposed: whether everybody on this machine may read the key, or its group change it.
    """

    chain: Sequence[x509.Certificate]
    key: Any
    is_exposed: bool

    @property
    def certificate(self) -> x509.Certificate:
        """The one whose key this is."""
        return self.chain[0]

    @property
    def pin(self) -> str:
        """The pin of the key, as a client can be given it."""
        return write_pin(find_pin(self.certificate))

    @property
    def is_expired(self) -> bool:
        """Whether the certificate is not valid any more."""
        return self.certificate.not_valid_after_utc < datetime.datetime.now(datetime.UTC)

    def install(self, context: SSL.Context) -> None:
        """Let a context prove itself with them. Raises CertificateUnusable."""
        try:
            context.use_certificate(self.certificate)
            context.use_privatekey(self.key)
            for each in self.chain[1:]:
                context.add_extra_chain_cert(each)
        except SSL.Error as error:
            raise CertificateUnusable(
                f"TLS cannot use the certificate: {describe_error(error)}"
            ) from error


def read_credentials(
    certificate: str, private_key: str | None = None, passphrase: bytes | None = None
) -> Credentials:
    """Read a certificate and its key.

    Args:
        certificate: a file of PEM: the certificate first, then those that lead to an authority.
        private_key: a file of PEM; None when the key is in the same file.
        passphrase: of the key, if it is encrypted; of one that is not, it is not looked at.

    Raises:
        CertificateUnusable: one of them cannot be read or used, or they do not belong together.
    """
    chain = read_certificates(certificate)
    key_file = private_key or certificate
    octets, mode = _read(key_file)
    key = _load_key(octets, key_file, passphrase)
    try:
        is_pair = _describe_key(key.public_key()) == _describe_key(chain[0].public_key())
    except (ValueError, UnsupportedAlgorithm) as error:
        raise CertificateUnusable(f"{certificate!r}: its key is of an unknown kind") from error
    if not is_pair:
        raise CertificateUnusable(
            f"the private key in {key_file!r} is not that of the certificate in {certificate!r}"
        )
    return Credentials(chain, key, bool(mode & _OTHERS_READ))


def _load_key(octets: bytes, file: str, passphrase: bytes | None) -> Any:
    is_encrypted = b"ENCRYPTED" in octets
    if is_encrypted and passphrase is None:
        raise CertificateUnusable(
            f"{file!r}: the private key has a passphrase, which nobody has given"
        )
    try:
        return load_pem_private_key(octets, passphrase if is_encrypted else None)
    except (TypeError, ValueError, UnsupportedAlgorithm) as error:
        text = f"{file!r} holds no private key that can be read"
        if is_encrypted:
            text = f"{file!r}: the passphrase is not that of the private key"
        raise CertificateUnusable(text) from error


def read_certificates(file: str) -> Sequence[x509.Certificate]:
    """Read certificates from a file of PEM, at least one. Raises CertificateUnusable."""
    octets, _ = _read(file)
    try:
        return x509.load_pem_x509_certificates(octets)
    except ValueError as error:
        raise CertificateUnusable(
            f"{file!r} holds no certificate in PEM that can be read"
        ) from error


def _describe_key(key: Any) -> bytes:
    octets: bytes = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return octets


def _read(file: str) -> tuple[bytes, int]:
    try:
        with open(file, "rb") as opened:
            return opened.read(), os.fstat(opened.fileno()).st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CertificateUnusable(f"{file!r} cannot be read: {reason}") from error
