"""An authority of one's own, in a directory: for a household or a workshop, made in one step.

::

    ca.pem        its certificate: what clients are given
    ca.key        its private key: signs others, and is not needed by a daemon or a client
    NAME.pem      the certificate of a server or a client, and the authority's
    NAME.key      its private key

What is there is used: who asks again for the same name has the certificate renewed, its key and so its pin the same.
Private keys are for their owner alone. Files appear whole, under their names.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from service_identity.hazmat import DNS_ID

from filetransfer.errors import CertificateUnusable
from filetransfer.tls.credentials import Credentials, read_credentials

AUTHORITY = "ca"
AUTHORITY_DAYS = 3650
DEFAULT_DAYS = 825
"""The longest that every browser and system takes for a certificate of a private authority. Source: Apple, HT210176."""

# Clocks differ.
_EARLIER = datetime.timedelta(hours=1)


class Authority:
    """Signs certificates.

    Args:
        directory: where its files are; made, with an authority in it, if they are not there.

    Attributes:
        is_new: whether the authority was made by this.

    Raises:
        CertificateUnusable: what is in the directory cannot be used.
        OSError: the directory cannot be read or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.is_new = not self.certificate_file.exists()
        if self.is_new:
            self._make()
        self._credentials = self._read(AUTHORITY)
        if self._credentials.is_expired:
            raise CertificateUnusable(
                f"the authority in {str(directory)!r} has expired: begin another in an empty directory"
            )

    @property
    def certificate_file(self) -> Path:
        """What clients are given to believe those that it signed."""
        return self._directory / f"{AUTHORITY}.pem"

    def sign_server(self, name: str, hosts: Sequence[str], days: int = DEFAULT_DAYS) -> Credentials:
        """Give a server a certificate, in ``name``.pem and ``name``.key.

        Args:
            name: of the files; a name that is not :data:`AUTHORITY`.
            hosts: names and addresses that clients call it by, one or more.
            days: how long it is valid, >= 1.

        Raises:
            ValueError: one of the hosts is neither a name nor an address.
            CertificateUnusable, OSError: as for the class.
        """
        names = x509.SubjectAlternativeName([_read_host(host) for host in hosts])
        return self._sign(name, hosts[0], ExtendedKeyUsageOID.SERVER_AUTH, names, days)

    def sign_client(self, name: str, days: int = DEFAULT_DAYS) -> Credentials:
        """Give a client a certificate, in ``name``.pem and ``name``.key; ``name`` is its identity. Raises as above."""
        return self._sign(name, name, ExtendedKeyUsageOID.CLIENT_AUTH, None, days)

    def _make(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = _make_name(f"filetransfer authority {secrets.token_hex(4)}")
        certificate = (
            _begin(subject, subject, key.public_key(), AUTHORITY_DAYS)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_allow(certificates=True), critical=True)
            .sign(key, SHA256())
        )
        self._write(AUTHORITY, key, [certificate])

    def _sign(
        self,
        name: str,
        subject: str,
        purpose: x509.ObjectIdentifier,
        names: x509.SubjectAlternativeName | None,
        days: int,
    ) -> Credentials:
        if name == AUTHORITY or not name or "/" in name or name.startswith("."):
            raise ValueError(f"{name!r} is no name for a certificate")
        key = self._find_key(name)
        issuer = self._credentials.certificate
        builder = (
            _begin(_make_name(subject), issuer.subject, key.public_key(), days)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_allow(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(_identify_issuer(issuer), critical=False)
        )
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        certificate = builder.sign(self._credentials.key, SHA256())
        self._write(name, key, [certificate, issuer])
        return self._read(name)

    def _find_key(self, name: str) -> ec.EllipticCurvePrivateKey:
        """Give the key that is there, or a new one."""
        if self._find_file(name, "key").exists():
            key = self._read(name).key
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise CertificateUnusable(
                    f"{name}.key in {str(self._directory)!r} was not made here"
                )
            return key
        return ec.generate_private_key(ec.SECP256R1())

    def _read(self, name: str) -> Credentials:
        files = self._find_file(name, "pem"), self._find_file(name, "key")
        certificate, private_key = map(os.fspath, files)
        return read_credentials(certificate, private_key)

    def _write(
        self, name: str, key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate]
    ) -> None:
        octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _replace(self._find_file(name, "key"), octets, 0o600)
        octets = b"".join(each.public_bytes(Encoding.PEM) for each in chain)
        _replace(self._find_file(name, "pem"), octets, 0o644)

    def _find_file(self, name: str, kind: str) -> Path:
        return self._directory / f"{name}.{kind}"


def _begin(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, days: int
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(now + datetime.timedelta(days=days))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _make_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _identify_issuer(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    found = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(found.value)


def _allow(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _read_host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(DNS_ID(host).hostname.decode("ascii"))
    except ValueError as error:
        raise ValueError(f"{host!r} is neither a name nor an address") from error


def _replace(file: Path, octets: bytes, mode: int) -> None:
    """Write a file, whole, under a name that may be taken."""
    beside = file.with_name(f".{file.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with open(descriptor, "wb") as opened:
            opened.write(octets)
            os.fchmod(descriptor, mode)
            opened.flush()
            os.fsync(descriptor)
        os.replace(beside, file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
