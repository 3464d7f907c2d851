"""Finds the data files of the project: avro, config, contracts, schemas.

They travel inside an installed wheel and stand at the top level of a checkout. Reading never writes and needs no network.
"""

from functools import cache
from pathlib import Path

from execpos.errors import DependencyError

_PACKAGE = Path(__file__).resolve().parent


@cache
def folder(name: str) -> Path:
    """Return the folder `name` (avro, config, contracts or schemas).

    Raises:
        DependencyError: the installation has no such folder.
    """
    for candidate in (_PACKAGE / "_data" / name, _PACKAGE.parents[1] / name):
        if candidate.is_dir():
            return candidate
    raise DependencyError(f"the installation has no folder {name!r}", hint="install the wheel again, or run from a checkout")


def text(name: str, file: str) -> str:
    """Return the UTF-8 text of one data file."""
    return (folder(name) / file).read_text(encoding="utf-8")
