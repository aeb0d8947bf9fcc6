"""Certificates for tests, good and bad, each with its key in files."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from filetransfer.tls.pins import find_pin, write_pin

SERVER, CLIENT = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
YEAR = datetime.timedelta(days=365)
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Made:
    """A certificate.

    Attributes:
        file: of PEM: the certificate, and its issuer's if that is an authority below another.
        key_file: its private key, for its owner alone.
    """

    certificate: x509.Certificate
    key: Any
    file: str
    key_file: str

    @property
    def pin(self) -> str:
        return write_pin(find_pin(self.certificate))

    @property
    def digest(self) -> bytes:
        return find_pin(self.certificate)


def make_certificate(
    directory: Path,
    name: str = "server",
    *,
    hosts: Sequence[str] = HERE,
    issuer: Made | None = None,
    is_authority: bool = False,
    purpose: x509.ObjectIdentifier | None = SERVER,
    begins: datetime.timedelta = -YEAR,
    ends: datetime.timedelta = YEAR,
    key: Any = None,
    common_names: Sequence[str] | None = None,
    chain: Sequence[Made] = (),
) -> Made:
    """Make a certificate, signed by itself unless an issuer is named; dates are told from now."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, text) for text in common_names or [name]]
        if common_names is None or common_names
        else [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "nameless")]
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )
    if purpose is not None and not is_authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    if hosts and not is_authority:
        builder = builder.add_extension(
            x509.SubjectAlternativeName([_read(host) for host in hosts]), critical=False
        )
    certificate = builder.sign(issuer.key if issuer else key, SHA256())
    made = Made(certificate, key, str(directory / f"{name}.pem"), str(directory / f"{name}.key"))
    write(made, chain)
    return made


def write(made: Made, chain: Sequence[Made] = ()) -> None:
    """Write a certificate and its key to its files, those that are there replaced."""
    directory = Path(made.file).parent
    directory.mkdir(parents=True, exist_ok=True)
    octets = [each.certificate.public_bytes(Encoding.PEM) for each in (made, *chain)]
    Path(made.file).write_bytes(b"".join(octets))
    key_file = Path(made.key_file)
    key_file.touch(mode=0o600)
    key_file.write_bytes(made.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _read(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
