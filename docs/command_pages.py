"""Directives that show what ``ft-client --help`` is made from: the web pages and the man page have no other source.

``.. exit-statuses::`` the table of them, ``.. ft-options::`` the options of the program itself, ``.. ft-commands::`` a
section for each command.
"""

import inspect

import click
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from filetransfer.cli.console import PROGRAM
from filetransfer.cli.documented import DocumentedCommand
from filetransfer.cli.exit_status import SEVERAL, ExitStatus
from filetransfer.cli.options import COMMON, find_variable
from filetransfer.cli.program import ALIASES, ft_client

# As in click's own help: a paragraph that begins so is shown as it is.
_AS_IT_IS = "\b\n"


class ExitStatuses(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        rows = [(str(each.value), each.meaning) for each in ExitStatus]
        return [_list_definitions(rows), nodes.paragraph(text=SEVERAL)]


class Options(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        with click.Context(ft_client, info_name=PROGRAM) as context:
            return [_list_options(context, list(COMMON))]


class Commands(SphinxDirective):
    def run(self) -> list[nodes.Node]:
        with click.Context(ft_client, info_name=PROGRAM) as context:
            return [
                self._show(context, name, ft_client.get_command(context, name))
                for name in ft_client.list_commands(context)
            ]

    def _show(
        self, parent: click.Context, name: str, command: click.Command | None
    ) -> nodes.section:
        assert isinstance(command, DocumentedCommand)
        section = nodes.section(ids=[f"{PROGRAM}-{name}"])
        other = [alias for alias, meant in ALIASES.items() if meant == name]
        section += nodes.title(text=", ".join([name, *other]))
        self.state.document.note_implicit_target(section)
        with click.Context(command, info_name=name, parent=parent) as context:
            usage = " ".join([context.command_path, *command.collect_usage_pieces(context)])
            section += nodes.literal_block(text=usage)
            section += _show_text(command.help or "")
            own = [each for each in command.params if each not in COMMON]
            section += _list_options(context, own)
        section += nodes.literal_block(text="\n".join(command.examples))
        return section


def _show_text(text: str) -> list[nodes.Node]:
    return [
        nodes.literal_block(text=paragraph.removeprefix(_AS_IT_IS))
        if paragraph.startswith(_AS_IT_IS)
        else nodes.paragraph(text=" ".join(paragraph.split()))
        for paragraph in inspect.cleandoc(text).split("\n\n")
    ]


def _list_options(context: click.Context, params: list[click.Parameter]) -> nodes.definition_list:
    rows = []
    for each in params:
        record = each.get_help_record(context)
        if record is not None and isinstance(each, click.Option):
            rows.append((record[0], f"{record[1]} Environment: {find_variable(each)}."))
    return _list_definitions(rows)


def _list_definitions(rows: list[tuple[str, str]]) -> nodes.definition_list:
    definitions = nodes.definition_list()
    for term, text in rows:
        definitions += nodes.definition_list_item(
            "",
            nodes.term("", "", nodes.literal(text=term)),
            nodes.definition("", nodes.paragraph(text=text)),
        )
    return definitions


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_directive("exit-statuses", ExitStatuses)
    app.add_directive("ft-options", Options)
    app.add_directive("ft-commands", Commands)
    return {"parallel_read_safe": True}
