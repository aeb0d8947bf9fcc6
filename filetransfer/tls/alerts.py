"""What went wrong with a connection over TLS, in words."""

from __future__ import annotations

from OpenSSL import SSL

from filetransfer.errors import FileTransferError, TransferInterrupted, Untrusted

_PROOFS = ("certificate", "unknown ca", "access denied", "decrypt error")
"""What an alert says of one who has not proved who it is. Source: RFC 8446, section 6.2, as OpenSSL words it."""


def describe_error(error: SSL.Error) -> str:
    """Give the reasons of an error of OpenSSL's, without its codes."""
    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1]).lower()
    reasons = error.args[0] if error.args else []
    return ", ".join(reason or "unknown" for _, _, reason in reasons) or "unknown"


def explain_loss(error: BaseException | None) -> FileTransferError:
    """Say why a client's connection was lost.

    In TLS 1.3 a server looks at our certificate when, for us, the handshake is over.
    """
    if isinstance(error, SSL.Error) and is_about_proofs(error):
        return Untrusted(f"the server does not accept this client: {describe_error(error)}")
    return TransferInterrupted("the connection was lost")


def is_about_proofs(error: SSL.Error) -> bool:
    """Tell whether an alert of the other end says that we have not proved who we are."""
    text = describe_error(error)
    return "alert" in text and any(word in text for word in _PROOFS)
