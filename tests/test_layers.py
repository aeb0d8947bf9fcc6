"""Imports point one way: plugin, cli -> server | client -> wire, store, bodies -> names, digests, summary -> errors.

Read from the source, so that an import inside a function counts as well.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "filetransfer"
PLUGIN = ROOT / "twisted" / "plugins" / "filetransfer_plugin.py"

MAY_IMPORT = {
    "errors": set[str](),
    "names": {"errors"},
    "digests": {"errors"},
    "summary": {"errors"},
    "tls": {"errors"},
    "wire": {"names", "digests", "summary", "errors"},
    "store": {"names", "digests", "summary", "errors"},
    "bodies": {"names", "digests", "summary", "errors"},
    "server": {"wire", "store", "bodies", "tls", "names", "digests", "summary", "errors"},
    "client": {"wire", "store", "bodies", "tls", "names", "digests", "summary", "errors"},
    "cli": {"client", "wire", "store", "bodies", "tls", "names", "digests", "summary", "errors"},
}
"""Each room, and those it may import; its own modules, and the package's version, any room may."""

KNOW_NO_TWISTED = {"errors", "names", "digests", "summary", "wire", "store"}
KNOW_TWISTED_PACKAGES = {"twisted", "zope", "OpenSSL"}


def list_modules() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")


def name_module(path: Path) -> str:
    """Give the dotted name; that of a package for its ``__init__.py``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def name_room(module: str) -> str:
    """Give the room a module of ours is in, empty for the package itself."""
    return [*module.split("."), ""][1]


def list_imports(path: Path) -> Iterator[tuple[str, str]]:
    """Give each import as a module and a name in it, empty for ``import module``."""
    package = name_module(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                above = package[: len(package) - node.level + 1]
                module = ".".join([*above, module]).rstrip(".")
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                is_module = find_source(inner) is not None
                yield (inner, "") if is_module else (module, alias.name)


def find_source(module: str) -> Path | None:
    base = ROOT.joinpath(*module.split("."))
    candidates = [base.with_suffix(".py"), base / "__init__.py"]
    return next((path for path in candidates if path.exists()), None)


def list_our_imports(path: Path) -> Iterator[tuple[str, str]]:
    """Give the imports of this package's modules, but for the package itself (its version)."""
    for module, name in list_imports(path):
        if module.startswith("filetransfer."):
            yield module, name


every_module = pytest.mark.parametrize("path", list_modules(), ids=name_module)


def test_rooms_are_known() -> None:
    assert {name_room(name_module(path)) for path in list_modules()} <= set(MAY_IMPORT)


@every_module
def test_imports_point_one_way(path: Path) -> None:
    room = name_room(name_module(path))
    for module, _ in list_our_imports(path):
        other = name_room(module)
        assert other == room or other in MAY_IMPORT[room], f"{room} imports {module}"


@every_module
def test_twisted_stays_in_its_rooms(path: Path) -> None:
    if name_room(name_module(path)) in KNOW_NO_TWISTED:
        imported = {module.partition(".")[0] for module, _ in list_imports(path)}
        assert not imported & KNOW_TWISTED_PACKAGES


@every_module
def test_nobody_reaches_into_another_room(path: Path) -> None:
    room = name_room(name_module(path))
    others = set()
    for module, name in list_our_imports(path):
        if name_room(module) != room:
            private = [part for part in [*module.split("."), name] if part.startswith("_")]
            assert not private, f"{module} {name}"
            others.add(name or module.rpartition(".")[2])
    for node in ast.walk(ast.parse(path.read_text())):
        # A private name of a module that was imported, such as commit._Renamer.
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            is_private = node.attr.startswith("_") and not node.attr.startswith("__")
            assert not (is_private and node.value.id in others), f"{node.value.id}.{node.attr}"


@every_module
def test_versions_are_told_apart_in_the_wire_alone(path: Path) -> None:
    if name_room(name_module(path)) == "wire":
        return
    for module, name in list_our_imports(path):
        assert not module.startswith(("filetransfer.wire.v1", "filetransfer.wire.v2")), module
        assert not (module == "filetransfer.wire" and name in ("v1", "v2"))
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Compare):
            for side in [node.left, *node.comparators]:
                word = getattr(side, "attr", getattr(side, "id", ""))
                assert word != "version", ast.unparse(node)


def test_plugin_imports_nothing_of_ours() -> None:
    """twistd imports it whenever it runs, whatever it runs."""
    assert not list(list_our_imports(PLUGIN))
