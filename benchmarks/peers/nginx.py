"""nginx with its DAV module, and curl."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.peers.peer import Command, CommandPeer, make_certificate, require_program
from benchmarks.wires.http import HttpWire
from benchmarks.wires.tls import HttpsWire

_SETTINGS = """\
{user}
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {scratch}/pid;
error_log {scratch}/error.log;
events {{ worker_connections 16384; multi_accept on; }}
http {{
    access_log off;
    default_type application/octet-stream;
    sendfile on;
    tcp_nopush on;
    tcp_nodelay on;
    keepalive_timeout 3600;
    keepalive_requests 1000000000;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {root}/.nginx;
    server {{
        listen 127.0.0.1:{port} backlog=4096{listening};
        root {root};
        location / {{ dav_methods PUT; }}
    }}
}}
"""


class NginxPeer(CommandPeer):
    """One worker; bodies go to a temporary file on the same file system and are renamed."""

    name = "nginx"
    package = "nginx-light"
    programs = ("nginx",)
    tool = "curl"
    batch_tool = "curl --parallel"
    tool_programs = ("curl",)

    def list_arguments(self) -> Sequence[str | Path]:
        settings = self.scratch / "nginx.conf"
        user = "user root;" if os.geteuid() == 0 else ""
        settings.write_text(
            _SETTINGS.format(
                user=user,
                scratch=self.scratch,
                root=self.root,
                port=self.port,
                listening=self.list_listening(),
            )
        )
        error_log = self.scratch / "error.log"
        return [require_program("nginx"), "-c", settings, "-e", error_log, "-p", self.scratch]

    def list_listening(self) -> str:
        """Give what its settings say behind the port."""
        return ""

    def open_wire(self) -> HttpWire:
        return HttpWire(self.port)

    def fetch_one(self, name: str, destination: Path) -> Command:
        return self._curl("-o", destination, f"{self._url}/{name}")

    def store_one(self, source: Path, name: str) -> Command:
        return self._curl("-T", source, f"{self._url}/{name}")

    def fetch_many(self, names: Sequence[str], destination: Path) -> Command:
        list_of_urls = self.scratch / "fetch"
        list_of_urls.write_text(
            "".join(f'url = "{self._url}/{name}"\noutput = "{name}"\n' for name in names)
        )
        return self._curl(*self._parallel(list_of_urls), directory=destination)

    def store_many(self, source: Path, names: Sequence[str]) -> Command:
        list_of_urls = self.scratch / "store"
        list_of_urls.write_text(
            "".join(f'upload-file = "{name}"\nurl = "{self._url}/{name}"\n' for name in names)
        )
        return self._curl(*self._parallel(list_of_urls), directory=source)

    def _parallel(self, list_of_urls: Path) -> Sequence[str | Path]:
        return ["--parallel", "--parallel-max", "8", "-K", list_of_urls]

    def _curl(self, *words: str | Path, directory: Path | None = None) -> Command:
        return Command(["curl", "--silent", "--show-error", "--fail", *words], directory)

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class NginxTlsPeer(NginxPeer):
    """The same over TLS."""

    def list_listening(self) -> str:
        certificate, key = make_certificate(self.scratch)
        return f" ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"

    def open_wire(self) -> HttpsWire:
        return HttpsWire(self.port)
