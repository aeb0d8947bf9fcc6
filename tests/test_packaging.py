"""What an installation rests on: the plugin is found, Twisted stays Twisted's, the package imports at once."""

import subprocess
import sys
from pathlib import Path

import filetransfer

ROOT = Path(__file__).parents[1]


def run_python(code: str, directory: Path) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=directory, check=True, capture_output=True, text=True
    ).stdout


def test_twistd_lists_the_plugin_from_anywhere(tmp_path: Path) -> None:
    code = "import sys; sys.argv[1:] = ['--help']; from twisted.scripts.twistd import run; run()"
    assert "    filetransfer  " in run_python(code, tmp_path)


def test_running_in_the_repository_does_not_hide_twisted() -> None:
    assert not list((ROOT / "twisted").rglob("__init__.py"))
    assert run_python("import twisted.internet; print('imported')", ROOT) == "imported\n"


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import filetransfer;"
        "print(*sorted(set(sys.modules) - before), filetransfer.__version__)"
    )
    assert run_python(code, ROOT).split() == ["filetransfer", filetransfer.__version__]


def test_the_client_loads_nothing_that_only_a_server_needs() -> None:
    code = (
        "import sys, filetransfer.client\n"
        "print(*(name for name in sys.modules if name.startswith('filetransfer.s')))"
    )
    loaded = run_python(code, ROOT).split()
    assert "filetransfer.store.upload" in loaded
    assert "filetransfer.store.interface" not in loaded
    assert not [name for name in loaded if name.startswith("filetransfer.server")]
