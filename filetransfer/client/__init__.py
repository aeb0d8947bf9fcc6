"""The Python API of the client: everything that ``ft-client`` does, for Twisted coroutines.

    from filetransfer.client import connect

    async with connect("localhost", 9000) as session:
        await session.put("report.csv")

Where there is no coroutine, ``Deferred.fromCoroutine(session.put("report.csv"))`` makes a Deferred of a call.
"""

from filetransfer.client.exchanges import Progress, Transferred
from filetransfer.client.protocol import ServerInfo
from filetransfer.client.session import DEFAULT_PORT, Session, connect
from filetransfer.wire.messages import Digested, Entry, Statistics, Status

__all__ = [
    "DEFAULT_PORT",
    "Digested",
    "Entry",
    "Progress",
    "ServerInfo",
    "Session",
    "Statistics",
    "Status",
    "Transferred",
    "connect",
]
