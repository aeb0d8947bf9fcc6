"""``ft-client``, the command line of the client.

Thin over :mod:`filetransfer.client`: a command is one small module in ``commands/``, listed in ``program.py``. Nothing
heavy is imported before a command really talks to a server.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run ``ft-client`` with the arguments of this process, and exit."""
    from filetransfer.cli.program import run_program

    sys.exit(run_program(sys.argv[1:]))
