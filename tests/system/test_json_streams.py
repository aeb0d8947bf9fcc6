"""What every command writes with --json, against what docs/ft-client.rst says of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from programs import REPOSITORY, ft_client
from running import Daemon

_TERMS = re.compile(r"^(``\w+``(?:, ``\w+``)*)\n((?:    .*\n)+)", re.MULTILINE)
_WORD = re.compile(r"``(\w+)``")


def read_page() -> dict[str, set[str]]:
    """Give what the page names, by the kinds of lines and of actions: a few words of it are no keys."""
    text = (REPOSITORY / "docs" / "ft-client.rst").read_text()
    section = text.partition("\nFor programs\n")[2].partition("\nTrees and sync\n")[0]
    named: dict[str, set[str]] = {}
    for terms, definition in _TERMS.findall(section):
        for term in _WORD.findall(terms):
            named.setdefault(term, set()).update(_WORD.findall(definition))
    return named


COMMANDS = [
    "put a b nothing",
    "put -r d",
    "get a",
    "get -r d",
    "cp a :d/a",
    "cp -r :d :e",
    "ls -R",
    "stat a d",
    "change a c",
    "mkdir f",
    "rm f nothing",
    "digest c b",
    "digest --check sums",
    "summary c",
    "sync d :d",
    "rm -r e",
    "cp a :e/a --parents",
    "sync -n --delete d :e",
    "sync --check :d d",
    "sync --delete :d d",
    "info",
    "help",
    "help put",
    "version",
    "config show",
    "completion fish",
]


def test_every_stream(daemon: Daemon, tmp_path: Path) -> None:
    page = read_page()
    (tmp_path / "d" / "empty").mkdir(parents=True)
    for name in ("a", "b", "d/x", "d/y"):
        (tmp_path / name).write_text("1 2 3")
    (tmp_path / "d" / "link").symlink_to("x")
    (tmp_path / "sums").write_text(f"{64 * '0'}  b\n")
    seen = set()
    for command in COMMANDS:
        ran = ft_client("--json", *command.split(), cwd=tmp_path, server=f"127.0.0.1:{daemon.port}")
        begun, *items, ended = [json.loads(line) for line in ran.output.splitlines()]
        assert set(begun) == page["start"] | {"type"}
        assert begun["command"] == command.split()[0]
        assert set(ended) - {"unchanged", "skipped"} == {
            *("type", "exit_code", "status", "done", "failed", "octets", "seconds")
        }
        assert set(ended) <= page["summary"] | {"type"}
        assert ended["exit_code"] == ran.status
        assert [item["ok"] for item in items].count(False) == ended["failed"]
        for item in items:
            assert item["type"] == "item"
            known = {"type", "ok", "action", "subject"}
            known |= page[item["action"]] if item["ok"] else {"error"}
            assert set(item) <= known, item
            seen.add(item["action"])
    assert {*page} - seen <= {*("start", "progress", "item", "summary")}, {*page} - seen
