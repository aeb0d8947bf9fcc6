"""What the options say about TLS: whether it is spoken, whom to believe, what to show."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from filetransfer.cli.console import PROGRAM, printable
from filetransfer.cli.options import Chosen
from filetransfer.cli.values import Server

if TYPE_CHECKING:
    from filetransfer.client.trust import Trust

_ABOUT_TLS = ("ca_file", "pin", "trust_on_first_use", "certificate", "private_key")


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
    """

    is_tls: bool = False
    is_said: bool = False
    ca_file: str | None = None
    pins: tuple[str, ...] = ()
    trusts_first_use: bool = False
    certificate: str | None = None
    private_key: str | None = None

    def choose_trust(self, server: Server) -> Trust | None:
        """Give whom to believe; None to speak in the clear.

        Raises:
            Untrusted: the server was reached over TLS before, and nobody has said to do without.
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
            known=KnownServers(find_state_directory()),
            believes_first_key=self.trusts_first_use,
            tell=_tell,
        )


def read_trust_settings(chosen: Mapping[str, Chosen]) -> TrustSettings:
    """Give what was said. Raises ValueError when it does not go together."""
    values = {name: chosen[name].value for name in _ABOUT_TLS}
    said: bool | None = chosen["tls"].value
    wants_tls = chosen["server"].value.is_tls or any(values.values())
    if wants_tls and said is False:
        raise ValueError("--no-tls goes neither with tls:// nor with whom to believe over TLS")
    if values["private_key"] and not values["certificate"]:
        raise ValueError("--private-key goes with --certificate")
    return TrustSettings(
        is_tls=said or wants_tls,
        is_said=said is not None,
        ca_file=values["ca_file"],
        pins=values["pin"] or (),
        trusts_first_use=values["trust_on_first_use"],
        certificate=values["certificate"],
        private_key=values["private_key"],
    )


def _refuse_known(server: Server) -> None:
    # Read by itself: those who never speak TLS need not wait for its modules.
    from filetransfer.client.known import KnownServers, find_state_directory
    from filetransfer.errors import Untrusted

    known = KnownServers(find_state_directory())
    if known.has_host(server.host):
        raise Untrusted(
            f"{server.host} was reached over TLS before, and is not spoken to in the clear: name it "
            f"tls://{server.host}, or say --no-tls"
        )


def _tell(text: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")
