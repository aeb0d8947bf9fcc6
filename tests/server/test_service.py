"""From settings to sockets, in this process: what is listened on, and how what cannot be is said."""

import errno
import gc
import os
import warnings
from pathlib import Path
from typing import Any

import pytest
from doubles import DONE, HELP, HELP_REPLY, Log, put
from reactors import run
from serving import reactor, serve, until
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import globalLogPublisher

from filetransfer.server import service
from filetransfer.server.addresses import describe_address
from filetransfer.server.exchange import Exchange
from filetransfer.server.service import PRIVATE_UMASK, CannotServe, Daemon
from filetransfer.server.settings import Settings
from filetransfer.store.interface import Commit
from filetransfer.wire.messages import Put, Response


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "127.0.0.1", 9000), "127.0.0.1:9000"),
        (IPv6Address("TCP", "::1", 9000), "[::1]:9000"),
        (UNIXAddress(b"/run/a\nb"), r"unix:'/run/a\nb'"),
        (UNIXAddress(None), "unix:''"),
    ],
)
def test_addresses_are_written_as_people_write_them(address: object, text: str) -> None:
    assert describe_address(address) == text


def test_other_addresses_are_written_somehow() -> None:
    assert "there" in describe_address(HostnameAddress(b"there", 1))


def refuse(**settings: Any) -> str:
    """Start a daemon that cannot listen; gives its one line."""
    daemon = Daemon(Settings(**settings), reactor)
    with pytest.raises(CannotServe) as refused:
        daemon.privilegedStartService()
    # twistd lets it through as an end of the program, and tells whoever waits as of an exception.
    assert isinstance(refused.value, SystemExit)
    assert isinstance(refused.value, Exception)
    line = str(refused.value.code)
    del refused, daemon
    with warnings.catch_warnings():
        # Twisted leaves sockets to the collector that it could not bind.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()
    assert line.startswith("filetransfer: ")
    assert "\n" not in line
    return line


@pytest.mark.parametrize(
    "description",
    [
        "",
        ":",
        "nonsense",
        "nonsense:1",
        "tcp:",
        "tcp:port",
        "tcp:99999",
        "tcp:-1",
        "tcp:1:nonsense=2",
        "tcp:1:interface=192.0.2.7",
        "tcp6:1:interface=nonsense",
        "unix:",
        "unix:/no/such/directory/socket",
        "unix:/" + "x" * 200,
        "systemd:domain=INET:index=0",
        "systemd:domain=INET:name=none",
        "systemd:domain=INET",
        "systemd:domain=NONSENSE:index=0",
        "systemd:index=x:domain=INET",
        "fd:99",
        "unix:backslash\\",
        "\x00",
        "tcp:1\n2",
    ],
)
def test_endpoint_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, description: str
) -> None:
    # Twisted locks the path of a socket before it binds it, here some in the working directory.
    monkeypatch.chdir(tmp_path)
    assert repr(description)[1:-1] in refuse(port=None, endpoints=(description,))


@pytest.mark.parametrize("socket", ["index=0", "name=none"])
def test_socket_that_systemd_has_not_given(socket: str) -> None:
    line = refuse(port=None, endpoints=(f"systemd:domain=INET:{socket}",))
    assert line.endswith("systemd has given the daemon no such socket")


@pytest.mark.parametrize("interface", ["192.0.2.7", "2001:db8::7", "no such host", "::1%nonsense"])
def test_interface_that_is_not_ours(interface: str) -> None:
    refuse(port=0, interface=interface)


