"""What the options say about TLS: whether it is spoken, whom to believe, what to show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filetransfer.cli.console import PROGRAM, printable, write_message
from filetransfer.cli.options import Chosen
from filetransfer.cli.values import DEFAULT_PORT, Server

if TYPE_CHECKING:
    from filetransfer.client.trust import Trust

_ABOUT_TLS = ("ca_file", "pin", "trust_on_first_use", "certificate", "private_key")
_ABOUT_KEYS = ("private_key", "passphrase_file", "passphrase_command")


@dataclass(frozen=True, slots=True)
class TrustSettings:
    """What was said.

    Attributes:
        is_tls: whether TLS is spoken.
        is_said: whether that was said, by an option or by the server's name.
        ca_file: of authorities, in PEM.
        pins: of the server's key.
        trusts_first_use: whether to believe a server that is not known.
        certificate: our own, a file of PEM.
        private_key: of the certificate, a file of PEM.
        passphrase_file: that its passphrase is in.
        passphrase_command: that prints it.
    """

    is_tls: bool = False
    is_said: bool = False
    ca_file: str | None = None
    pins: tuple[str, ...] = ()
    trusts_first_use: bool = False
    certificate: str | None = None
    private_key: str | None = None
    passphrase_file: str | None = None
    passphrase_command: str | None = None

    def choose_trust(self, server: Server) -> Trust | None:
        """Give whom to believe; None to speak in the clear.

        Raises:
            Untrusted: the server was reached over TLS before, and nobody has said to do without.
            CertificateUnusable: the passphrase of the private key cannot be had.
            OSError: what was remembered cannot be read.
        """
        if not self.is_tls:
            if not self.is_said:
                _refuse_known(server)
            return None
        from filetransfer.client.known import KnownServers, find_state_directory
        from filetransfer.client.trust import Trust
        from filetransfer.tls.pins import read_pin

        return Trust(
            ca_file=self.ca_file,
            pins=tuple(map(read_pin, self.pins)),
            certificate=self.certificate,
            private_key=self.private_key,
            passphrase=self._find_passphrase(),
            known=KnownServers(find_state_directory()),
            believes_first_key=self.trusts_first_use,
            tell=_tell,
        )

    def _find_passphrase(self) -> bytes | None:
        from filetransfer.cli.passphrases import find_passphrase

        if self.certificate is None:
            return None
        return find_passphrase(self.passphrase_file, self.passphrase_command)


def read_trust_settings(chosen: Mapping[str, Chosen]) -> TrustSettings:
    """Give what was said. Raises ValueError when it does not go together."""
    values = {name: chosen[name].value for name in _ABOUT_TLS}
    said: bool | None = chosen["tls"].value
    wants_tls = chosen["server"].value.is_tls or any(values.values())
    if wants_tls and said is False:
        raise ValueError("--no-tls goes neither with tls:// nor with whom to believe over TLS")
    about_keys = {name: chosen[name].value for name in _ABOUT_KEYS}
    for name, value in about_keys.items():
        if value and not values["certificate"]:
            raise ValueError(f"--{name.replace('_', '-')} goes with --certificate")
    if about_keys["passphrase_file"] and about_keys["passphrase_command"]:
        raise ValueError("--passphrase-file and --passphrase-command exclude each other")
    return TrustSettings(
        is_tls=said or wants_tls,
        is_said=said is not None,
        ca_file=values["ca_file"],
        pins=values["pin"] or (),
        trusts_first_use=values["trust_on_first_use"],
        certificate=values["certificate"],
        private_key=values["private_key"],
        passphrase_file=about_keys["passphrase_file"],
        passphrase_command=about_keys["passphrase_command"],
    )


def _refuse_known(server: Server) -> None:
    # Read by itself: those who never speak TLS need not wait for its modules.
    from filetransfer.client.known import KnownServers, find_state_directory
    from filetransfer.errors import Untrusted

    known = KnownServers(find_state_directory())
    if known.forbids_clear(server.host, server.port or DEFAULT_PORT):
        raise Untrusted(
            f"{server.host} was reached over TLS before, and is not spoken to in the clear: name it "
            f"tls://{server.host}, or say --no-tls"
        )


def _tell(text: str) -> None:
    write_message(f"{PROGRAM}: {printable(text)}")
