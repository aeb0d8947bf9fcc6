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


def describe_stored(session: Session, stored: Transferred) -> dict[str, object]:
    """Say for programs what became of a file that the server has now."""
    is_durable = stored.is_durable and is_promised(session, "durable")
    return describe_fetched(stored) | {"durable": is_durable}


def describe_fetched(fetched: Transferred) -> dict[str, object]:
    """Say for programs what became of a file that is here now."""
    return {
        "size": fetched.size,
        "etag": fetched.etag,
        "digest": fetched.digest or None,
        "resumed_at": fetched.offset or None,
        "durable": fetched.is_durable,
        "verified": fetched.is_verified,
    }
