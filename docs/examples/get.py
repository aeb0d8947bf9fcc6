"""Fetch a file: python get.py HOST PORT NAME TARGET"""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect
from filetransfer.errors import NotFound


async def main(reactor: Any, host: str, port: str, name: str, target: str) -> None:
    """Fetch one file; it appears whole or not at all."""
    async with connect(host, int(port)) as session:
        try:
            fetched = await session.get(name, target)
        except NotFound:
            print(f"{name}: not found on {session.server}")
        else:
            print(f"{target}: {fetched.size} octets")


react(main, sys.argv[1:])
