"""Calls of a client that may hang, or that may fail without anybody minding."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def quietly(step: Callable[[], object]) -> None:
    """Do a step; a client that is given up may say what it likes."""
    with suppress(Exception):
        step()


def limited(step: Callable[[], T], limit_s: float) -> T:
    """Return what a step returns, or raise what it raises; TimeoutError when that takes too long, and then it is left to itself.

    It runs on a thread of its own, because nothing can take a native call back.
    """
    done: list[T] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            done.append(step())
        except BaseException as error:  # noqa: BLE001 (it goes to the caller)
            failed.append(error)

    thread = threading.Thread(target=run, name="shioaji-call", daemon=True)
    thread.start()
    thread.join(limit_s)
    if failed:
        raise failed[0]
    if not done:
        raise TimeoutError(f"no answer within {limit_s:.0f} s")
    return done[0]
