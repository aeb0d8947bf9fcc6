"""The child process of SUMMARY: its answer, its memory, its start and its end."""

import math
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from children import start_child
from measuring import opened

from filetransfer.summary import blocks, child
from filetransfer.summary.blocks import NotANumber
from filetransfer.summary.process import Selection, Statistics, child_arguments, parse_result

EVERYTHING = Selection().pack()


# ---------------------------------------------------------------------- the answer of the child


def test_answer() -> None:
    with opened(b"10\n44\n24\n26") as descriptor:
        line = child.answer(descriptor, os.getppid(), EVERYTHING)
    assert line == "done 4 44.0 10.0 26.0 104.0 12.083045973594572\n"
    assert parse_result(line.encode()) == Statistics(4, 44.0, 10.0, 26.0, 104.0, 12.083045973594572)


def test_answer_of_a_sum_that_overflows() -> None:
    with opened(b"1e308 " * 10) as descriptor:
        statistics = parse_result(child.answer(descriptor, os.getppid(), EVERYTHING).encode())
    assert statistics == Statistics(10, 1e308, 1e308, 1e308, math.inf, 0.0)


def test_answer_that_refuses() -> None:
    with opened(b"1\n2 two\xc3") as descriptor:
        line = child.answer(descriptor, os.getppid(), EVERYTHING)
    assert line == "refused 2 4 'two\\xc3' is not a finite decimal number\n"
    with pytest.raises(NotANumber) as caught:
        parse_result(line.encode())
    assert (caught.value.line, caught.value.octet) == (2, 4)
    assert caught.value.reason == "'two\\xc3' is not a finite decimal number"


@pytest.mark.parametrize(
    "octets", [b"", b"done", b"done 1 2.0", b"refused", b"refused 1 x y", b"\xff", b"?"]
)
def test_no_result(octets: bytes) -> None:
    with pytest.raises((ValueError, TypeError)) as caught:
        parse_result(octets)
    assert not isinstance(caught.value, NotANumber)


# ---------------------------------------------------------------------- the process


def run_child(path: Path, arguments: list[str] | None = None) -> tuple[bytes, bytes, int]:
    """Run a child as the server does, and give its output, complaint and exit status."""
    with path.open("rb") as file:
        child = start_child(arguments or child_arguments(), EVERYTHING, file.fileno())
    output, complaint = child.communicate()
    return output, complaint, child.returncode


def measure_child(path: Path, selection: Selection | None = None) -> tuple[bytes, int]:
    """Run a child from a small process, and give its output and its memory at the peak in octets.

    A process counts what its parent had when it forked, and the tests have much.
    """
    code = (
        f"import os, sys; sys.path.append({str(Path(__file__).parent)!r})\n"
        "from children import start_child\n"
        f"arguments = {child_arguments()}\n"
        "arguments[-1] = str(os.getpid())\n"
        f"child = start_child(arguments, {(selection or Selection()).pack()}, 0)\n"
        "sys.stdout.buffer.write(child.communicate()[0])\n"
        "import resource\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)\n"
        "sys.exit(child.returncode)"
    )
    with path.open("rb") as file:
        result = subprocess.run(
            [sys.executable, "-I", "-c", code], stdin=file, capture_output=True, check=True
        )
    return result.stdout, int(result.stderr) * 1024


def test_child_of_a_small_file(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"10\n44\n24\n26\n")

    output, complaint, status = run_child(path)

    assert (complaint, status) == (b"", 0)
    assert parse_result(output).mean == 26.0


def test_child_that_refuses_has_done_its_work(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"ten\n")

    output, complaint, status = run_child(path)

    assert (complaint, status) == (b"", 0)
    with pytest.raises(NotANumber, match="line 1, octet 0: 'ten'"):
        parse_result(output)


MIB = 2**20


@pytest.mark.parametrize(
    ("piece", "times", "count"),
    [
        pytest.param(b"1\n" * MIB, 8, 8 * MIB, id="most numbers a block"),
        pytest.param(b"1\n" * 130_000 + b"+1\n", 30, 3_900_030, id="most numbers, by the rule"),
        pytest.param(b"1" + b" " * (32 * MIB), 1, 1, id="separators"),
        pytest.param(
            b"." + b"7" * (blocks.MAX_NUMERAL - 1) + b"\n", 100, 100, id="longest numerals"
        ),
    ],
)
def test_child_needs_less_than_64_mib(tmp_path: Path, piece: bytes, times: int, count: int) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(piece * times)

    output, peak = measure_child(path)

    assert parse_result(output).count == count
    assert MIB < peak < 64 * MIB


