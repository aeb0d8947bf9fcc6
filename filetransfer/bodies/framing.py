"""How a body is cut into runs, and what stands before each of them: as little of a wire as moving bodies needs."""

from __future__ import annotations

from typing import Final, Protocol

TAIL_OCTETS = 64 * 1024
"""The end of a body travels through Python, so that what stands behind the body leaves with it."""


class Framing(Protocol):
    """What says how a body is cut; a connection's codec is one.

    Attributes:
        max_run: octets of a run, at most, > 0.
    """

    @property
    def max_run(self) -> int: ...

    def encode_run(self, count: int) -> bytes:
        """Give the octets that stand before a run of ``count`` octets, 1 <= count <= max_run."""


class _Unframed:
    max_run: Final = 2**63 - 1

    def encode_run(self, count: int) -> bytes:
        return b""


class FirstRunBegun:
    """A framing of which what stands before the first run has left already."""

    def __init__(self, framing: Framing) -> None:
        self.max_run = framing.max_run
        self._framing = framing
        self._is_first = True

    def encode_run(self, count: int) -> bytes:
        """See :class:`Framing`."""
        is_first, self._is_first = self._is_first, False
        return b"" if is_first else self._framing.encode_run(count)


UNFRAMED: Framing = _Unframed()
"""One run, with nothing before it."""


def split_tail(count: int, max_run: int) -> int:
    """Give how many octets at the end of a body are to be sent apart from the rest, as a run of their own.

    They are so many that no run of the rest has less than :data:`TAIL_OCTETS`. Source: protocol, section 2, "Framing".

    Args:
        count: octets of the body, >= 0.
        max_run: octets of a run, at most, > 2 * TAIL_OCTETS.
    """
    tail = min(count, TAIL_OCTETS)
    short_run = (count - tail) % max_run
    return tail + short_run if short_run < TAIL_OCTETS else tail