class Endpoint:
    """Listens with this result."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def listen(self, factory: object) -> Any:
        return self._result


def test_endpoint_of_an_unknown_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """As systemd:domain=NONSENSE:index=0 where systemd has given a socket."""
    monkeypatch.setattr(service, "serverFromString", lambda *_: vars(os)["AF_NONSENSE"])
    refuse(port=None, endpoints=("systemd:",))
    monkeypatch.setattr(service, "serverFromString", lambda *_: os.AF_NONSENSE)  # type: ignore[attr-defined]
    refuse(port=None, endpoints=("systemd:",))


def test_endpoint_that_fails_in_another_way(monkeypatch: pytest.MonkeyPatch) -> None:
    failed: Deferred[None] = Deferred()
    failed.errback(ValueError("no such thing"))
    monkeypatch.setattr(service, "serverFromString", lambda *_: Endpoint(failed))
    assert refuse(port=None, endpoints=("odd:",)).endswith("odd:: no such thing")


def test_endpoint_that_takes_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    never: Deferred[None] = Deferred()
    monkeypatch.setattr(service, "serverFromString", lambda *_: Endpoint(never))
    assert "at once" in refuse(port=None, endpoints=("slow:",))


def listen_without_ipv6(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let listening on ::1 fail."""
    listen = service.serverFromString

    def listen_or_fail(reactor: Any, description: str) -> Any:
        endpoint = listen(reactor, description)
        if description.startswith("tcp6:"):
            failed = CannotListenError("::1", 0, OSError(number, os.strerror(number)))
            deferred: Deferred[None] = Deferred()
            deferred.errback(failed)
            return Endpoint(deferred)
        return endpoint

    monkeypatch.setattr(service, "serverFromString", listen_or_fail)


@pytest.mark.parametrize("number", [errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT])
def test_machine_without_ipv6(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    listen_without_ipv6(monkeypatch, number)

    async def work() -> None:
        async with serve(tmp_path / "root", interface=None) as serving:
            assert await serving.ask(HELP) == HELP_REPLY
            assert any("no IPv6" in line for line in serving.log.lines)

    run(work())


def test_ipv6_that_fails_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    listen_without_ipv6(monkeypatch, errno.EADDRINUSE)
    daemon = Daemon(Settings(port=0), reactor)
    with pytest.raises(CannotServe, match="choose another --port"):
        daemon.privilegedStartService()


def test_root_that_cannot_be_served(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    daemon = Daemon(Settings(root=str(tmp_path / "file")), reactor)
    before = read_umask()
    assert before != PRIVATE_UMASK
    with pytest.raises(CannotServe, match="file"):
        daemon.startService()
    # Whoever goes on with this process does not inherit it.
    assert read_umask() == before


def test_a_bug_in_answering_a_commit_leaves_the_others_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = Exchange.answer

    def answer(self: Exchange, response: Response, octets: bytes = b"") -> None:
        if isinstance(self.request, Put) and self.request.path == "bad":
            raise ZeroDivisionError
        finish(self, response, octets)

    monkeypatch.setattr(Exchange, "answer", answer)

    async def work() -> None:
        async with serve(tmp_path / "root") as serving:
            first = await serving.call()
            first.send(put("bad", b"1"))
            await until(lambda: bool(serving.log.failures))
            second = await serving.call()
            second.send(put("b", b"1") + HELP)
            answers = await second.receive(len(DONE + HELP_REPLY))
            assert answers == DONE + HELP_REPLY
            assert [type(each) for each in serving.log.failures] == [ZeroDivisionError]

    run(work())


@pytest.mark.parametrize(
    ("settings", "is_exposed"),
    [
        ({"interface": "127.0.0.1"}, False),
        ({"interface": "127.8.9.10"}, False),
        ({"interface": "0.0.0.0"}, True),
        ({"port": None, "endpoints": ("unix:socket",)}, False),
    ],
)
def test_exposed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], is_exposed: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    log = Log()
    globalLogPublisher.addObserver(log)

    async def work() -> None:
        daemon = Daemon(Settings(**{"port": 0} | settings), reactor)
        daemon.privilegedStartService()
        daemon.startService()
        await daemon.stopService()

    try:
        run(work())
    finally:
        globalLogPublisher.removeObserver(log)
    assert sum("no accounts" in line for line in log.lines) == is_exposed


def test_factory_of_commits_is_what_the_store_calls() -> None:
    """A commit that nobody waits for is no bug."""
    assert Commit().done(None) is None


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_umask_that_the_daemon_was_started_under(tmp_path: Path, umask: int) -> None:
    root = tmp_path / "root"

    async def work() -> None:
        async with serve(root, file_mode=0o644, directory_mode=0o755) as serving:
            assert await serving.ask(put("small", b"1") + put("bulk", bytes(100_000))) == DONE * 2
            assert read_umask() == 0o077

    before = os.umask(umask)
    try:
        run(work())
        assert read_umask() == umask
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (root, *root.glob("[!.]*"))}
    assert modes == {"root": 0o755, "small": 0o644, "bulk": 0o644}


def read_umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask
