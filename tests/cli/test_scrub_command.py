"""``filetransfer-scrub`` as somebody types it."""

import errno
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path as LocalPath
from typing import Any

import pytest

from filetransfer.cli.scrub import EXAMPLES, PROGRAM, STATUSES, run_scrub
from filetransfer.store import scrub

Run = Callable[..., tuple[int, list[str]]]
SCRIPT = "from filetransfer.cli.scrub import main; main()"


@pytest.fixture
def root(tmp_path: LocalPath) -> LocalPath:
    """A directory with three files whose digests are recorded."""
    root = tmp_path / "root"
    (root / "d").mkdir(parents=True)
    for name in ("a", "b", "d/c"):
        (root / name).write_bytes(name.encode() * 1000)
    assert run_scrub([str(root)]) == 0
    return root


@pytest.fixture
def run(root: LocalPath, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run it in this process; gives its status and the lines it printed."""
    capsys.readouterr()

    def run(*arguments: str) -> tuple[int, list[str]]:
        status = run_scrub(arguments)
        output = capsys.readouterr()
        return status, (output.out + output.err).splitlines()

    return run


def damage(path: LocalPath) -> None:
    status = os.stat(path)
    path.write_bytes(b"?" + path.read_bytes()[1:])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_all_is_well(root: LocalPath, run: Run) -> None:
    status, (line,) = run(str(root))
    assert status == 0
    assert line.startswith("3 files, 0.000 GB in ")
    assert line.endswith(": 3 good, 0 damaged")


def test_damage_is_a_line_a_file_and_status_1(root: LocalPath, run: Run) -> None:
    damage(root / "a")
    damage(root / "d/c")
    for _ in range(2):
        status, lines = run(str(root), "--threads", "1")
        assert status == 1
        assert sorted(lines[:-1]) == ["damaged: a", "damaged: d/c"]
        assert lines[-1].endswith(": 1 good, 2 damaged")


def test_paths_may_be_named_from_the_root_or_absolutely(root: LocalPath, run: Run) -> None:
    damage(root / "a")
    assert run(str(root), "b", "d")[1][-1].startswith("2 files, ")
    assert run(str(root), "d/../b")[0] == 0
    assert run(str(root), str(root / "a"))[0] == 1
    assert run(str(root), ".")[0] == 1


def test_accept(root: LocalPath, run: Run) -> None:
    damage(root / "a")
    damage(root / "b")
    assert run("--accept", str(root), "a")[1][0] == "accepted: a"
    status, lines = run(str(root))
    assert (status, lines[0]) == (1, "damaged: b")
    assert run("--accept", str(root))[0] == 0
    assert run(str(root))[0] == 0


def test_check_marks_nothing(root: LocalPath, run: Run) -> None:
    damage(root / "a")
    before = os.stat(root / "a").st_ctime_ns
    assert run("--check", str(root))[0] == 1
    assert os.stat(root / "a").st_ctime_ns == before
    assert run("--cold", str(root))[0] == 1
    assert os.stat(root / "a").st_ctime_ns != before


def test_names_are_escaped(root: LocalPath, run: Run) -> None:
    name = os.fsdecode(b"\x1b[31m\n\xff")
    (root / name).write_bytes(b"a")
    run(str(root))
    damage(root / name)
    assert run(str(root))[1][0] == "damaged: \\x1b[31m\\n\\udcff"


def test_what_cannot_be_read_is_status_3(root: LocalPath, run: Run) -> None:
    status, lines = run(str(root), "missing", "a")
    assert status == 3
    assert lines[0] == "unreadable: missing: cannot be opened: No such file or directory"
    damage(root / "a")
    assert run(str(root), "missing", "a")[0] == 1


def test_what_cannot_be_recorded_is_status_3(
    root: LocalPath, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    (root / "new").write_bytes(b"new")
    monkeypatch.setattr(scrub, "write_record", refuse)
    assert run(str(root))[0] == 3
    assert run("--check", str(root))[0] == 0
    damage(root / "a")
    status, lines = run(str(root), "a")
    assert (status, lines[0]) == (1, "damaged: a: not marked: Read-only file system")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--check", "--accept", "{root}"],
        ["{root}", ".."],
        ["{root}", "d/../../x"],
        ["{root}", "/etc"],
        ["{root}/a"],
        ["{root}/missing"],
        ["--threads", "0", "{root}"],
        ["--no-such-option", "{root}"],
    ],
)
def test_wrong_usage_is_status_2(root: LocalPath, run: Run, arguments: list[str]) -> None:
    status, lines = run(*[argument.format(root=root) for argument in arguments])
    assert status == 2
    assert lines[-1].startswith("Error: ")


def test_a_root_that_cannot_be_opened(
    root: LocalPath, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(scrub, "Root", refuse)
    status, lines = run(str(root))
    assert status == 2
    assert "Permission denied" in lines[-1]


def test_help_has_examples_and_statuses(run: Run) -> None:
    status, lines = run("--help")
    text = "\n".join(lines)
    assert status == 0
    assert all(example in text for example in EXAMPLES)
    assert all(f"\n  {number} " in text for number in STATUSES)
    assert run("--version")[1][0].startswith(PROGRAM)


def test_ctrl_c(root: LocalPath, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wait = scrub.Scrub.wait

    def interrupt(self: scrub.Scrub, seconds: float | None = None) -> bool:
        if seconds is not None:
            raise KeyboardInterrupt
        return wait(self)

    monkeypatch.setattr(scrub.Scrub, "wait", interrupt)
    status, lines = run(str(root))
    assert status == 130
    assert lines[-1].endswith("; interrupted, the rest was not read")


def start(root: LocalPath, **streams: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", SCRIPT, str(root)]
    return subprocess.Popen(command, text=True, **streams)


@pytest.mark.parametrize("target", ["/dev/full", "a closed pipe"])
def test_output_that_cannot_be_written_is_status_3(root: LocalPath, target: str) -> None:
    if target == "/dev/full":
        output = os.open(target, os.O_WRONLY)
    else:
        reader, output = os.pipe()
        os.close(reader)
    with start(root, stdout=output, stderr=subprocess.PIPE) as program:
        os.close(output)
        _, complaint = program.communicate()
    assert program.returncode == 3
    assert "Traceback" not in complaint
    assert len(complaint.splitlines()) <= 1


@pytest.mark.parametrize("is_output_a_terminal", [True, False])
def test_a_terminal_gets_a_bar(root: LocalPath, is_output_a_terminal: bool) -> None:
    damage(root / "a")
    controller, terminal = pty.openpty()
    output = terminal if is_output_a_terminal else subprocess.PIPE
    with start(root, stdout=output, stderr=terminal) as program:
        os.close(terminal)
        shown = b""
        while True:
            try:
                octets = os.read(controller, 4096)
            except OSError:
                break
            shown += octets
        os.close(controller)
        printed = program.stdout.read() if program.stdout else shown.decode()
    assert program.returncode == 1
    assert "damaged: a" in printed
    assert "2 good, 1 damaged" in printed
    # The bar hides the cursor, and gives it back.
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1
    assert ("\x1b" in printed) is is_output_a_terminal


def test_it_does_without_twisted_and_without_rich(root: LocalPath) -> None:
    script = (
        "import sys\n"
        "from filetransfer.cli.scrub import run_scrub\n"
        "run_scrub(sys.argv[1:])\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'twisted', 'zope', 'rich'})\n"
    )
    command = [sys.executable, "-c", script, str(root)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "set()"


def test_the_statuses_are_in_the_documents() -> None:
    page = LocalPath(__file__).parents[2] / "docs" / "commands.rst"
    text = " ".join(page.read_text().split())
    for number, meaning in STATUSES.items():
        assert f"{number} {meaning}" in text
