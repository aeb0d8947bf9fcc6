"""The program: options before the command, the table of commands, and the end of every run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from filetransfer import __version__
from filetransfer.cli.console import COMPLETION_VARIABLE, PROGRAM, OutputClosed, forget
from filetransfer.cli.exit_status import SEVERAL, ExitStatus
from filetransfer.cli.options import COMMON
from filetransfer.cli.running import begin_command_line
from filetransfer.cli.settings import choose_settings

COMMANDS = {
    "put": "put:put",
    "get": "get:get",
    "cp": "cp:cp",
    "sync": "sync:sync",
    "ls": "ls:ls",
    "stat": "stat:stat",
    "change": "change:change",
    "rm": "rm:rm",
    "mkdir": "mkdir:mkdir",
    "digest": "digest:digest",
    "summary": "summary:summary",
    "info": "info:info",
    "shell": "shell:shell",
    "config": "config:config",
    "completion": "completion:completion",
    "help": "help:help_",
    "version": "version:version",
    "bye": "bye:bye",
}
"""From a command's name to its module in ``commands`` and its name there; imported when it is needed."""

ALIASES = {"mv": "change"}

_EXAMPLES = (
    "ft-client put report.csv",
    "ft-client --server files.example.org get report.csv",
    "ft-client cp report.csv :2024/",
    "ft-client sync photos :photos",
    "ft-client help put",
)

_ENVIRONMENT = (
    "Every option can be set in the environment: FT_SERVER for --server, FT_CONNECT_TIMEOUT for "
    "--connect-timeout, and so on; and most of them in a profile: see ft-client help config."
)


class CommandTable(click.Group):
    """The commands, imported one by one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See :class:`click.Group`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See :class:`click.Group`."""
        place = COMMANDS.get(ALIASES.get(cmd_name, cmd_name))
        if place is None:
            return None
        module, _, name = place.partition(":")
        found = getattr(import_module(f"filetransfer.cli.commands.{module}"), name)
        assert isinstance(found, click.Command)  # noqa: S101
        return found

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write examples, the table of exit statuses, and how to set options in the environment."""
        with formatter.section("Examples"):
            for example in _EXAMPLES:
                formatter.write(" " * formatter.current_indent + example + "\n")
        with formatter.section("Exit status"):
            formatter.write_dl([(str(status.value), status.meaning) for status in ExitStatus])
        formatter.write_paragraph()
        formatter.write_text(SEVERAL)
        formatter.write_paragraph()
        formatter.write_text(_ENVIRONMENT)


@click.group(
    cls=CommandTable,
    invoke_without_command=True,
    params=list(COMMON),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name=PROGRAM, message="%(prog)s %(version)s")
@click.pass_context
def ft_client(context: click.Context, /, **_: object) -> int:
    """Store files on a filetransfer server, and fetch them from there.

    These options may stand before the command or after it; ft-client help COMMAND tells of its own.
    Without a command, at a terminal, it asks for commands at a prompt.
    """
    context.obj = begin_command_line(choose_settings(context))
    if context.invoked_subcommand is not None:
        return ExitStatus.DONE
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise click.UsageError("a command is needed; --help lists them", context)
    from filetransfer.cli.prompt import run_prompt

    return run_prompt(context.obj.settings, context)


def run_program(arguments: Sequence[str]) -> int:
    """Run ``ft-client``.

    Args:
        arguments: without the program's name.

    Returns:
        The exit status.
    """
    for stream in (sys.stdout, sys.stderr):
        # A name that the terminal's encoding cannot show must not end the program.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    if COMPLETION_VARIABLE in os.environ:
        # Takes the place of click's own.
        import_module("filetransfer.cli.shell_completion")
    try:
        status: int = ft_client.main(list(arguments), PROGRAM, standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        try:
            error.show()
        except BrokenPipeError:
            forget(sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return ExitStatus.INTERRUPTED
    except (BrokenPipeError, OutputClosed):
        # The former is click's, of its help.
        forget(sys.stdout)
        return ExitStatus.OTHER
    return status
