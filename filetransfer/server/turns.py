"""How much of the work that takes long is done at a time for one identity.

Source: protocol, section 5: at most 2 DIGEST, COPY or SUMMARY.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from filetransfer.errors import Busy

MAX_TURNS = 2


class Turns:
    """Counts turns by identity.

    Args:
        limit: turns that an identity may have at a time, > 0.
    """

    def __init__(self, limit: int = MAX_TURNS) -> None:
        self._limit = limit
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, identity: str) -> Iterator[None]:
        """Have a turn. Raises Busy: the identity has as many as it may have."""
        if self._taken[identity] >= self._limit:
            raise Busy("the server reads through other files for you: try again", retry_after=1)
        self._taken[identity] += 1
        try:
            yield
        finally:
            self._taken[identity] -= 1
            if not self._taken[identity]:
                del self._taken[identity]