@pytest.mark.parametrize(
    ("piece", "times"),
    [
        pytest.param(b"1\n" * MIB, 4, id="most rows a block"),
        pytest.param("1,\U0001f600\n".encode() * 130_000, 10, id="wide characters"),
        pytest.param(b"1" + b"," * 200_000 + b"\n", 20, id="most columns"),
        pytest.param(b"1," + b'"",' * 80_000 + b"\n", 20, id="most columns in quotes"),
        pytest.param(b'1,"' + b"x\n" * 120_000 + b'"\n', 20, id="most lines a row"),
    ],
)
def test_child_needs_less_than_64_mib_for_a_column(
    tmp_path: Path, piece: bytes, times: int
) -> None:
    path = tmp_path / "rows"
    path.write_bytes(piece * times)

    output, peak = measure_child(path, Selection(1))

    assert parse_result(output).sum == parse_result(output).count == piece.count(b"1") * times
    assert MIB < peak < 64 * MIB


@pytest.mark.parametrize("piece", [b"1", b",", b'"', b'"\n",', b'"ab\n",'])
def test_child_refuses_a_row_without_end_in_little_memory(tmp_path: Path, piece: bytes) -> None:
    path = tmp_path / "rows"
    path.write_bytes(b"1\n" + piece * (32 * MIB // len(piece)))

    output, peak = measure_child(path, Selection(1))

    with pytest.raises(NotANumber, match="line 2, octet 2: a row of more than"):
        parse_result(output)
    assert MIB < peak < 64 * MIB


def test_child_refuses_one_long_line_in_little_memory(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"1" * (100 * MIB))

    output, peak = measure_child(path)

    with pytest.raises(NotANumber, match="line 1, octet 0: a numeral of more than"):
        parse_result(output)
    assert MIB < peak < 64 * MIB


def test_child_is_told_where_its_package_is(tmp_path: Path) -> None:
    """It looks for it nowhere: where a daemon is started from may be forbidden to look into."""
    package = shutil.copytree(Path(child.__file__).parent, tmp_path / "package" / "summary")
    code = (package / "child.py").read_text()
    (package / "child.py").write_text(code.replace('DONE = "done"', 'DONE = "elsewhere"'))
    (tmp_path / "numbers").write_bytes(b"1")
    arguments = child_arguments()
    arguments[-2] = str(package.parent)

    output, complaint, status = run_child(tmp_path / "numbers", arguments)

    assert (output.split()[0], complaint, status) == (b"elsewhere", b"", 0)


def test_child_that_is_not_asked_ends() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        child = subprocess.Popen(child_arguments(), stdin=theirs, stdout=subprocess.PIPE)
    ours.close()

    assert (child.communicate()[0], child.returncode) == (b"", 0)


def test_child_that_waits_is_prepared() -> None:
    """What it imports once it has a file was imported before."""
    modules = run_code(
        "import os, socket, sys\n"
        "from filetransfer.summary import child\n"
        "ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
        "os.dup2(theirs.fileno(), 0); theirs.close()\n"
        "import threading; waiting = threading.Thread(target=child.wait_for_request)\n"
        "waiting.start()\n"
        "while 'simdjson' not in sys.modules: pass\n"
        "ours.close(); waiting.join()\n"
        "print('filetransfer.summary.moments' in sys.modules)"
    )

    assert modules == ["True"]


def test_child_ends_with_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"1\n" * MIB)
    nobody = "0"

    output, complaint, status = run_child(path, [*child_arguments()[:-1], nobody])

    assert (output, status) == (b"", 1)
    assert b"no longer wanted" in complaint


def run_code(code: str) -> list[str]:
    """Give what a fresh interpreter prints, as words."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    command = [sys.executable, "-I", "-c", code]
    result = subprocess.run(command, env=environment, capture_output=True, check=True, text=True)
    return result.stdout.split()


def test_child_starts_with_little() -> None:
    costly = {"dataclasses", "json", "numpy", "pathlib", "simdjson", "twisted", "typing"}

    modules = run_code(
        "import sys; before = set(sys.modules)\n"
        "from filetransfer.summary import child\n"
        "child.restrict_process()\n"
        "from filetransfer.summary import moments, numerals\n"
        "print(*(name for name in set(sys.modules) - before if sys.modules[name] is not None))"
    )

    assert not costly.intersection(modules)


def test_child_restricts_itself() -> None:
    values = run_code(
        "import os, resource, signal\n"
        "from filetransfer.summary import child\n"
        "child.restrict_process()\n"
        "print(os.nice(0), *resource.getrlimit(resource.RLIMIT_CORE),\n"
        "      resource.getrlimit(resource.RLIMIT_DATA)[0], signal.getsignal(signal.SIGINT).name)"
    )

    assert values == [str(min(19, os.nice(0) + 10)), "0", "0", str(2**27), "SIG_IGN"]
