"""The one place that imports Shioaji: not before a client is wanted, and with its files in a folder of ours."""

import os
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from execpos.brokers.shioaji.api import Api
from execpos.errors import DependencyError

# Receipts in all reports and the health of the order cache came with 1.7.6; another minor line may change what the answers look like.
OLDEST = (1, 7, 6)
_LINE = (1, 7)

_HINT = "pip install 'execpos[shioaji]', or 'shioaji>=1.7.6,<1.8'"


def load(folder: Path) -> Any:
    """Import Shioaji and return it. Its log and its caches go to `folder`, unless SJ_LOG_PATH and SJ_HOME_PATH say otherwise.

    The folder is made for its owner alone: the library's own log may hold names and numbers of persons. Nothing is connected to.

    Raises:
        DependencyError: it is not installed, cannot be loaded, or is of a version that this is not written for.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Read by the library when it is imported; without them it writes into the working folder and the home of the user.
    os.environ.setdefault("SJ_LOG_PATH", str(folder / "shioaji.log"))
    os.environ.setdefault("SJ_HOME_PATH", str(folder))
    try:
        module = import_module("shioaji")
    except ImportError as error:
        raise DependencyError(f"the broker's library cannot be imported: {error}", hint=_HINT) from error
    version = str(getattr(module, "__version__", ""))
    if not supported(version):
        raise DependencyError(f"the broker's library is version {version or 'unknown'}; needed is 1.7.6 or later of 1.7", hint=_HINT)
    return module


def supported(version: str) -> bool:
    """Say whether a version of the library is one that this is written for."""
    parts = version.split(".")[:3]
    if not all(part.isascii() and part.isdigit() for part in parts):
        return False
    numbers = tuple(map(int, parts))
    return numbers[:2] == _LINE and numbers >= OLDEST


def make_api(folder: Path, *, simulation: bool) -> Api:
    """Return a new client, not logged in. It looks for the broker's servers at once, on a thread of its own; it sends nothing of ours.

    Args:
        folder: for the library's log and caches.
        simulation: the broker's own simulation instead of the market.

    Raises:
        DependencyError: see `load`.
    """
    return cast("Api", load(folder).Shioaji(simulation=simulation))


def version(folder: Path) -> str:
    """Return the version of the library.

    Raises:
        DependencyError: see `load`.
    """
    return str(load(folder).__version__)
