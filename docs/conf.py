"""How Sphinx builds the documents: ``sphinx-build -W docs docs/_build``."""

import sys
from pathlib import Path

import filetransfer

# For command_pages.
sys.path.insert(0, str(Path(__file__).parent))

project = "filetransfer"
author = "the filetransfer authors"
copyright = "2026, the filetransfer authors"
release = version = filetransfer.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "command_pages"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"filetransfer {release}"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
napoleon_numpy_docstring = False

# sphinx-build -b man docs OUT: ft-client(1)
man_pages = [("ft-client", "ft-client", "store files on a server, and fetch them", [], 1)]
