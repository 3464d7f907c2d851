"""The real library for tests, imported once, with its files in a folder that goes away."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from execpos.brokers.shioaji import sdk


@cache
def folder() -> Path:
    made = Path(tempfile.mkdtemp(prefix="execpos-shioaji-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def library() -> Any:
    return sdk.load(folder())


@cache
def types() -> Any:
    """Everything, also what the package does not hand on."""
    from importlib import import_module  # noqa: PLC0415 (after `library`, which says where its files go)

    library()
    return import_module("shioaji._core")
