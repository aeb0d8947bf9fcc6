"""Where settings are from: options, the environment, profiles, defaults."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from plain_servers import PlainServer
from programs import Ran, ft_client

from filetransfer.cli.options import EnvironmentOption, find_variable
from filetransfer.cli.program import ft_client as program


@pytest.fixture
def server() -> Iterator[PlainServer]:
    with PlainServer() as server:
        yield server


class Home:
    """A directory with a settings file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "ft-client" / "config.toml"
        self.file.parent.mkdir()

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def run(self, *arguments: str, **variables: Any) -> Ran:
        variables["XDG_CONFIG_HOME"] = str(self.directory)
        return ft_client(*arguments, cwd=self.directory, **variables)

    def show(self, *arguments: str, **variables: str) -> dict[str, tuple[object, str]]:
        """Give each setting and where it is from."""
        ran = self.run("config", "show", "--json", *arguments, **variables)
        assert (ran.status, ran.errors) == (0, "")
        lines = [json.loads(line) for line in ran.output.splitlines()]
        items = [line for line in lines if line["type"] == "item"]
        return {item["setting"]: (item.get("value"), item["source"]) for item in items}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


PROFILES = """\
default-profile = "home"

[profiles.home]
server = "home.example"
timeout = 7

[profiles.work]
server = "work.example:1"
retry = 0
limit-rate = "1M"
require = ["durable"]
verbose = true
"""


def test_the_nearest_source_wins(home: Home) -> None:
    home.write(PROFILES)
    where = f"of {home.file}"
    shown = home.show()
    assert shown["server"] == ("home.example", f"profile home, line 4 {where}")
    assert shown["timeout"] == (7.0, f"profile home, line 5 {where}")
    assert shown["retry"] == (2, "default")
    assert shown["profile"] == ("home", f"default-profile, line 1 {where}")
    shown = home.show("--profile", "work")
    assert shown["server"] == ("work.example:1", f"profile work, line 8 {where}")
    assert shown["retry"] == (0, f"profile work, line 9 {where}")
    assert shown["limit-rate"] == (1024 * 1024, f"profile work, line 10 {where}")
    assert shown["require"] == (["durable"], f"profile work, line 11 {where}")
    assert shown["verbose"] == (True, f"profile work, line 12 {where}")
    assert shown["timeout"] == (60.0, "default")
    assert home.show(FT_PROFILE="work")["profile"] == ("work", "environment FT_PROFILE")
    shown = home.show("--profile", "work", FT_RETRY="5", FT_TIMEOUT="3")
    assert shown["profile"] == ("work", "option --profile")
    assert shown["retry"] == (5, "environment FT_RETRY")
    assert shown["timeout"] == (3.0, "environment FT_TIMEOUT")
    shown = home.show("--retry", "6", FT_RETRY="5", FT_PROFILE="work")
    assert shown["retry"] == (6, "option --retry")
    assert shown["limit-rate"][1].startswith("profile work, ")


@pytest.mark.parametrize("default", ["", 'default-profile = "home"\n'])
def test_a_profile_may_be_chosen_before_the_command(
    home: Home, server: PlainServer, default: str
) -> None:
    home.write(
        f"{default}[profiles.home]\nserver = 'localhost:1'\nretry = 0\n"
        f"[profiles.work]\nserver = '{server.address}'\nexclude = ['*.tmp']\n"
    )
    assert home.run("--profile", "work", "help").status == 0
    assert home.run("--profile", "work", "--profile", "home", "help").status == 5
    assert home.run("--profile", "work", "help", "--profile", "home").status == 5
    assert home.run("--profile", "home", "help", FT_PROFILE="work").status == 5
    ran = home.run("--profile", "work", "config", "show")
    for line in (f'server = "{server.address}"', 'exclude = ["*.tmp"]', "retry = 2"):
        assert f"\n{line} " in ran.output
    ran = home.run("--profile", "work", "--retry", "4", "shell", "-", given=b"config show\n")
    for line in (f'server = "{server.address}"', 'exclude = ["*.tmp"]', "retry = 4"):
        assert f"\n{line} " in ran.output


def test_what_is_wrong_in_the_environment_is_said_to_be_there(home: Home) -> None:
    ran = home.run("help", FT_TIMEOUT="soon")
    assert ran.status == 2
    assert "for FT_TIMEOUT (environment): 'soon' is not a number of seconds above 0" in ran.errors
    assert "for '--timeout': " in home.run("help", "--timeout", "nan").errors


def test_options_of_files_and_trees_are_shown_too(home: Home) -> None:
    home.write("default-profile = 'p'\n[profiles.p]\nconnections = 4\nfollow = true\n")
    shown = home.show(FT_FOLLOW="0", FT_PRESERVE="1")
    assert shown["connections"] == (4, f"profile p, line 3 of {home.file}")
    assert shown["follow"] == (False, "environment FT_FOLLOW")
    assert shown["preserve"] == (True, "environment FT_PRESERVE")
    assert shown["durability"] == ("full", "default")


