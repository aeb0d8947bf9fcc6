"""Ask a server what it can be asked: python help.py HOST PORT"""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect


async def main(reactor: Any, host: str, port: str) -> None:
    """Ask."""
    async with connect(host, int(port), connect_timeout_seconds=5, timeout_seconds=20) as session:
        print(await session.help())


react(main, sys.argv[1:])
