"""``--require``: what a server must promise before anything is asked of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from filetransfer.errors import LocalProtocolError

if TYPE_CHECKING:
    from filetransfer.client import Session


async def require(session: Session, promises: Sequence[str]) -> None:
    """Connect, and look at what the server promises; nothing is done when nothing is required.

    Raises:
        LocalProtocolError: it does not promise all of it.
    """
    if promises:
        raise LocalProtocolError(
            f"{session.server} does not promise that what it takes is {' and '.join(promises)}: "
            "version 1 of the protocol cannot say so"
        )
