"""Fetch many files at once, over one connection: python several.py HOST PORT NAME..."""

import sys
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import react

from filetransfer.client import connect


async def main(reactor: Any, host: str, port: str, *names: str) -> None:
    """Ask for all of them before the first has come."""

    def tell(moved: int, size: int) -> None:
        if moved == size:
            print(f"{size} octets have come")

    async with connect(host, int(port)) as session:
        await gatherResults(
            [Deferred.fromCoroutine(session.get(name, progress=tell)) for name in names]
        )


react(main, sys.argv[1:])
