"""The vocabulary that both versions and both ends share: requests, responses, and what is said about bodies.

A version's codec turns octets into these and back; what a version cannot say, its encoder refuses. A field that a
message does not carry has its default; the names of the fields are version 2's. Paths are text as it came: nothing
here has been checked by :func:`filetransfer.names.check_path` yet (octets that are not UTF-8 are lone surrogates,
which that check refuses).

Source: protocol, section 2, the table of requests; section 1 has the first five.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from msgspec import Meta

from filetransfer.errors import RequestRefused

# The bounds are checked where a message is decoded: msgspec would take -1 for an int, and "" for a delimiter.
Size = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Nanoseconds = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Seconds = Annotated[int, Meta(ge=0, le=2**63 - 1)] | Annotated[float, Meta(ge=0, le=2**63)]
Mode = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Etag = Annotated[str, Meta(min_length=1, max_length=64)]
Token = Annotated[bytes, Meta(min_length=16, max_length=16)]
Column = Annotated[int, Meta(ge=1, le=2**63 - 1)] | str
Delimiter = Annotated[str, Meta(min_length=1, max_length=1)]
PageLimit = Annotated[int, Meta(ge=1, le=100_000)]
Digests = dict[str, bytes]
"""From the name of an algorithm to the octets of a digest."""


def _check_either(path: str | None, upload: bytes | None) -> None:
    if (path is None) is (upload is None):
        raise ValueError("it names a path or an upload, and not both")


@dataclass(slots=True)
class Put:
    """Store the body that follows under ``path``.

    Attributes:
        size: octets of the whole file; None when the sender does not know it.
        digest: of the whole file, also when the body begins at an offset.
        modified: nanoseconds since 1970 UTC.
        upload: names an upload that can be resumed; the body is the file from ``offset`` on. Among anonymous peers it
            is all that proves whose upload it is, and so it is never shown.
    """

    path: str
    size: Size | None = None
    digest: Digests = field(default_factory=dict)
    algorithm: str | None = None
    modified: Nanoseconds | None = None
    mode: Mode | None = None
    parents: bool = False
    if_match: Etag | None = None
    if_none_match: bool = False
    upload: Token | None = field(default=None, repr=False)
    offset: Size = 0


@dataclass(slots=True)
class Get:
    """Send the file at ``path``: ``count`` octets from ``offset`` on, or all there are."""

    path: str
    offset: Size = 0
    count: Size | None = None
    if_match: Etag | None = None
    algorithm: str | None = None


@dataclass(slots=True)
class Change:
    """Give the file at ``path`` the path ``to``."""

    path: str
    to: str
    replace: bool = False
    if_match: Etag | None = None


@dataclass(slots=True)
class Summary:
    """Summarise the numbers in the file at ``path``, or in one column of it, after ``skip`` lines."""

    path: str
    column: Column | None = None
    delimiter: Delimiter | None = None
    skip: Size = 0


@dataclass(slots=True)
class Help:
    """Say what can be asked."""


@dataclass(slots=True)
class List:
    """List what is in a directory, or in the root: at most ``limit`` entries that come after the path ``after``."""

    path: str | None = None
    recursive: bool = False
    after: str | None = None
    limit: PageLimit = 100_000


@dataclass(slots=True)
class Stat:
    """Say what is known of a path, or of an upload. Raises ValueError: it names both, or neither."""

    path: str | None = None
    upload: Token | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_either(self.path, self.upload)


@dataclass(slots=True)
class Delete:
    """Remove a file, a directory, or what an upload has left. Raises ValueError: it names two, or nothing."""

    path: str | None = None
    recursive: bool = False
    if_match: Etag | None = None
    upload: Token | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_either(self.path, self.upload)


@dataclass(slots=True)
class MakeDirectory:
    """Make a directory, and what is missing of its parents when ``parents``."""

    path: str
    parents: bool = False


@dataclass(slots=True)
class Authenticate:
    """Say who asks, in the terms of a mechanism."""

    mechanism: str
    response: bytes = field(repr=False)


@dataclass(slots=True)
class Digest:
    """Give the digest of the file at ``path``."""

    path: str
    algorithm: str | None = None
    if_match: Etag | None = None


@dataclass(slots=True)
class Copy:
    """Copy the file at ``path`` to the path ``to``."""

    path: str
    to: str
    replace: bool = False
    if_match: Etag | None = None


@dataclass(slots=True)
class Unknown:
    """A request that this version does not have. ``code``: as it came."""

    code: int


@dataclass(slots=True)
class Malformed:
    """A request that could be read and makes no sense; ``refusal`` is the answer to it."""

    refusal: RequestRefused


Request = (
    Put
    | Get
    | Change
    | Summary
    | Help
    | List
    | Stat
    | Delete
    | MakeDirectory
    | Authenticate
    | Digest
    | Copy
    | Unknown
    | Malformed
)


@dataclass(slots=True)
class Done:
    """It took effect. Of the file: its size in octets, its etag, its digest."""

    size: Size | None = None
    etag: Etag | None = None
    digest: Digests = field(default_factory=dict)


@dataclass(slots=True)
class Content:
    """The file that GET asked for; its body follows.

    Attributes:
        size: octets of the whole file.
        offset: of the body's first octet in it.
        digest: of the whole file, as far as it is known.
    """

    path: str
    size: Size
    offset: Size = 0
    etag: Etag | None = None
    modified: Nanoseconds | None = None
    mode: Mode | None = None
    digest: Digests = field(default_factory=dict)


@dataclass(slots=True)
class Statistics:
    """The answer to SUMMARY: of all the numbers in the file, each the nearest binary64."""

    max: float
    min: float
    mean: float
    count: Size | None = None
    sum: float | None = None
    stddev: float | None = None


@dataclass(slots=True)
class HelpText:
    """The answer to HELP. Limits are numbers of octets, seconds, or of what their names say."""

    text: str
    requests: list[str] = field(default_factory=list)
    features: list[str] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    software: str | None = None


@dataclass(slots=True)
class Listing:
    """The answer to LIST; the entries follow as its body."""


@dataclass(slots=True)
class Entry:
    """One entry of a listing. Of a directory or something else, only the path and the kind need be known.

    Attributes:
        path: from the root.
        size: octets of a file.
        modified: nanoseconds since 1970 UTC.
    """

    path: str
    kind: Literal["file", "directory", "other"]
    size: Size | None = None
    modified: Nanoseconds | None = None
    mode: Mode | None = None
    etag: Etag | None = None


@dataclass(slots=True)
class Status:
    """The answer to STAT: of a path, of an upload, or of what an upload became (kind ``published``).

    Raises:
        ValueError: it has no kind, nor the offset of an upload.
    """

    kind: Literal["file", "directory", "other", "published"] | None = None
    size: Size | None = None
    modified: Nanoseconds | None = None
    mode: Mode | None = None
    etag: Etag | None = None
    digest: Digests = field(default_factory=dict)
    offset: Size | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        if self.kind is None and self.offset is None:
            raise ValueError("it has no kind, nor the offset of an upload")


@dataclass(slots=True)
class Digested:
    """The answer to DIGEST."""

    digest: Digests
    size: Size
    etag: Etag


@dataclass(slots=True)
class Authenticated:
    """The answer to AUTHENTICATE: who the server takes the peer for."""

    identity: str


@dataclass(slots=True)
class Challenge:
    """AUTHENTICATE goes on: what the peer must answer."""

    challenge: bytes


@dataclass(slots=True)
class Working:
    """The response is being worked on."""


@dataclass(slots=True)
class Refused:
    """No. ``error`` says why; over version 1 only the kind of it crosses the wire."""

    error: RequestRefused


Response = (
    Done
    | Content
    | Statistics
    | HelpText
    | Listing
    | Status
    | Digested
    | Authenticated
    | Challenge
    | Working
    | Refused
)


@dataclass(slots=True)
class Greeting:
    """What a server says first in version 2: who it is, what it can, and how much of it."""

    version: Size
    software: str = ""
    features: list[str] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)
    mechanisms: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Unavailable:
    """What a server says first that cannot serve, and then closes. ``error`` is Busy or ShuttingDown."""

    error: RequestRefused


@dataclass(slots=True)
class VersionChosen:
    """It is known which version the connection speaks.

    Attributes:
        connection: what to feed, ask and speak through from here on (see ``wire/connection.py``).
        octets: what to send first; may be empty.
    """

    connection: Any
    octets: bytes = b""


@dataclass(slots=True)
class BodyRun:
    """A further run of the body has begun; only where a body comes in several."""


@dataclass(slots=True)
class BodyEnd:
    """The body of the message before has ended. Follows every message that has one, empty ones too.

    Attributes:
        digest: of the body, or for PUT of the whole file.
        refusal: why the body is of no use: its sender gave it up, it was longer or shorter than promised, or what
            ended it made no sense. Without one, the body has exactly the octets that were promised.
        more: the path to go on after, in a LIST that its limit cut short.
        hidden: entries that LIST left out.
    """

    digest: Digests = field(default_factory=dict)
    refusal: RequestRefused | None = None
    more: str | None = None
    hidden: Size = 0


@dataclass(slots=True)
class EndOfMessages:
    """The peer will send nothing more, and stopped between two messages."""


Event = (
    Request | Response | Greeting | Unavailable | VersionChosen | BodyRun | BodyEnd | EndOfMessages
)
