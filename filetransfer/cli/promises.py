"""What a server promises: for ``--require``, and for what is said of each file that was moved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from filetransfer.errors import LocalProtocolError

if TYPE_CHECKING:
    from filetransfer.client import Session, Transferred

FEATURES: Mapping[str, str] = {"durable": "durable", "verified": "digests"}
"""From a promise to the word by which a server gives it, in its greeting."""


async def require(session: Session, promises: Sequence[str]) -> None:
    """Connect, and look at what the server promises; nothing is done when nothing is required.

    Raises:
        LocalProtocolError: it does not promise all of it.
    """
    if not promises:
        return
    features = (await session.open()).features
    missing = [promise for promise in promises if FEATURES[promise] not in features]
    if missing:
        raise LocalProtocolError(
            f"{session.server} does not promise that what it takes is {' and '.join(missing)}"
        )


def is_promised(session: Session, promise: str) -> bool:
    """Tell whether the server has promised something."""
    return session.server_info is not None and FEATURES[promise] in session.server_info.features


def describe_moved(moved: Transferred) -> dict[str, object]:
    """Say for programs what became of a file that is where it was to be, there or here."""
    return {
        "size": moved.size,
        "etag": moved.etag,
        "digest": moved.digest or None,
        "resumed_at": moved.offset or None,
        "durable": moved.is_durable,
        "verified": moved.is_verified,
    }
