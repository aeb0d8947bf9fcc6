"""What is done with files where they are, on the server: they are listed and looked at, and get other names.

It is the same whatever version the server speaks; what that version cannot say is refused, with an error that says so.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import cast

from twisted.internet.interfaces import IReactorTime

from filetransfer.client.conversation import Conversation
from filetransfer.client.doubts import ask_carefully
from filetransfer.client.exchanges import PlainExchange, Transferred
from filetransfer.client.pages import list_directory
from filetransfer.client.patience import ask_patiently
from filetransfer.names import check_path
from filetransfer.wire.messages import (
    Change,
    Copy,
    Delete,
    Digest,
    Digested,
    Done,
    Entry,
    Help,
    HelpText,
    MakeDirectory,
    Response,
    Stat,
    Statistics,
    Status,
    Summary,
)


class RemoteFiles:
    """The files of one server, for requests that move no octet of them here. A session is more than that.

    Args:
        conversation: with the server.
        clock: for waits.
        tries: to ask again what was left unanswered, or what the server was too busy for; >= 1.
    """

    def __init__(self, conversation: Conversation, clock: IReactorTime, tries: int) -> None:
        self._conversation = conversation
        self._clock = clock
        self._tries = tries

    async def change(
        self, old_name: str, new_name: str, *, replace: bool = False, if_match: str | None = None
    ) -> str | None:
        """Give a file on the server another name.

        Args:
            old_name: that it has.
            new_name: that it gets.
            replace: whether a file that has the new name is replaced.
            if_match: do it only if the file has this etag.

        Returns:
            The etag that the file has then; None where the server does not say.

        Raises:
            NotFound: there is no file of the old name.
            Exists: there is one of the new name, and ``replace`` was not said.
            PreconditionFailed: ``if_match`` does not hold.
            OutcomeUnknown: the connection was lost before the answer: the change may have been done.
        """
        check_path(old_name)
        check_path(new_name, about="to")
        request = Change(old_name, new_name, replace, if_match)
        done = cast(Done, await self._ask_carefully(request, "the change"))
        return done.etag

    async def copy(
        self, name: str, new_name: str, *, replace: bool = False, if_match: str | None = None
    ) -> Transferred:
        """Copy a file on the server. Arguments and errors as for :meth:`change`."""
        check_path(name)
        check_path(new_name, about="to")
        request = Copy(name, new_name, replace, if_match)

        def ask() -> Awaitable[Response]:
            return self._ask_carefully(request, "the copy")

        done = cast(Done, await ask_patiently(self._clock, self._tries, ask))
        return Transferred(done.size or 0, done.etag, is_durable=self._conversation.is_durable())

    async def summary(
        self,
        name: str,
        *,
        column: int | str | None = None,
        delimiter: str | None = None,
        skip: int = 0,
    ) -> Statistics:
        """Ask for the largest, the smallest and the mean of the numbers in a file on the server.

        Args:
            name: of the file.
            column: which to look at, from 1, or by the name in its header; all there is when it is None.
            delimiter: one character, between columns.
            skip: lines at the beginning that are left out, >= 0.

        Returns:
            The statistics; which of them beyond those three depends on the server.

        Raises:
            NotFound: there is no such file; in version 1 also: it holds something other than numbers.
            NotNumeric: it holds something other than numbers, or none.
        """
        request = Summary(check_path(name), column, delimiter, skip)
        return cast(Statistics, await self._ask_patiently(request))

    async def help(self) -> str:
        """Ask the server what can be asked, in words for a person."""
        return (await self.describe()).text

    async def describe(self) -> HelpText:
        """Ask the server what can be asked, and what else it says of itself."""
        return cast(HelpText, await self._conversation.submit(PlainExchange(Help())))

    def list(self, name: str | None = None, *, recursive: bool = False) -> AsyncIterator[Entry]:
        """List a directory on the server, in the order of the paths' components.

        What is asked for is a part at a time: a directory of any size needs no more memory than a small one.

        Args:
            name: of the directory; None for the root.
            recursive: whether to list what is in the directories in it, and so on.

        Yields:
            Each entry, with its path from the root; the directory itself is none of them.

        Raises:
            NotFound: there is no such directory. NotDirectory: it is something else.
            RemoteProtocolError: the server sent a path that may not be, or not in order.
        """
        return list_directory(self._conversation, name, is_recursive=recursive)

    async def stat(self, name: str) -> Status:
        """Ask what is known of a path on the server. Raises NotFound: there is nothing."""
        request = Stat(check_path(name))
        return cast(Status, await self._conversation.submit(PlainExchange(request)))

    async def digest(
        self, name: str, *, algorithm: str | None = None, if_match: str | None = None
    ) -> Digested:
        """Ask for the digest of a file on the server.

        Args:
            name: of the file.
            algorithm: ``xxh3-128`` or ``sha256``, or what else the server knows; None for the server's choice.
            if_match: answer only if the file has this etag.

        Raises:
            NotFound: there is no such file. Unsupported: the server does not know the algorithm.
        """
        request = Digest(check_path(name), algorithm, if_match)
        return cast(Digested, await self._ask_patiently(request))

    async def delete(
        self, name: str, *, recursive: bool = False, if_match: str | None = None
    ) -> None:
        """Remove a file or a directory on the server.

        Args:
            name: of it.
            recursive: whether a directory goes with all that is in it.
            if_match: remove it only if it has this etag.

        Raises:
            NotFound: there is no such thing. NotEmpty: a directory that is not empty, and ``recursive`` was not said.
            PreconditionFailed: ``if_match`` does not hold.
            OutcomeUnknown: the connection was lost before the answer: it may have been removed.
        """
        request = Delete(check_path(name), recursive, if_match)
        await self._ask_carefully(request, "the removal")

    async def make_directory(self, name: str, *, parents: bool = False) -> None:
        """Make a directory on the server.

        Args:
            name: of it.
            parents: make what is missing on the way too; one that is there already is no error then.

        Raises:
            Exists: there is something of this name.
            NotFound: a directory on the way is missing, and ``parents`` was not said.
            OutcomeUnknown: the connection was lost before the answer, and ``parents`` was not said.
        """
        request = MakeDirectory(check_path(name), parents)
        if parents:
            await self._conversation.submit(PlainExchange(request))
        else:
            await self._ask_carefully(request, "the making of the directory")

    async def _ask_patiently(self, request: Digest | Summary) -> Response:
        def ask() -> Awaitable[Response]:
            return self._conversation.submit(PlainExchange(request))

        return await ask_patiently(self._clock, self._tries, ask)

    async def _ask_carefully(
        self, request: Change | Copy | Delete | MakeDirectory, doubt: str
    ) -> Response:
        return await ask_carefully(self._conversation, request, doubt, self._tries)
