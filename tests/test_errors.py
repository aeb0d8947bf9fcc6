import errno
import os

import pytest

from filetransfer import errors

# Section 2 of the protocol: the words of a refusal.
WORDS = [
    "not-found",
    "exists",
    "is-directory",
    "not-directory",
    "not-empty",
    "name-invalid",
    "precondition-failed",
    "offset-mismatch",
    "size-mismatch",
    "digest-mismatch",
    "too-large",
    "no-space",
    "not-permitted",
    "not-authenticated",
    "busy",
    "not-numeric",
    "invalid",
    "cancelled",
    "unsupported",
    "shutting-down",
    "internal",
]


def test_there_is_one_leaf_for_each_word() -> None:
    leaves = errors.RequestRefused.__subclasses__()
    assert sorted(leaf.word for leaf in leaves) == sorted(WORDS)


@pytest.mark.parametrize("leaf", errors.RequestRefused.__subclasses__())
def test_a_refusal_is_about_a_name_or_none(leaf: type[errors.RequestRefused]) -> None:
    assert str(leaf("why")) == "why"
    assert leaf("why").about == ""
    assert leaf("why", about="to").about == "to"


def test_a_refusal_may_say_when_to_try_again() -> None:
    assert errors.Busy("why").retry_after is None
    assert errors.Busy("why", retry_after=5).retry_after == 5


def test_an_interrupted_transfer_says_how_far_it_came() -> None:
    assert errors.TransferInterrupted("lost").offset == 0
    assert errors.TransferTimeout("silent", 7).offset == 7
    assert issubclass(errors.ConnectTimeout, errors.ConnectFailed)


@pytest.mark.parametrize(
    ("number", "leaf"),
    [
        (errno.ENOENT, errors.NotFound),
        (errno.ENOTDIR, errors.NotFound),
        (errno.ELOOP, errors.NotFound),
        (errno.EXDEV, errors.NotFound),
        (errno.EEXIST, errors.Exists),
        (errno.EISDIR, errors.IsDirectory),
        (errno.ENXIO, errors.IsDirectory),
        (errno.ENOTEMPTY, errors.NotEmpty),
        (errno.ENAMETOOLONG, errors.NameInvalid),
        (errno.EILSEQ, errors.NameInvalid),
        (errno.EACCES, errors.NotPermitted),
        (errno.EPERM, errors.NotPermitted),
        (errno.EROFS, errors.NotPermitted),
        (errno.ENOSPC, errors.NoSpace),
        (errno.EDQUOT, errors.NoSpace),
        (errno.EFBIG, errors.TooLarge),
        (errno.EMFILE, errors.Busy),
        (errno.ENFILE, errors.Busy),
        (errno.ENOMEM, errors.Busy),
        (errno.EIO, errors.Internal),
        (errno.EBADF, errors.Internal),
    ],
)
def test_a_failed_call_becomes_a_refusal(number: int, leaf: type[errors.RequestRefused]) -> None:
    error = OSError(number, os.strerror(number), "/srv/secret/file")
    refusal = errors.refusal_from_os_error(error, about="path")
    assert type(refusal) is leaf
    assert refusal.about == "path"
    assert refusal.__cause__ is error
    # A peer reads the message.
    assert "secret" not in str(refusal)
    assert str(refusal)


def test_an_error_without_a_number_is_ours() -> None:
    assert type(errors.refusal_from_os_error(OSError("odd"))) is errors.Internal
