"""How Sphinx builds the documents: ``sphinx-build -W docs docs/_build``."""

import filetransfer

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