def test_settings_are_shown_to_people(home: Home) -> None:
    home.write(PROFILES)
    ran = home.run("config", "show")
    lines = ran.output.splitlines()
    assert (
        f'server = "home.example"                  # profile home, line 4 of {home.file}' in lines
    )
    assert "retry = 2                                # default" in lines


def test_options_may_stand_before_the_command_or_after_it(home: Home) -> None:
    for arguments in (["--retry", "9", "config", "show"], ["config", "show", "--retry", "9"]):
        assert "retry = 9  " in home.run(*arguments).output
    ran = home.run("--retry", "8", "config", "show", "--retry", "9")
    assert "retry = 9  " in ran.output
    ran = home.run("--retry", "8", "config", "show", FT_RETRY="7")
    assert "retry = 8  " in ran.output


def test_a_flag_outweighs_what_excludes_it_farther_away(home: Home) -> None:
    home.write('default-profile = "p"\n[profiles.p]\nquiet = true\nipv4 = true\n')
    assert home.run("config", "show", "-v").status == 0
    assert home.run("config", "show", "-v", FT_QUIET="1").status == 0
    assert home.run("config", "show", FT_VERBOSE="1").status == 0
    ran = home.run("config", "show", "-4", "-6")
    assert ran.status == 2
    assert "--ipv4 and --ipv6 exclude each other" in ran.errors


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[profiles.p]\nsrever = 'a'\n", ", line 2: srever: there is no such option"),
        (
            "[profiles.p]\n\ntimeout = 'soon'\n",
            ", line 3: timeout: 'soon' is not a number of seconds",
        ),
        ("[profiles.p]\ntimeout = 0\n", ", line 2: timeout: 0 is not a number of seconds above 0"),
        ("[profiles.p]\nrequire = [\n'x'\n]\n", ", line 4: require: 'x' is not one of"),
        ("[profiles.p]\ntimeout = true\n", ", line 2: timeout: True is not a number of seconds"),
        ("[profiles.p]\nretry = 1.5\n", ", line 2: retry: 1.5 is not a whole number"),
        ("[profiles.p]\nretry = -1\n", ", line 2: retry: -1 is less than 0"),
        ("[profiles.p]\nconnections = 65\n", ", line 2: connections: 65 is more than 64"),
        ("[profiles.p]\nrequire = 5\n", ", line 2: require: "),
        ("[profiles.p]\nprofile = 'q'\n", ", line 2: profile: there is no such option"),
        ("timeout = 1\n[profiles.p]\n", ", line 1: timeout: there is no such setting"),
        ("[profiles]\np = 1\n", ", line 2: p: options belong in [profiles.p]"),
        ("default-profile = 3\n", ", line 1: default-profile: a name is expected"),
        ("profiles = 3\n", ", line 1: profiles: a table is expected"),
        ("\ndefault-profile = 'x'\n[profiles.p]\n", ", line 2: there is no profile 'x'"),
        ("[profiles.p]\nserver = \n", "at line 2, column 10"),
        ("[profiles.p]\nretry = 1\nretry = 2\n", "at line 3, column"),
    ],
)
def test_a_mistake_in_the_file_is_refused_with_its_line(home: Home, text: str, fault: str) -> None:
    home.write(text)
    profile = [] if "default-profile" in text else ["--profile", "p"]
    ran = home.run(*profile, "help")
    assert ran.status == 2
    assert ran.output == ""
    [line] = ran.errors.splitlines()
    assert line.startswith(f"ft-client: {home.file}")
    assert fault in line


def test_a_file_that_cannot_be_read(home: Home) -> None:
    home.file.mkdir()
    ran = home.run("help")
    assert ran.status == 2
    assert f"{home.file}: Is a directory" in ran.errors
    home.file.rmdir()
    home.file.write_bytes(b"\xff")
    assert home.run("help").status == 2


def test_a_profile_that_is_none(home: Home) -> None:
    ran = home.run("--profile", "x", "help")
    assert ran.status == 2
    assert f"there is no profile 'x' in {home.file}" in ran.errors
    home.write("[profiles.p]\n")
    assert home.run("--profile", "x", "help").status == 2


def test_a_profile_is_used(home: Home, server: PlainServer) -> None:
    home.write(
        f'default-profile = "p"\n[profiles.p]\nserver = "{server.address}"\nverbose = true\n'
    )
    (home.directory / "a").write_bytes(b"x")
    ran = home.run("put", "a")
    assert (ran.status, ran.errors) == (0, "a -> a: 1 octets\n")


def test_every_option_can_be_given_in_the_environment() -> None:
    context = click.Context(program)
    seen = set()
    pending: list[click.Command] = [program]
    while pending:
        command = pending.pop()
        if isinstance(command, click.Group):
            found = [command.get_command(context, name) for name in command.list_commands(context)]
            pending += [each for each in found if each is not None]
        for each in command.params:
            if isinstance(each, click.Option) and each.name != "version":
                assert isinstance(each, EnvironmentOption), (command.name, each.name)
                assert each.envvar == find_variable(each)
                seen.add(each.envvar)
    assert {"FT_SERVER", "FT_AS", "FT_OUTPUT", "FT_DURABILITY", "FT_JSON"} <= seen
