"""Fuzz both ends of version 2, and the choice of a version, with atheris, which is not among the tests' dependencies::

    pip install atheris
    PYTHONPATH=. python tests/wire/fuzz_v2.py -max_total_time=600 NEW_INPUTS tests/wire/corpus_v2

What it finds lies in the current directory as ``crash-...``; ``test_v2_corpus.py`` replays tests/wire/corpus_v2, to
which an input belongs that found a fault.
"""

import sys

import atheris

with atheris.instrument_imports(include=["filetransfer.wire"]):
    from oracle_v2 import check

if __name__ == "__main__":
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
