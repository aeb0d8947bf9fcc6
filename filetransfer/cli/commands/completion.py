"""``ft-client completion``: what makes a shell complete commands, options and names."""

from __future__ import annotations

from importlib import import_module

import click
from click.shell_completion import get_completion_class

from filetransfer.cli.client_command import ClientCommand
from filetransfer.cli.console import COMPLETION_VARIABLE, PROGRAM
from filetransfer.cli.invocation import Invocation


@click.command(
    cls=ClientCommand,
    short_help="Print what makes a shell complete names.",
    examples=[
        'eval "$(ft-client completion bash)"  # in ~/.bashrc',
        'eval "$(ft-client completion zsh)"  # in ~/.zshrc',
        "ft-client completion fish > ~/.config/fish/completions/ft-client.fish",
    ],
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_obj
@click.pass_context
def completion(context: click.Context, invocation: Invocation, shell: str) -> int:
    """Print what makes a shell complete commands, options, local names and names on the server.

    Names on the server are asked for when Tab is pressed, for a second at most, and kept for half a
    minute.
    """
    import_module("filetransfer.cli.shell_completion")
    kind = get_completion_class(shell)
    assert kind is not None  # noqa: S101 - click has these three
    text = kind(context.find_root().command, {}, PROGRAM, COMPLETION_VARIABLE).source()
    item = {"action": "completion", "subject": shell, "text": text}
    return invocation.tell("completion", lambda console: console.show(text, item))
