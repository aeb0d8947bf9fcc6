"""The vocabulary that both versions and both ends share: requests, responses, and what is said about bodies.

A version's codec turns octets into these and back; what a version cannot say, its encoder refuses. Paths are text as
it came: nothing here has been checked by :func:`filetransfer.names.check_path` yet (octets that are not UTF-8 are
lone surrogates, which that check refuses).
"""

from __future__ import annotations

from dataclasses import dataclass

from filetransfer.errors import RequestRefused


@dataclass(slots=True)
class Put:
    """Store the body that follows under ``path``. ``size``: octets, >= 0."""

    path: str
    size: int


@dataclass(slots=True)
class Get:
    """Send the file at ``path``."""

    path: str


@dataclass(slots=True)
class Change:
    """Give the file at ``path`` the path ``to``."""

    path: str
    to: str


@dataclass(slots=True)
class Summary:
    """Summarise the numbers in the file at ``path``."""

    path: str


@dataclass(slots=True)
class Help:
    """Say what can be asked."""


@dataclass(slots=True)
class Unknown:
    """A request that this version does not have. ``code``: as it came."""

    code: int


Request = Put | Get | Change | Summary | Help | Unknown


@dataclass(slots=True)
class Done:
    """PUT or CHANGE took effect."""


@dataclass(slots=True)
class Content:
    """The file that GET asked for; a body of ``size`` octets follows."""

    path: str
    size: int


@dataclass(slots=True)
class Statistics:
    """The answer to SUMMARY: of all the numbers in the file, each the nearest binary64."""

    max: float
    min: float
    mean: float


@dataclass(slots=True)
class HelpText:
    """The answer to HELP."""

    text: str


@dataclass(slots=True)
class Refused:
    """No. ``error`` says why; over version 1 only the kind of it crosses the wire."""

    error: RequestRefused


Response = Done | Content | Statistics | HelpText | Refused


@dataclass(slots=True)
class BodyEnd:
    """The body of the message before has ended, whole. Follows every Put and every Content, empty ones too."""


@dataclass(slots=True)
class EndOfMessages:
    """The peer will send nothing more, and stopped between two messages."""


Event = Request | Response | BodyEnd | EndOfMessages
