"""Profiles: settings under a name, in ``$XDG_CONFIG_HOME/ft-client/config.toml``.

    default-profile = "work"          # when no profile is named

    [profiles.work]
    server = "files.example.org"      # keys are the long names of options
    timeout = 30

A file that cannot be understood is refused whole, with the line: a misspelt key that is skipped would let a script run
with settings that nobody chose.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from filetransfer.cli.console import PROGRAM

_DEFAULT = "default-profile"
_TABLE = "profiles"


def find_settings_file() -> Path:
    """Give the path of the settings file; it need not exist."""
    home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / PROGRAM / "config.toml"


class Profile:
    """Some settings under a name.

    Args:
        name: empty for no profile at all.
        values: from an option's long name to what the file says.
        profiles: where it is from.
    """

    def __init__(self, name: str, values: Mapping[str, Any], profiles: Profiles) -> None:
        self.name = name
        self.values = values
        self._profiles = profiles

    def find_line(self, key: str) -> int:
        """Give the line, from 1, on which a value ends."""
        return self._profiles.find_line([_TABLE, self.name, key])

    def fault(self, key: str, text: str) -> ValueError:
        """Give the error that says what is wrong with a value."""
        return self._profiles.fault([_TABLE, self.name, key], f"{key}: {text}")


class Profiles:
    """The settings file.

    Args:
        path: of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._text = ""

    def choose(self, name: str | None) -> Profile:
        """Give the profile of a name, or the default one.

        Args:
            name: None for the one that the file says, if any.

        Raises:
            ValueError: there is none of that name, or the file cannot be read or understood.
        """
        settings = self._read()
        tables = settings.get(_TABLE, {})
        where = [_TABLE]
        if name is None and _DEFAULT in settings:
            name, where = settings[_DEFAULT], [_DEFAULT]
        if name is None:
            return Profile("", {}, self)
        if name not in tables:
            text = f"there is no profile {name!r}"
            raise (
                self.fault(where, text)
                if where == [_DEFAULT]
                else ValueError(f"{text} in {self.path}")
            )
        return Profile(name, tables[name], self)

    def find_default_line(self) -> int:
        """Give the line, from 1, on which the file says which profile is the default one."""
        return self.find_line([_DEFAULT])

    def list_names(self) -> Sequence[str]:
        """Give the names of all profiles. Raises ValueError as :meth:`choose`."""
        return list(self._read().get(_TABLE, {}))

    def find_line(self, keys: Sequence[str]) -> int:
        """Give the line, from 1, on which a value ends: the first that, with all before it, holds the value."""
        lines = self._text.splitlines(keepends=True)
        for count in range(1, len(lines)):
            if _has_keys("".join(lines[:count]), keys):
                return count
        return max(len(lines), 1)

    def fault(self, keys: Sequence[str], text: str) -> ValueError:
        """Give the error that says what is wrong with a value."""
        return ValueError(f"{self.path}, line {self.find_line(keys)}: {text}")

    def _read(self) -> dict[str, Any]:
        try:
            self._text = self.path.read_text("utf-8")
            settings = _parse(self._text)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise ValueError(f"{self.path}: {error.strerror}") from error
        except ValueError as error:
            # Of TOML, or of UTF-8; that of TOML says the line.
            raise ValueError(f"{self.path}: {error}") from error
        self._check(settings)
        return settings

    def _check(self, settings: dict[str, Any]) -> None:
        for key, value in settings.items():
            if key not in (_DEFAULT, _TABLE):
                raise self.fault(
                    [key], f"{key}: there is no such setting; options belong in [profiles.NAME]"
                )
            if not isinstance(value, str if key == _DEFAULT else dict):
                raise self.fault(
                    [key], f"{key}: a {'name' if key == _DEFAULT else 'table'} is expected"
                )
        for name, table in settings.get(_TABLE, {}).items():
            if not isinstance(table, dict):
                raise self.fault([_TABLE, name], f"{name}: options belong in [profiles.{name}]")


def _parse(text: str) -> dict[str, Any]:
    # Most people have no settings file.
    import tomllib

    return tomllib.loads(text)


def _has_keys(text: str, keys: Sequence[str]) -> bool:
    try:
        found: Any = _parse(text)
        for key in keys:
            found = found[key]
    except (ValueError, KeyError, TypeError):
        # The first lines of a value that has several are no TOML.
        return False
    return True
