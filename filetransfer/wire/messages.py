"""The vocabulary that both versions and both ends share: requests, responses, and what is said about bodies.

A version's codec turns octets into these and back; what a version cannot say, its encoder refuses. A field that a
message does not carry has its default; the names of the fields are version 2's. Paths are text as it came: nothing
here has been checked by :func:`filetransfer.names.check_path` yet (octets that are not UTF-8 are lone surrogates,
which that check refuses).

Source: protocol, section 2, the table of requests; section 1 has the first five.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, TypeVar

from msgspec import Meta, Struct

from filetransfer.errors import RequestRefused

if TYPE_CHECKING:
    _Kind = TypeVar("_Kind")
    Maybe: TypeAlias = _Kind | None
else:

    class Maybe:
        """The type of a field that is None where it is absent. For the decoder it is the type alone: nil is refused."""

        def __class_getitem__(cls, kind: Any) -> Any:
            return kind


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


_SECRETS = ("upload", "response")
"""Fields that are never shown: what proves who asks."""


class _Message(Struct, omit_defaults=True, forbid_unknown_fields=True, gc=False):
    """What all messages have: their codec makes and reads them by the library, in one call for each.

    Whatever has a key that is not known is read once more, by hand: see ``wire/maps.py``. They refer to nothing that
    could refer to them, so the garbage collector need not look at them; those that hold an exception say otherwise.
    """

    def __repr__(self) -> str:
        shown = (name for name in self.__struct_fields__ if name not in _SECRETS)
        pairs = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({pairs})"


def _check_either(path: str | None, upload: bytes | None) -> None:
    if (path is None) is (upload is None):
        raise ValueError("it names a path or an upload, and not both")


class Put(_Message):
    """Store the body that follows under ``path``.

    Attributes:
        size: octets of the whole file; None when the sender does not know it.
        digest: of the whole file, also when the body begins at an offset.
        modified: nanoseconds since 1970 UTC.
        upload: names an upload that can be resumed; the body is the file from ``offset`` on. Among anonymous peers it
            is all that proves whose upload it is, and so it is never shown.
    """

    path: str
    size: Maybe[Size] = None
    digest: Digests = {}
    algorithm: Maybe[str] = None
    modified: Maybe[Nanoseconds] = None
    mode: Maybe[Mode] = None
    parents: bool = False
    if_match: Maybe[Etag] = None
    if_none_match: bool = False
    upload: Maybe[Token] = None
    offset: Size = 0


class Get(_Message):
    """Send the file at ``path``: ``count`` octets from ``offset`` on, or all there are."""

    path: str
    offset: Size = 0
    count: Maybe[Size] = None
    if_match: Maybe[Etag] = None
    algorithm: Maybe[str] = None


class Change(_Message):
    """Give the file at ``path`` the path ``to``."""

    path: str
    to: str
    replace: bool = False
    if_match: Maybe[Etag] = None


class Summary(_Message):
    """Summarise the numbers in the file at ``path``, or in one column of it, after ``skip`` lines."""

    path: str
    column: Maybe[Column] = None
    delimiter: Maybe[Delimiter] = None
    skip: Size = 0


class Help(_Message):
    """Say what can be asked."""


class List(_Message):
    """List what is in a directory, or in the root: at most ``limit`` entries that come after the path ``after``."""

    path: Maybe[str] = None
    recursive: bool = False
    after: Maybe[str] = None
    limit: PageLimit = 100_000


class Stat(_Message):
    """Say what is known of a path, or of an upload. Raises ValueError: it names both, or neither."""

    path: Maybe[str] = None
    upload: Maybe[Token] = None

    def __post_init__(self) -> None:
        _check_either(self.path, self.upload)


class Delete(_Message):
    """Remove a file, a directory, or what an upload has left. Raises ValueError: it names two, or nothing."""

    path: Maybe[str] = None
    recursive: bool = False
    if_match: Maybe[Etag] = None
    upload: Maybe[Token] = None

    def __post_init__(self) -> None:
        _check_either(self.path, self.upload)


class MakeDirectory(_Message):
    """Make a directory, and what is missing of its parents when ``parents``."""

    path: str
    parents: bool = False


class Authenticate(_Message):
    """Say who asks, in the terms of a mechanism."""

    mechanism: str
    response: bytes


class Digest(_Message):
    """Give the digest of the file at ``path``."""

    path: str
    algorithm: Maybe[str] = None
    if_match: Maybe[Etag] = None


class Copy(_Message):
    """Copy the file at ``path`` to the path ``to``."""

    path: str
    to: str
    replace: bool = False
    if_match: Maybe[Etag] = None


class Unknown(_Message):
    """A request that this version does not have. ``code``: as it came."""

    code: int


class Malformed(_Message, gc=True):
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


class Done(_Message):
    """It took effect. Of the file: its size in octets, its etag, its digest."""

    size: Maybe[Size] = None
    etag: Maybe[Etag] = None
    digest: Digests = {}


class Content(_Message):
    """The file that GET asked for; its body follows.

    Attributes:
        size: octets of the whole file.
        offset: of the body's first octet in it.
        digest: of the whole file, as far as it is known.
    """

    path: str
    size: Size
    offset: Size = 0
    etag: Maybe[Etag] = None
    modified: Maybe[Nanoseconds] = None
    mode: Maybe[Mode] = None
    digest: Digests = {}


class Statistics(_Message):
    """The answer to SUMMARY: of all the numbers in the file, each the nearest binary64."""

    max: float
    min: float
    mean: float
    count: Maybe[Size] = None
    sum: Maybe[float] = None
    stddev: Maybe[float] = None


class HelpText(_Message):
    """The answer to HELP. Limits are numbers of octets, seconds, or of what their names say."""

    text: str
    requests: list[str] = []
    features: list[str] = []
    limits: dict[str, int] = {}
    software: Maybe[str] = None


class Listing(_Message):
    """The answer to LIST; the entries follow as its body."""


class Entry(_Message):
    """One entry of a listing. Of a directory or something else, only the path and the kind need be known.

    Attributes:
        path: from the root.
        size: octets of a file.
        modified: nanoseconds since 1970 UTC.
    """

    path: str
    kind: Literal["file", "directory", "other"]
    size: Maybe[Size] = None
    modified: Maybe[Nanoseconds] = None
    mode: Maybe[Mode] = None
    etag: Maybe[Etag] = None


class Status(_Message):
    """The answer to STAT: of a path, of an upload, or of what an upload became (kind ``published``).

    Raises:
        ValueError: it has no kind, nor the offset of an upload.
    """

    kind: Maybe[Literal["file", "directory", "other", "published"]] = None
    size: Maybe[Size] = None
    modified: Maybe[Nanoseconds] = None
    mode: Maybe[Mode] = None
    etag: Maybe[Etag] = None
    digest: Digests = {}
    offset: Maybe[Size] = None
    path: Maybe[str] = None

    def __post_init__(self) -> None:
        if self.kind is None and self.offset is None:
            raise ValueError("it has no kind, nor the offset of an upload")


class Digested(_Message):
    """The answer to DIGEST."""

    digest: Digests
    size: Size
    etag: Etag


class Authenticated(_Message):
    """The answer to AUTHENTICATE: who the server takes the peer for."""

    identity: str


class Challenge(_Message):
    """AUTHENTICATE goes on: what the peer must answer."""

    challenge: bytes


class Working(_Message):
    """The response is being worked on."""


class Refused(_Message, gc=True):
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


class Greeting(_Message):
    """What a server says first in version 2: who it is, what it can, and how much of it."""

    version: Size
    software: str = ""
    features: list[str] = []
    limits: dict[str, int] = {}
    mechanisms: list[str] = []


class Unavailable(_Message, gc=True):
    """What a server says first that cannot serve, and then closes. ``error`` is Busy or ShuttingDown."""

    error: RequestRefused


class VersionChosen(_Message, gc=True):
    """It is known which version the connection speaks.

    Attributes:
        connection: what to feed, ask and speak through from here on (see ``wire/connection.py``).
        octets: what to send first; may be empty.
    """

    connection: Any
    octets: bytes = b""


class BodyRun(_Message):
    """A further run of the body has begun; only where a body comes in several."""


class BodyEnd(_Message, gc=True):
    """The body of the message before has ended. Follows every message that has one, empty ones too.

    Attributes:
        digest: of the body, or for PUT of the whole file.
        refusal: why the body is of no use: its sender gave it up, it was longer or shorter than promised, or what
            ended it made no sense. Without one, the body has exactly the octets that were promised.
        more: the path to go on after, in a LIST that its limit cut short.
        hidden: entries that LIST left out.
    """

    digest: Digests = {}
    refusal: Maybe[RequestRefused] = None
    more: Maybe[str] = None
    hidden: Size = 0


class EndOfMessages(_Message):
    """The peer will send nothing more, and stopped between two messages."""


Event = (
    Request | Response | Greeting | Unavailable | VersionChosen | BodyRun | BodyEnd | EndOfMessages
)
