"""Fuzz both ends of version 1 with atheris, which is not among the dependencies of the tests::

    pip install atheris
    PYTHONPATH=. python tests/wire/fuzz_v1.py -max_total_time=600 NEW_INPUTS tests/wire/corpus

What it finds lies in the current directory as ``crash-...``; ``test_v1_corpus.py`` replays tests/wire/corpus, to which
an input belongs that found a fault.
"""

import sys

import atheris

with atheris.instrument_imports(include=["filetransfer.wire"]):
    from oracle import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
