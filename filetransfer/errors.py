"""Every exception of the package, in one tree.

The tree::

    FileTransferError
      LocalProtocolError     we tried to say what this version cannot say, or out of turn
        UnknownToVersion     the version in use has no such message
      RemoteProtocolError    the peer broke the rules: the connection is over
        ReconnectInVersion1  the server did not answer what an older one need not understand
      TransferInterrupted    the connection ended, or went silent, in the middle of something
      Untrusted              over TLS, one end has not proved to the other who it is
      SourceEmpty            of two trees, the one that the other is to become as has no file in it
      TooManyDeletions       a tree would lose more files than it may
      StoreUnavailable       a store cannot be opened: one line for the person who starts the daemon
      CertificateUnusable    the same for a certificate or a private key of ours
      RequestRefused         no to one request; the connection lives
        NotFound, Exists, ...  one leaf for each word that version 2 has for a refusal

A refusal crosses the wire as its ``word`` in version 2. Version 1 has only three codes; which one it is
follows from the request and from which of the request's names the refusal is about (see ``wire/v1.py``).

Messages of refusals are read by the peer: they never hold a path of the server's machine.
"""

from __future__ import annotations

import errno
from typing import ClassVar


class FileTransferError(Exception):
    """The root of the tree."""


class LocalProtocolError(FileTransferError):
    """We tried what the protocol, or the version in use, does not allow."""


class UnknownToVersion(LocalProtocolError):
    """The version that is spoken with this peer has no such message, or not with these fields."""


class RemoteProtocolError(FileTransferError):
    """The peer broke the rules of the protocol: nothing it sends can be understood any more."""


class ReconnectInVersion1(RemoteProtocolError):
    """The server did not say whether it speaks version 2: ask it on a new connection, in version 1."""


class TransferInterrupted(FileTransferError):
    """The connection was lost before the answer was complete.

    Attributes:
        offset: octets of the body that had been moved when it happened, >= 0.
    """

    def __init__(self, message: str, offset: int = 0) -> None:
        super().__init__(message)
        self.offset = offset


class ConnectFailed(TransferInterrupted):
    """No connection could be made."""


class ConnectTimeout(ConnectFailed):
    """No connection was made in the time allowed."""


class TransferTimeout(TransferInterrupted):
    """The peer was silent, in the middle of something, for longer than allowed."""


class OutcomeUnknown(TransferInterrupted):
    """The connection was lost when a request that must not be repeated blindly was sent, but not answered."""


class SourceChanged(FileTransferError):
    """The local file was not, at the end of sending it, what it was at the beginning."""


class SourceEmpty(FileTransferError):
    """The tree that another is to become as has no file in it: nothing was done."""


class TooManyDeletions(FileTransferError):
    """To make a tree as another is, more files would be removed than may be: nothing was done."""


class StoreUnavailable(FileTransferError):
    """A store cannot be opened. The message is one line, names the root and says what to do; it is for no peer."""


class Untrusted(FileTransferError):
    """Over TLS, one end has not proved to the other who it is: nothing was asked, and nothing told."""


class CertificateUnusable(FileTransferError):
    """A certificate or a private key of ours cannot be used. The message is one line, for whoever named the file."""


