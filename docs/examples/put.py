"""Store files: python put.py HOST PORT FILE..."""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect


async def main(reactor: Any, host: str, port: str, *files: str) -> None:
    """Store each file under its last component."""
    async with connect(host, int(port)) as session:
        for file in files:
            stored = await session.put(file)
            print(f"{file}: {stored.size} octets, on the server's disk")


react(main, sys.argv[1:])
