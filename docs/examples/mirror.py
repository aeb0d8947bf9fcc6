"""Make a directory here as one on the server is: python mirror.py HOST PORT NAME DIRECTORY"""

import sys
from typing import Any

from twisted.internet.task import react

from filetransfer.client import connect
from filetransfer.client.sync import Syncing, sync


async def main(reactor: Any, host: str, port: str, name: str, directory: str) -> None:
    """Fetch what is new or different, and remove what is gone; what was cut off last time goes on."""
    async with connect(host, int(port), versions=(2,)) as session:
        totals = await sync(session, directory, name, "from-server", Syncing(delete=True))
        print(f"{totals.sent} fetched, {totals.removed} removed, {totals.unchanged} unchanged")


react(main, sys.argv[1:])
