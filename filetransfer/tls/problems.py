"""What is wrong with a certificate, in words: OpenSSL says it in numbers."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

SERVER, CLIENT = "a server", "a client"
"""What a certificate may be to prove."""

_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: SERVER, ExtendedKeyUsageOID.CLIENT_AUTH: CLIENT}


def explain_problem(number: int, certificate: x509.Certificate, purpose: str) -> str:
    """Say what is wrong with a certificate, in less than a sentence.

    Args:
        number: X509_V_ERR_ and so on. Source: OpenSSL, include/openssl/x509_vfy.h.
        certificate: the one it is about: the peer's, or one above it.
        purpose: what was to be proved, :data:`SERVER` or :data:`CLIENT`.
    """
    match number:
        case 9:
            words = f"is valid only from {certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on"
        case 10:
            words = f"expired at {certificate.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
        case 18:
            words = "is self-signed, and nobody has said that it can be trusted"
        case 19:
            words = f"is signed by an authority that is not known here: {describe_subject(certificate.subject)}"
        case 2 | 20 | 21 | 27:
            words = f"is signed by an authority that is not known here: {describe_subject(certificate.issuer)}"
        case 26:
            words = f"is not one for {purpose}, but for {_list_purposes(certificate)}"
        case 7:
            words = "is not signed by whom it names"
        case 24 | 25 | 79:
            words = (
                f"is signed by one that may not sign it: {describe_subject(certificate.subject)}"
            )
        case _:
            words = f"is not valid: error {number} of OpenSSL's"
    return f"the certificate {words}"


def describe_subject(subject: x509.Name) -> str:
    """Give the common name in a subject, or all of it when there is none."""
    found = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = found[0].value if found else subject.rfc4514_string()
    return text if isinstance(text, str) else text.decode(errors="backslashreplace")


def list_names(certificate: x509.Certificate) -> list[str]:
    """Give the hosts that a certificate is for: names, then addresses."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return [*names.get_values_for_type(x509.DNSName), *addresses]


def _list_purposes(certificate: x509.Certificate) -> str:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return "something else"
    return " and ".join(_PURPOSES.get(each, "something else") for each in usage)