class RequestRefused(FileTransferError):
    """One request cannot be done. The connection goes on.

    Attributes:
        word: what version 2 calls this refusal.
        about: which of the request's names the refusal is about: ``"path"``, ``"to"``, or ``""`` for neither.
        retry_after: seconds after which the same request may succeed, >= 0; None when nobody knows.
    """

    word: ClassVar[str] = "internal"

    def __init__(self, message: str, *, about: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.about = about
        self.retry_after = retry_after


class NotFound(RequestRefused):
    """There is no such file, or a directory on the way to it is missing."""

    word = "not-found"


class Exists(RequestRefused):
    """The target exists and the request does not replace."""

    word = "exists"


class IsDirectory(RequestRefused):
    """A file was wanted and the path is a directory or a special file."""

    word = "is-directory"


class NotDirectory(RequestRefused):
    """A directory was wanted and the path is something else."""

    word = "not-directory"


class NotEmpty(RequestRefused):
    """The directory is not empty."""

    word = "not-empty"


class NameInvalid(RequestRefused):
    """The name breaks the rules of section 4 of the protocol."""

    word = "name-invalid"


class PreconditionFailed(RequestRefused):
    """The file is not, or no longer, what the request said it must be."""

    word = "precondition-failed"


class OffsetMismatch(RequestRefused):
    """The upload goes on somewhere else than the request said."""

    word = "offset-mismatch"


class SizeMismatch(RequestRefused):
    """The body was longer or shorter than promised."""

    word = "size-mismatch"


class DigestMismatch(RequestRefused):
    """The octets that arrived are not the octets that were sent."""

    word = "digest-mismatch"


class TooLarge(RequestRefused):
    """The file is larger than the limit, or than the version in use can say."""

    word = "too-large"


class NoSpace(RequestRefused):
    """There is no room: blocks, inodes or quota."""

    word = "no-space"


class NotPermitted(RequestRefused):
    """The peer may not do this, or the server is read-only."""

    word = "not-permitted"


class NotAuthenticated(RequestRefused):
    """The peer must say who it is first."""

    word = "not-authenticated"


class Busy(RequestRefused):
    """Too much is under way; the same request may succeed later."""

    word = "busy"


class NotNumeric(RequestRefused):
    """The file holds something other than numbers, or no number at all."""

    word = "not-numeric"


class Invalid(RequestRefused):
    """The request is well framed, but makes no sense."""

    word = "invalid"


class Cancelled(RequestRefused):
    """The sender gave up its own body."""

    word = "cancelled"


class Unsupported(RequestRefused):
    """The peer does not know this request."""

    word = "unsupported"


class ShuttingDown(RequestRefused):
    """The server is about to stop."""

    word = "shutting-down"


class Internal(RequestRefused):
    """The server failed: a bug, or a disk that answers with errors."""

    word = "internal"


_LEAVES: dict[int, tuple[type[RequestRefused], str]] = {
    errno.ENOENT: (NotFound, "not found"),
    errno.ESTALE: (NotFound, "not found"),
    errno.EEXIST: (Exists, "exists already"),
    errno.EISDIR: (IsDirectory, "is a directory"),
    errno.ENXIO: (IsDirectory, "is not a regular file"),
    errno.ENODEV: (IsDirectory, "is not a regular file"),
    errno.ENOTDIR: (NotFound, "not found: something on the way to it is not a directory"),
    errno.ENOTEMPTY: (NotEmpty, "the directory is not empty"),
    errno.ENAMETOOLONG: (NameInvalid, "the name is too long for the server's file system"),
    errno.EILSEQ: (NameInvalid, "the server's file system cannot store this name"),
    # What the kernel says when a path would leave the root or passes a symbolic link (openat2).
    errno.ELOOP: (NotFound, "not found: symbolic links are not followed"),
    errno.EXDEV: (NotFound, "not found: it lies outside the served file system"),
    errno.EACCES: (NotPermitted, "the server may not do this"),
    errno.EPERM: (NotPermitted, "the server may not do this"),
    errno.EBUSY: (NotPermitted, "something is mounted there, on the server"),
    errno.EROFS: (NotPermitted, "the server's file system is read-only"),
    errno.ENOSPC: (NoSpace, "no space left on the server: free some, or send less"),
    errno.EDQUOT: (NoSpace, "the server's disk quota is used up"),
    errno.EFBIG: (TooLarge, "too large for the server's file system"),
    errno.EMFILE: (Busy, "too many files are open on the server: try again later"),
    errno.ENFILE: (Busy, "too many files are open on the server: try again later"),
    errno.ENOMEM: (Busy, "the server is short of memory: try again later"),
    errno.EAGAIN: (Busy, "the server is busy: try again later"),
}


def refusal_from_os_error(error: OSError, *, about: str = "") -> RequestRefused:
    """Give the refusal that tells a peer about a failed system call.

    Args:
        error: what the system call raised.
        about: which of the request's names it was about, as in :class:`RequestRefused`.

    Returns:
        A new refusal, with ``error`` as its cause; :class:`Internal` for errors that no peer can cause (EIO ...).
    """
    leaf, message = _LEAVES.get(
        error.errno or 0, (Internal, "the server could not read or write its disk")
    )
    refusal = leaf(message, about=about)
    refusal.__cause__ = error
    return refusal
