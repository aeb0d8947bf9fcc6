"""Print the statistics of a file of numbers: python summary.py HOST PORT NAME"""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect


async def main(reactor: Any, host: str, port: str, name: str) -> None:
    """Ask for the statistics."""
    async with connect(host, int(port)) as session:
        statistics = await session.summary(name)
        print(f"from {statistics.min} to {statistics.max}, {statistics.mean} on average")


react(main, sys.argv[1:])
