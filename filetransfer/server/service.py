"""From settings to a running daemon: what ``twistd filetransfer`` runs.

twistd makes the service, then becomes a daemon, then starts it: nothing is opened, locked or started before
:meth:`Daemon.privilegedStartService`. Sockets are bound there, before privileges are dropped; the root is opened
after, so that what is made in it belongs to the user that serves it. What cannot be had is one line and status 1:
:class:`CannotServe`, which twistd lets through.
"""

from __future__ import annotations

import atexit
import errno
import ipaddress
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, cast

from twisted.application.service import Service
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import quoteStringArgument, serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThread
from twisted.logger import ILogObserver, Logger
from twisted.python.failure import Failure

from filetransfer.errors import CertificateUnusable, StoreUnavailable
from filetransfer.server.addresses import describe_address
from filetransfer.server.direct import send_directly
from filetransfer.server.drain import Drain
from filetransfer.server.factory import FEATURES, FileTransferFactory
from filetransfer.server.last_resort import LastResort
from filetransfer.server.limits import fit_connections
from filetransfer.server.logs import Log, RequestLog
from filetransfer.server.notify import Notifier
from filetransfer.server.polling import poll_plainly
from filetransfer.server.privileges import PrivilegesKept, drop_privileges
from filetransfer.server.process import raise_descriptor_limit, use_monotonic_clock
from filetransfer.server.sandbox import Places, confine_process, list_places
from filetransfer.server.settings import Options, Settings, TLSSettings, read_settings
from filetransfer.server.signals import Signals
from filetransfer.server.summaries import Summaries
from filetransfer.server.tls import ServerTLS
from filetransfer.store.directory import DirectoryStore, make_root
from filetransfer.store.interface import Commit
from filetransfer.wire.connection import ALPN

__all__ = ["Daemon", "Options", "makeService"]

MAX_THREADS = 16
"""Threads that open, read and write files for the reactor. The commit queue has its own."""

