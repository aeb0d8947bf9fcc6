"""Store a directory on the server and list it: python tree.py HOST PORT DIRECTORY NAME"""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect
from filetransfer.client.trees import put_tree


async def main(reactor: Any, host: str, port: str, directory: str, name: str) -> None:
    """Send all that is in a directory; each file fails on its own."""
    async with connect(host, int(port), versions=(2,)) as session:
        totals = await put_tree(session, directory, name)
        print(f"{totals.sent} sent, {totals.failed} failed")
        async for entry in session.list(name, recursive=True):
            print(entry.kind, entry.path)


react(main, sys.argv[1:])
