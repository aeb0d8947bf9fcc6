"""Tells twistd of ``filetransfer``; the module named here is imported only when it is run."""

from twisted.application.service import ServiceMaker

filetransfer = ServiceMaker(
    "filetransfer",
    "filetransfer.server.service",
    "Serve a directory; answer an upload when it is on disk.",
    "filetransfer",
)
