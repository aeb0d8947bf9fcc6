"""How Sphinx builds the documents: ``sphinx-build -W docs docs/_build``."""

import docutils.nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import filetransfer
from filetransfer.cli.exit_status import SEVERAL, ExitStatus

project = "filetransfer"
author = "the filetransfer authors"
copyright = "2026, the filetransfer authors"
release = version = filetransfer.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"filetransfer {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False


class ExitStatuses(SphinxDirective):
    """``.. exit-statuses::`` shows the one table that ft-client is made from."""

    def run(self) -> list[docutils.nodes.Node]:
        rows = "".join(f"   * - {each.value}\n     - {each.meaning}\n" for each in ExitStatus)
        table = ".. list-table::\n   :header-rows: 1\n   :widths: 10 90\n\n   * - Status\n     - Meaning\n"
        return self.parse_text_to_nodes(f"{table}{rows}\n{SEVERAL}\n")


def setup(app: Sphinx) -> None:
    app.add_directive("exit-statuses", ExitStatuses)
