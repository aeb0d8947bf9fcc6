"""The daemon with a recipe that somebody might take for good enough: a rig that does not condemn it is no rig.

``python broken_recipe.py RECIPE [arguments of twistd]``, where the recipe is one of

    whole                 as it is
    without-file-fsync    files are not synced, directories are
    without-name-fsync    files are synced, directories are not
    without-any-fsync     nothing is synced
"""

import os
import stat
import sys

_fsync = os.fsync


def _sync_directories_only(descriptor: int) -> None:
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        _fsync(descriptor)


def _sync_nothing(descriptor: int) -> None:
    pass


def _sync_files_only(descriptor: int) -> None:
    if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
        _fsync(descriptor)


RECIPES = {
    "whole": _fsync,
    "without-file-fsync": _sync_directories_only,
    "without-name-fsync": _sync_files_only,
    "without-any-fsync": _sync_nothing,
}


def main() -> None:
    os.fsync = RECIPES[sys.argv.pop(1)]
    from twisted.scripts.twistd import run

    sys.argv[0] = "twistd"
    run()


if __name__ == "__main__":
    main()
