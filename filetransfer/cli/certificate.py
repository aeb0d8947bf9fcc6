"""``filetransfer-certificate``: certificates for TLS at home, in one command.

Thin over :mod:`filetransfer.tls.authority`. What it prints is what to type next.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from filetransfer import __version__
from filetransfer.cli.console import printable
from filetransfer.cli.documented import DocumentedCommand
from filetransfer.errors import CertificateUnusable
from filetransfer.tls.authority import DEFAULT_DAYS, Authority
from filetransfer.tls.credentials import Credentials, read_certificates
from filetransfer.tls.pins import find_pin, write_pin
from filetransfer.tls.problems import describe_subject, list_names

PROGRAM = "filetransfer-certificate"
DEFAULT_DIRECTORY = "tls"
_SERVER = "server"

_directory = click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_DIRECTORY,
    show_default=True,
    help="Where certificates and keys are; made if it is missing.",
)
_days = click.option(
    "--days",
    type=click.IntRange(1, 36500),
    default=DEFAULT_DAYS,
    show_default=True,
    help="How long the certificate is valid.",
)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    no_args_is_help=True,
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
def certificate() -> None:
    """Make certificates for filetransfer over TLS, signed by an authority of your own.

    Who asks again for what is there has it renewed, with the same key and so the same pin; a daemon
    that runs takes the new one within ten seconds.
    """


@certificate.command(
    cls=DocumentedCommand,
    examples=[
        f"{PROGRAM} make --host nas.example --host 192.0.2.7",
        f"{PROGRAM} make --host nas.example --directory /etc/filetransfer",
    ],
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    default=lambda: [socket.gethostname()],
    show_default="this machine's name",
    help="A name or an address that clients call the server by; may be given several times.",
)
@_directory
@_days
def make(hosts: Sequence[str], directory: Path, days: int) -> None:
    """Make a certificate for a server, and the authority that signs it if there is none."""
    authority = Authority(directory)
    made = authority.sign_server(_SERVER, hosts, days)
    files = _Files(directory, _SERVER)
    _say(f"{files.certificate}: the server's certificate, until {_describe_end(made)}")
    _say(f"{files.key}: its private key; keep it to yourself")
    _say(f"{authority.certificate_file}: the authority that clients are to believe")
    _say("")
    _say("On the server:")
    _say(f"  twistd -n filetransfer {files.options} --interface ADDRESS")
    _say("On a client that has a copy of the authority's file:")
    _say(f"  ft-client --server tls://{hosts[0]} --ca-file {authority.certificate_file.name} help")
    _say("On a client that has no copy of anything:")
    _say(f"  ft-client --server tls://{hosts[0]} --pin {made.pin} help")


@certificate.command(cls=DocumentedCommand, examples=[f"{PROGRAM} client anna"])
@click.argument("name")
@_directory
@_days
def client(name: str, directory: Path, days: int) -> None:
    """Make a certificate for a client; NAME is who it is for the server."""
    authority = Authority(directory)
    made = authority.sign_client(name, days)
    files = _Files(directory, name)
    _say(f"{files.certificate}: the client's certificate, until {_describe_end(made)}")
    _say(f"{files.key}: its private key; give it to nobody else")
    _say("")
    _say("On the server, so that only clients with a certificate are served:")
    server = _Files(directory, _SERVER)
    _say(
        f"  twistd -n filetransfer {server.options} --client-ca {_quote(authority.certificate_file)}"
    )
    _say("On the client:")
    _say(
        f"  ft-client --server tls://HOST --ca-file {authority.certificate_file.name} {files.options} help"
    )


@certificate.command(cls=DocumentedCommand, examples=[f"{PROGRAM} show tls/server.pem"])
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def show(file: str) -> None:
    """Say what a certificate is for, how long, and what its pin is."""
    found = read_certificates(file)[0]
    names = list_names(found)
    _say(f"for: {', '.join(names) or describe_subject(found.subject)}")
    _say(f"from: {describe_subject(found.issuer)}")
    _say(f"until: {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC")
    _say(f"pin: {write_pin(find_pin(found))}")


class _Files:
    """A pair of files of the authority's directory, as they are typed."""

    def __init__(self, directory: Path, name: str) -> None:
        self.certificate = _quote(directory / f"{name}.pem")
        self.key = _quote(directory / f"{name}.key")
        self.options = f"--certificate {self.certificate} --private-key {self.key}"


def _quote(path: Path) -> str:
    return shlex.quote(os.fspath(path))


def _describe_end(made: Credentials) -> str:
    return f"{made.certificate.not_valid_after_utc:%Y-%m-%d}"


def _say(text: str) -> None:
    sys.stdout.write(printable(text) + "\n")


def main(arguments: Sequence[str] | None = None) -> Any:
    """Run ``filetransfer-certificate``, and exit."""
    try:
        certificate.main(arguments, PROGRAM, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    except (CertificateUnusable, ValueError, OSError) as error:
        sys.stderr.write(f"{PROGRAM}: {printable(str(error))}\n")
        sys.exit(1)
