"""``python -m filetransfer.cli`` is ``ft-client``."""

from filetransfer.cli import main

main()
