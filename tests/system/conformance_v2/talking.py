"""A client of version 2 on plain sockets: octets out, answers in."""

import contextlib
import itertools
import random
import select
import socket
import struct
from collections.abc import Iterable, Iterator

from framing import CHUNK_LIMIT, HEAD_LIMIT, REFUSED, WORDS, WORKING, Answer, Broken, read_map
from running import DEADLINE_SECONDS

BUFFER_OCTETS = 1 << 20


class Ended(Exception):
    """The server has ended the connection; ``has_begun``: inside a message."""

    def __init__(self, has_begun: bool) -> None:
        super().__init__("inside a message" if has_begun else "between two messages")
        self.has_begun = has_begun


class Talk:
    """One connection, on which version 2 was chosen unless told otherwise.

    Args:
        port: of the daemon, on loopback.
        is_greeted: send ``E0`` and read the greeting.
        receive_buffer: the kernel's, in octets; None for its default.

    Attributes:
        greeting: what the server said first.
        chunks: sizes of the last body's chunks.
    """

    def __init__(
        self, port: int, *, is_greeted: bool = True, receive_buffer: int | None = None
    ) -> None:
        self._socket = socket.socket()
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._socket.settimeout(DEADLINE_SECONDS)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._start = 0
        self._is_ended = False
        self.chunks: list[int] = []
        if is_greeted:
            self.send(b"\xe0")
            assert self.read(1) == b"\xe0"
            self.greeting = self.answer()

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, octets: bytes) -> None:
        """Send octets, and take meanwhile what comes. What the server does not want any more is not sent."""
        unsent = memoryview(octets)
        while unsent and not self._is_ended:
            readable, writable, _ = select.select(
                [self._socket], [self._socket], [], DEADLINE_SECONDS
            )
            assert readable or writable, "the server neither reads nor writes"
            if readable:
                self._take()
            elif writable:
                with self._ending_with_the_connection():
                    unsent = unsent[self._socket.send(unsent, socket.MSG_DONTWAIT) :]

    def send_until_full(self, octets: bytes, most: int) -> int:
        """Send the same again and again until the server does not take it any more; give how often it was whole."""
        unsent = octets * most
        sent = 0
        while sent < len(unsent):
            # What the server does not read in a second it will not read: it waits for us.
            if not select.select([], [self._socket], [], 1)[1]:
                break
            # What the kernel had room for it may have none for any more.
            with contextlib.suppress(BlockingIOError):
                sent += self._socket.send(unsent[sent:], socket.MSG_DONTWAIT)
        return sent // len(octets)

    def ask(self, octets: bytes) -> Answer:
        """Send a request, and give its answer."""
        self.send(octets)
        return self.answer()

    def answer(self) -> Answer:
        """Give the next answer, when it has come whole. Raises Ended, and Broken."""
        while True:
            answer = self._read_answer()
            if answer.code != WORKING:
                return answer
            assert answer == Answer(WORKING, {})

    def answers(self, count: int) -> list[Answer]:
        return [self.answer() for _ in range(count)]

    def is_failed(self) -> bool:
        """Wait for something done, or for the end: whether that came. What fails may have been refused before."""
        while True:
            try:
                if self.answer().error is None:
                    return False
            except Ended as ended:
                return not ended.has_begun

    def answers_until_the_end(self) -> list[Answer]:
        """Wait for the server to end the connection; give what it answered before."""
        answers = []
        while True:
            try:
                answers.append(self.answer())
            except Ended as ended:
                if ended.has_begun:
                    raise
                return answers

    def read(self, count: int) -> bytes:
        """Wait for so many octets. Raises Ended."""
        while len(self._received) - self._start < count:
            if self._is_ended:
                raise Ended(len(self._received) > self._start)
            self._take()
        if self._start > BUFFER_OCTETS:
            del self._received[: self._start]
            self._start = 0
        self._start += count
        return bytes(self._received[self._start - count : self._start])

    def peek(self, count: int) -> bytes:
        """Wait for so many octets, and leave them to be read."""
        octets = self.read(count)
        self._start -= count
        return octets

    def read_to_the_end(self) -> bytes:
        """Wait for the server to end the connection."""
        while not self._is_ended:
            self._take()
        return bytes(self._received[self._start :])

    def has_nothing_to_read(self) -> bool:
        """Whether nothing has come."""
        return (
            self._start == len(self._received) and not select.select([self._socket], [], [], 0)[0]
        )

    def half_close(self) -> None:
        """Say that no more octets will come."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection as a crash does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def _read_answer(self) -> Answer:
        first = self.read(1)[0]
        try:
            code = first & 0x7F
            head = self._read_map()
            _check_head(code, head)
            if not first & 0x80:
                return Answer(code, head)
            return Answer(code, head, self._read_body(), self._read_map())
        except Ended:
            raise Ended(has_begun=True) from None

    def _read_map(self) -> dict[str, object]:
        size = int.from_bytes(self.read(3), "big")
        if size > HEAD_LIMIT:
            raise Broken(f"a head or trailer of {size} octets")
        return read_map(self.read(size))

    def _read_body(self) -> bytes:
        self.chunks = []
        pieces = []
        while size := int.from_bytes(self.read(4), "big"):
            if size > CHUNK_LIMIT:
                raise Broken(f"a chunk of {size:#x} octets")
            self.chunks.append(size)
            pieces.append(self.read(size))
        return b"".join(pieces)

    def _take(self) -> None:
        octets = b""
        with self._ending_with_the_connection():
            octets = self._socket.recv(BUFFER_OCTETS)
        self._received += octets
        self._is_ended = self._is_ended or not octets

    @contextlib.contextmanager
    def _ending_with_the_connection(self) -> Iterator[None]:
        try:
            yield
        except (ConnectionResetError, BrokenPipeError):
            # A server that closes while octets of ours are unread resets the connection: that is its end as well.
            self._is_ended = True


def _check_head(code: int, head: dict[str, object]) -> None:
    if code > WORKING:
        raise Broken(f"a response with the code {code}")
    if code == REFUSED:
        assert head["error"] in WORDS
        assert isinstance(head["message"], str)
        assert set(head) <= {"error", "message", "retry_after"}


def converse(port: int, octets: bytes, pieces: Iterable[int] = ()) -> list[Answer]:
    """Choose version 2, send all, cut at ``pieces``, half-close, and give the answers until the server closes."""
    with Talk(port) as talk:
        cuts = [0, *pieces, len(octets)]
        for start, end in itertools.pairwise(cuts):
            talk.send(octets[start:end])
        talk.half_close()
        return talk.answers_until_the_end()


def cut_everywhere(octets: bytes) -> range:
    return range(1, len(octets))


def cut_anywhere(octets: bytes, seed: int) -> list[int]:
    """Give some places to cut at, the same for the same seed."""
    chance = random.Random(seed)
    count = min(len(octets) - 1, chance.randint(1, 12))
    return sorted(chance.sample(range(1, len(octets)), count))
