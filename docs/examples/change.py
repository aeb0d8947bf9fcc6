"""Give a file on the server another name: python change.py HOST PORT OLD NEW"""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect
from filetransfer.errors import OutcomeUnknown, RequestRefused


async def main(reactor: Any, host: str, port: str, old: str, new: str) -> None:
    """Rename; never replaces."""
    async with connect(host, int(port)) as session:
        try:
            await session.change(old, new)
        except RequestRefused as refusal:
            print(f"{old} stays as it is: {refusal}")
        except OutcomeUnknown:
            print("the connection was lost before the answer: look before you repeat it")
        else:
            print(f"{old} is now {new}")


react(main, sys.argv[1:])
