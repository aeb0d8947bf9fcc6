"""Notes the states that an end of a connection goes through."""

from enum import IntEnum

from filetransfer.wire.connection import Event
from filetransfer.wire.messages import EndOfMessages

Transitions = set[tuple[str, str]]


class Observed:
    """Mixed into an end, notes the states that it goes through: also when it stays for the next message."""

    def __init__(self) -> None:
        self.trace: list[IntEnum] = []
        super().__init__()

    @property
    def state(self) -> IntEnum:
        return self.trace[-1]

    @state.setter
    def state(self, state: IntEnum) -> None:
        self.trace.append(state)

    def next_event(self) -> Event | None:
        length = len(self.trace)
        event: Event | None = super().next_event()  # type: ignore[misc]
        if len(self.trace) == length and event is not None and event != EndOfMessages():
            self.trace.append(self.state)
        return event