SWEEP_SECONDS = 1.0
LOOK_SECONDS = 10.0
"""How soon a renewed certificate is noticed."""
STALE_SECONDS = 3600.0
ENDING_SECONDS = 1.75
"""How long the end may take when nobody is waited for any more; 2 are promised."""
BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel's net.core.somaxconn bounds it as well. With Twisted's 50, an
honest peer in a crowd is not heard, and tries again a second later."""
PRIVATE_UMASK = 0o077

_log = Logger()


class CannotServe(SystemExit, Exception):
    """Why the daemon ends before it has begun: one line, and status 1.

    It is an Exception as well because a twistd that has become a daemon reports only those to the process that was
    typed, which waits for that report: for a plain SystemExit it would wait for ever.
    """


class Daemon(Service):
    """Serves one root on any number of sockets.

    Args:
        settings: what to serve, to whom and how.
        reactor: None for the one that twistd installed.
        confine: puts this process into its sandbox; not for a process that does anything else.

    Attributes:
        signals: tells of SIGHUP whoever asks to be told.
    """

    def __init__(
        self,
        settings: Settings,
        reactor: Any = None,
        confine: Callable[[Places], int] | None = None,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._settings = settings
        self._reactor: Any = reactor
        self._confine = confine
        self._ports: list[IListeningPort] = []
        self._tls_ports: list[IListeningPort] = []
        self._tls: ServerTLS | None = None
        self._drain: Drain | None = None
        self._repeated: list[LoopingCall] = []
        self._is_exiting = False
        self._last_resort = LastResort(self._tidy)
        self._umask = PRIVATE_UMASK
        self._descriptors = raise_descriptor_limit()
        fitting = fit_connections(settings.limits.max_connections, self._descriptors)
        self._factory = FileTransferFactory(
            Summaries(self._reactor),
            self._reactor,
            has_bare_summary=settings.summary == "bare",
            features=[*FEATURES, *(["durable"] if settings.durability == "full" else [])],
            limits=replace(settings.limits, max_connections=fitting),
            descriptors=self._descriptors,
        )
        self.signals = Signals(self._reactor, self.end)

    def setServiceParent(self, parent: Any) -> None:
        """Become part of twistd's application, and take over its log. Raises CannotServe when it cannot be written."""
        super().setServiceParent(parent)  # type: ignore[no-untyped-call]
        settings = self._settings
        if not settings.writes_log:
            return
        try:
            log = Log(settings.log_file, settings.log_format)
        except OSError as error:
            raise CannotServe(
                f"filetransfer: cannot write the log {settings.log_file!r}: {error.strerror}"
            ) from error
        parent.setComponent(ILogObserver, log)
        if settings.has_request_log:
            self._factory.request_log = RequestLog(log, settings.log_format, self._reactor)
        self.signals.on_reload(log.reopen)

    def privilegedStartService(self) -> None:
        """Listen. Raises CannotServe with one line when an address cannot be had."""
        self._notifier = Notifier()
        self.signals.on_reload(self._notifier.tell_reloading)
        if self._settings.tls is not None:
            self._prepare_tls(self._settings.tls)
        self._ports += self._listen_everywhere(self._settings, self._factory)
        if self._settings.tls is not None and self._tls is not None:
            factory = self._tls.wrap(self._factory)
            self._tls_ports += self._listen_everywhere(self._settings.tls, factory)
        self._ports += self._tls_ports

    def _prepare_tls(self, settings: TLSSettings) -> None:
        """Read the certificate, while we may read what only root may."""
        try:
            self._tls = ServerTLS(
                settings.certificate, settings.private_key, settings.client_ca, protocols=[ALPN]
            )
        except CertificateUnusable as error:
            raise CannotServe(f"filetransfer: {error}") from error
        self.signals.on_reload(self._tls.reload)

    def startService(self) -> None:
        """Give up what is not needed, open the root and serve. Raises CannotServe with one line when it cannot be."""
        self._drop_privileges()
        # Whatever it was started under: a umask that takes bits from the owner keeps a daemon that is not root from
        # opening what it has just made. What others may do is set by mode, file by file.
        self._umask = os.umask(PRIVATE_UMASK)
        try:
            self._open_store()
        except BaseException:
            os.umask(self._umask)
            raise
        super().startService()  # type: ignore[no-untyped-call]
        self.signals.install()
        self._reactor.suggestThreadPoolSize(MAX_THREADS)
        self._log_start()
        self._reactor.callWhenRunning(self._tell_ready)
        self._repeat(SWEEP_SECONDS, self._factory.sweep)
        if self._tls is not None:
            self._repeat(LOOK_SECONDS, self._tls.look)
        self._repeat(STALE_SECONDS, lambda: deferToThread(self._factory.store.remove_stale_uploads))

    def _open_store(self) -> None:
        settings = self._settings
        try:
            if not settings.is_read_only:
                make_root(
                    settings.root,
                    directory_mode=settings.directory_mode,
                    durability=settings.durability,
                )
            self._confine_process()
            self._factory.store = DirectoryStore(
                settings.root,
                read_only=settings.is_read_only,
                file_mode=settings.file_mode,
                directory_mode=settings.directory_mode,
                durability=settings.durability,
                on_committed=self._tell_of_batch,
            )
        except StoreUnavailable as error:
            raise CannotServe(f"filetransfer: {error}") from error

    def _repeat(self, seconds: float, act: Callable[[], Any]) -> None:
        """Call something again and again, until the service ends; what it raises is logged, and it goes on."""

        def act_safely() -> Deferred[Any]:
            return maybeDeferred(act).addErrback(
                lambda failure: _log.failure("a bug in what is done now and then", failure)
            )

        call = LoopingCall(act_safely)
        call.clock = self._reactor
        call.start(seconds, now=False)
        self._repeated.append(call)

    def end(self) -> None:
        """Drain, then end the process with status 0; a second call cuts what is still under way."""
        if self._drain is not None:
            self._last_resort.end_after(ENDING_SECONDS, 0)
            self._drain.cut()
            return
        drain_seconds = self._settings.drain_seconds
        _log.info("ending: what is under way has {seconds} s", seconds=drain_seconds)
        self._last_resort.end_after(drain_seconds + ENDING_SECONDS, 0)
        self._drain = Drain(self._reactor, self._factory)
        self._notifier.tell_stopping("draining")
        Deferred.fromCoroutine(self._drain_and_stop(self._drain))

    async def _drain_and_stop(self, drain: Drain) -> None:
        await self._close_ports()
        await drain.run(self._settings.drain_seconds)
        if not self._is_exiting:
            self._is_exiting = True
            self.signals.ignore()
            self._reactor.stop()

    def stopService(self) -> Deferred[None]:
        """Stop listening, cut the connections, finish what was handed to the store."""
        super().stopService()  # type: ignore[no-untyped-call]
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.signals.restore()
        for call in self._repeated:
            call.stop()
        self._notifier.tell_stopping("ending")
        await self._close_ports()
        await Drain(self._reactor, self._factory).unwind()
        self._factory.summaries.close()
        await deferToThread(self._factory.store.close)
        self._flush_requests()
        os.umask(self._umask)
        self._notifier.close()

    def _tidy(self) -> None:
        """Do what twistd and we would have done at an end in order, and cannot wait for a disk."""
        self._flush_requests()
        if self._settings.pid_file is not None:
            with suppress(FileNotFoundError):
                os.unlink(self._settings.pid_file)

    def _flush_requests(self) -> None:
        if self._factory.request_log is not None:
            self._factory.request_log.flush()

    async def _close_ports(self) -> None:
        while self._ports:
            await maybeDeferred(self._ports.pop().stopListening)

    def _tell_ready(self) -> None:
        """Hear signals, and tell whoever started us that they are heard."""
        # After whoever reloads something, all of whom have asked to be told by now.
        self.signals.on_reload(self._notifier.tell_ready)
        self.signals.install()
        self._notifier.tell_ready()
        period = self._notifier.watchdog_seconds
        if period is not None:
            # Twice as often as is asked for, so that one late turn is not taken for a hang.
            self._repeat(period / 2, self._notifier.tell_alive)

    def _drop_privileges(self) -> None:
        user = self._settings.user
        if user is None:
            if os.geteuid() == 0:
                _log.warn("running as root: give --user, or start it as another user")
            return
        try:
            drop_privileges(user, self._settings.group)
        except PrivilegesKept as error:
            raise CannotServe(f"filetransfer: cannot run as {user!r}: {error}") from error
        _log.info("running as uid {uid}, gid {gid}", uid=os.getuid(), gid=os.getgid())
        if not os.access(sys.executable, os.X_OK):
            _log.warn(
                "{user} cannot run {python}: SUMMARY will fail", user=user, python=sys.executable
            )

    def _confine_process(self) -> None:
        """Enter the sandbox: after the privileges are gone, and before the store has its threads."""
        if self._confine is None or not self._settings.has_landlock:
            return
        places = list_places(self._settings, [port.getHost() for port in self._ports])
        try:
            abi = self._confine(places)
        except OSError as error:
            raise CannotServe(
                f"filetransfer: Landlock fails here ({error.strerror}): give --no-landlock to do without"
            ) from error
        if abi:
            _log.info("confined by Landlock, ABI {abi}: {places}", abi=abi, places=places)
        else:
            _log.warn("not confined: this kernel has no Landlock")

    def _listen_everywhere(
        self, settings: Settings | TLSSettings, factory: IProtocolFactory
    ) -> list[IListeningPort]:
        """Listen where settings say; what listens before one of them fails is closed by the end of the program."""
        ports = []
        if settings.port is not None:
            ports += self._listen_on_port(settings.port, factory)
        for description in settings.endpoints:
            ports.append(self._listen(description, factory))
        return ports

    def _listen_on_port(self, port: int, factory: IProtocolFactory) -> list[IListeningPort]:
        interface = self._settings.interface
        if interface is not None:
            return [self._listen(_describe_endpoint(port, interface), factory)]
        first = self._listen(_describe_endpoint(port, "127.0.0.1"), factory)
        # With port 0 both families share the port that the first one was given.
        port = cast(IPv4Address, first.getHost()).port
        try:
            return [first, self._listen(_describe_endpoint(port, "::1"), factory)]
        except CannotServe as error:
            cause = error.__cause__
            if not isinstance(cause, CannotListenError) or cause.socketError.errno not in _NO_IPV6:
                raise
            _log.info("this machine has no IPv6: listening on 127.0.0.1 alone")
        return [first]

    def _listen(self, description: str, factory: IProtocolFactory) -> IListeningPort:
        try:
            endpoint = serverFromString(self._reactor, description)
        except (ValueError, LookupError, TypeError, AttributeError, RuntimeError) as error:
            raise CannotServe(
                f"filetransfer: {description!r} is not an endpoint to listen on: {_describe_fault(error)}"
            ) from error
        result: list[Any] = []
        endpoint.listen(factory).addBoth(result.append)
        if not result:
            raise CannotServe(
                f"filetransfer: {description!r} cannot be listened on at once, and so not at all"
            )
        if isinstance(result[0], Failure):
            cause = cast(Exception, result[0].value)
            raise CannotServe(
                f"filetransfer: cannot listen on {description}: {_describe_failure(cause)}"
            ) from cause
        port: IListeningPort = result[0]
        send_directly(port)
        return port

    def _tell_of_batch(self, commits: list[Commit]) -> None:
        """Bring a batch to the reactor in one hop. Called in a thread of the store's."""
        self._reactor.callFromThread(self._factory.tell_of_commits, commits)
        has_failed = self._factory.store.is_read_only and not self._settings.is_read_only
        if has_failed and self._settings.exits_on_disk_failure:
            self._reactor.callFromThread(self._exit)

    def _exit(self) -> None:
        """End the daemon with status 1; a second call does nothing."""
        if self._is_exiting:
            return
        self._is_exiting = True
        _log.critical("the disk failed for the second time: ending, as --exit-on-disk-failure says")
        self._last_resort.end_after(ENDING_SECONDS, 1)
        # twistd ends with 0 whenever the reactor was stopped, and knows no other way. Its pid file is gone by then.
        atexit.register(os._exit, 1)
        self._reactor.stop()

    def _log_start(self) -> None:
        settings = self._settings
        _log.info("serving {root}", root=os.path.abspath(settings.root))
        if settings.is_read_only:
            _log.info("read-only: PUT and CHANGE are refused")
        fitting = self._factory.limits.max_connections
        if fitting < settings.limits.max_connections:
            _log.warn(
                "at most {count} connections, not {wanted}: this process may open {descriptors} files",
                count=fitting,
                wanted=settings.limits.max_connections,
                descriptors=self._descriptors,
            )
        if settings.durability == "none":
            _log.warn("durability is none: uploads are answered before they are on disk")
        for port in self._ports:
            way = ", TLS" if port in self._tls_ports else ""
            _log.info(
                "listening on {address}{way}", address=describe_address(port.getHost()), way=way
            )
        open_ports = [port for port in self._ports if not self._asks_who_is_there(port)]
        addresses = [port.getHost() for port in open_ports]
        exposed = [describe_address(address) for address in addresses if _is_exposed(address)]
        if exposed:
            _log.warn(
                "there are no accounts: whoever can reach {addresses} can read{write} everything here",
                addresses=", ".join(exposed),
                write="" if settings.is_read_only else " and write",
            )

    def _asks_who_is_there(self, port: IListeningPort) -> bool:
        tls = self._settings.tls
        return tls is not None and tls.client_ca is not None and port in self._tls_ports


