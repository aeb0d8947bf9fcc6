"""twisted.protocols.ftp, for one user that may write.

python twisted_ftp_server.py PORT DIRECTORY USER PASSWORD
"""

import sys

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import fail, succeed
from twisted.protocols.ftp import FTPFactory, FTPShell, IFTPShell
from twisted.python.filepath import FilePath
from zope.interface import implementer


@implementer(IRealm)
class Realm:
    def requestAvatar(self, avatar, mind, *interfaces):  # noqa: N802 - so Twisted calls it
        return IFTPShell, FTPShell(FilePath(sys.argv[2])), lambda: None


@implementer(ICredentialsChecker)
class Checker:
    """Twisted's own checkers want octets, its FTP server gives text."""

    credentialInterfaces = (IUsernamePassword,)  # noqa: N815 - so Twisted calls it

    def requestAvatarId(self, credentials):  # noqa: N802 - so Twisted calls it
        if [credentials.username, credentials.password] == sys.argv[3:5]:
            return succeed(credentials.username)
        return fail(UnauthorizedLogin())


factory = FTPFactory(Portal(Realm(), [Checker()]))
reactor.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1")
reactor.run()
