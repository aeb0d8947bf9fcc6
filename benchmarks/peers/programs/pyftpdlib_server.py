"""pyftpdlib as its documentation shows it, for anonymous peers that may write.

python pyftpdlib_server.py PORT DIRECTORY
"""

import logging
import sys

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

authorizer = DummyAuthorizer()
authorizer.add_anonymous(sys.argv[2], perm="elradfmwMT")


class Handler(FTPHandler):
    pass


Handler.authorizer = authorizer
logging.basicConfig(level=logging.WARNING)
server = FTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.max_cons = 100_000
server.serve_forever()
