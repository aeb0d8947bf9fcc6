"""What went wrong with a connection over TLS, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import ConnectionClosed, ConnectionLost

from filetransfer.errors import FileTransferError, TransferInterrupted, Untrusted

# OpenSSL is loaded where it is needed: in 30 ms, which a client in the clear need not have.
if TYPE_CHECKING:
    from OpenSSL import SSL

_PROOFS = ("certificate", "unknown ca", "access denied", "decrypt error")
"""What an alert says of one who has not proved who it is. Source: RFC 8446, section 6.2, as OpenSSL words it."""


class Truncated(ConnectionLost):
    """A connection over TLS ended without close_notify: whoever is in between may have cut it."""


def describe_error(error: SSL.Error) -> str:
    """Give the reasons of an error of OpenSSL's, without its codes."""
    from OpenSSL import SSL

    if isinstance(error, SSL.SysCallError):
        return str(error.args[-1]).lower()
    reasons = error.args[0] if error.args else []
    return ", ".join(reason or "unknown" for _, _, reason in reasons) or "unknown"


def explain_loss(error: BaseException | None) -> FileTransferError:
    """Say why a client's connection was lost.

    In TLS 1.3 a server looks at our certificate when, for us, the handshake is over.
    """
    if error is not None and not isinstance(error, ConnectionClosed):
        from OpenSSL import SSL

        if isinstance(error, SSL.Error) and is_about_proofs(error):
            return Untrusted(f"the server does not accept this client: {describe_error(error)}")
    return TransferInterrupted("the connection was lost")


def is_about_proofs(error: SSL.Error) -> bool:
    """Tell whether an alert of the other end says that we have not proved who we are."""
    text = describe_error(error)
    return "alert" in text and any(word in text for word in _PROOFS)
