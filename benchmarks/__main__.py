"""``python -m benchmarks``: see ``--help``."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks import machine, plot
from benchmarks.bench import QUICK, Amounts, Bench
from benchmarks.load import Load
from benchmarks.machine import Area
from benchmarks.processes import Failed
from benchmarks.report import format_report, format_table
from benchmarks.workloads import WORKLOADS

MEMORY = Path("/dev/shm")
IMAGE_MEBIBYTES = 12 * 1024


def main() -> int:
    """Run what was asked for."""
    arguments = _parse()
    # Installed programs have their byte code beside them; without it each start compiles our modules anew, for 0.1 s.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    refusal = machine.isolate()
    started = time.monotonic()
    try:
        if refusal is None:
            machine.set_congestion_control(arguments.congestion_control)
        else:
            print(f"no network of its own ({refusal}): the system's is used", file=sys.stderr)
        with _make_bench(arguments, can_mount=refusal is None) as bench:
            _run(arguments, bench, is_isolated=refusal is None)
    except Failed as failure:
        print(f"benchmarks: {failure}", file=sys.stderr)
        return 1
    print(f"{time.monotonic() - started:.0f} s in all", file=sys.stderr)
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure filetransfer side by side with its peers. As root, in a network and with mounts of "
        "its own; otherwise in the system's network, and without the ext4 image.",
    )
    parser.add_argument(
        "workloads",
        nargs="*",
        metavar="WORKLOAD",
        help=f"what to measure, all of it by default: {', '.join(WORKLOADS)}",
    )
    parser.add_argument("--runs", type=int, help="rounds that count (default: 5)")
    parser.add_argument(
        "--size", type=_parse_size, help="of a bulk file, as 64M or 1G (default: 1G)"
    )
    parser.add_argument("--files", type=int, help="small files of a command (default: 50000)")
    parser.add_argument(
        "--directory",
        type=Path,
        help="for files on a disk: the ext4 image, or plainly when not root (default: the temporary directory)",
    )
    parser.add_argument("--memory-only", action="store_true", help="measure on tmpfs alone")
    parser.add_argument(
        "--congestion-control",
        default="reno",
        help="for every connection (default: reno, which is everywhere)",
    )
    parser.add_argument("--pin", action="store_true", help="keep the servers on processor 0")
    parser.add_argument(
        "--output",
        type=Path,
        help="write the tables (rst) and the drawings (svg) into this directory",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="whether it works, in seconds: tiny amounts, only peers from PyPI",
    )
    arguments = parser.parse_args()
    unknown = [name for name in arguments.workloads if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {', '.join(unknown)}")
    return arguments


def _parse_size(text: str) -> int:
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    if text[-1:].upper() in units:
        return int(text[:-1]) * units[text[-1].upper()]
    return int(text)


@contextlib.contextmanager
def _make_bench(arguments: argparse.Namespace, *, can_mount: bool) -> Iterator[Bench]:
    """Make the directories and what runs in them; all of it is gone at the end."""
    amounts = QUICK if arguments.quick else Amounts()
    given = {name: getattr(arguments, name) for name in ("runs", "size", "files")}
    amounts = dataclasses.replace(amounts, **{k: v for k, v in given.items() if v is not None})
    with contextlib.ExitStack() as stack:
        scratch = _make_directory(stack, arguments.directory)
        areas: list[Area] = []
        if MEMORY.is_dir() and not arguments.quick:
            memory = _make_directory(stack, MEMORY)
            areas.append(Area(machine.find_file_system(memory), memory))
        if arguments.quick or (not arguments.memory_only and not can_mount):
            plain = scratch / "plain"
            plain.mkdir()
            areas.append(Area(machine.find_file_system(plain), plain))
        elif not arguments.memory_only:
            areas.append(stack.enter_context(machine.mount_ext4(scratch, IMAGE_MEBIBYTES)))
        yield Bench(
            amounts=amounts,
            load=Load(scratch),
            areas=areas,
            scratch=scratch,
            is_quick=arguments.quick,
            processors=frozenset({0}) if arguments.pin else None,
        )


def _make_directory(stack: contextlib.ExitStack, parent: Path | None) -> Path:
    made = Path(tempfile.mkdtemp(prefix="benchmarks-", dir=parent))
    # Servers drop their privileges for anonymous peers.
    made.chmod(0o755)
    stack.callback(shutil.rmtree, made, ignore_errors=True)
    return made


def _run(arguments: argparse.Namespace, bench: Bench, *, is_isolated: bool) -> None:
    command = shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]])
    processors = "servers pinned to the first" if arguments.pin else "nothing pinned"
    for name in arguments.workloads or WORKLOADS:
        facts = machine.describe(is_isolated=is_isolated, processors=processors)
        print(f"{name} (load {os.getloadavg()[0]:.2f})", file=sys.stderr)
        bench.left_out.clear()
        bench.versions.clear()
        started = time.monotonic()
        report = WORKLOADS[name](bench)
        bench.empty()
        if bench.versions:
            versions = ", ".join(f"{name} {version}" for name, version in bench.versions.items())
            facts.append(("Versions", versions))
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
        for table in report.tables:
            print(format_table(table))
        for note in bench.left_out:
            print(f"left out: {note}")
        if arguments.output is not None:
            arguments.output.mkdir(parents=True, exist_ok=True)
            text = format_report(report, command, facts, bench.left_out)
            (arguments.output / f"{name}.txt").write_text(text)
            if report.bars:
                refusal = plot.draw(report, arguments.output / f"{name}.svg")
                if refusal is not None:
                    print(refusal, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