_NO_IPV6 = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def _describe_endpoint(port: int, interface: str) -> str:
    family = "tcp6" if ":" in interface else "tcp"
    return f"{family}:{port}:interface={quoteStringArgument(interface)}:backlog={BACKLOG}"


def _describe_fault(error: Exception) -> str:
    """Say what is wrong with an endpoint, where Twisted tells it by the kind of exception alone."""
    if isinstance(error, LookupError):
        return "systemd has given the daemon no such socket"
    if isinstance(error, RuntimeError):
        return "nothing stands behind the backslash at its end"
    return str(error)


def _describe_failure(error: Exception) -> str:
    if isinstance(error, CannotListenError):
        reason = error.socketError
        if getattr(reason, "errno", None) == errno.EADDRINUSE:
            return "another program listens there already; end it, or choose another --port"
        return getattr(reason, "strerror", None) or str(reason)
    # Of a UNIX socket in a directory that is missing: what else there is to say speaks of its lock.
    return getattr(error, "strerror", None) or str(error)


def _is_exposed(address: object) -> bool:
    if not isinstance(address, (IPv4Address, IPv6Address)):
        return False
    return not ipaddress.ip_address(address.host.partition("%")[0]).is_loopback


def makeService(options: Options) -> Daemon:
    """Make the service that twistd runs."""
    from twisted.internet import reactor

    use_monotonic_clock(reactor)
    poll_plainly(reactor)
    return Daemon(read_settings(options), reactor, confine_process)
