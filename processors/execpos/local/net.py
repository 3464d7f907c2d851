"""Loopback ports: chosen free, remembered with the data, so that addresses survive a restart."""

import contextlib
import random
import socket
from collections.abc import Collection, Mapping
from pathlib import Path

import orjson

from execpos.errors import DependencyError

LOOPBACK = "127.0.0.1"
# Below the range from which Linux takes ports of outgoing connections (from 32768), so that nobody borrows ours between two starts.
_FIRST_PORT, _LAST_PORT = 20_000, 32_700
# Three quarters of the range taken would still leave less than one chance in a million to fail.
_TRIES = 50


def is_free(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether a server could listen there now; says nothing about the next moment."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: connections that linger do not count
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def accepts(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether something listens there."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=1.0):
        return True
    return False


def choose_ports(folder: Path, wanted: Mapping[str, int]) -> dict[str, int]:
    """Return a port for each name and remember them in the folder.

    Args:
        folder: data folder of the server that will listen.
        wanted: name to port; 0 takes the port of the last start if it is free, else any free one.

    Raises:
        DependencyError: a port asked for by number is taken.
    """
    file = folder / "ports.json"
    known: dict[str, int] = {}
    with contextlib.suppress(OSError, ValueError):
        known = dict(orjson.loads(file.read_bytes()))
    chosen: dict[str, int] = {}
    for name, port in wanted.items():
        if port and not is_free(port):
            raise DependencyError(
                f"port {port} on {LOOPBACK} is in use", hint="stop what listens there, or let a free port be chosen (0)", port=port
            )
        last = known.get(name, 0)
        chosen[name] = port or (last if last and is_free(last) else choose_free_port(chosen.values()))
    file.write_bytes(orjson.dumps(chosen))
    return chosen


def choose_free_port(taken: Collection[int] = ()) -> int:
    """Return a port on which a server could listen now, none of `taken`; another process may still take it first.

    Raises:
        DependencyError: fifty tries found none.
    """
    for _ in range(_TRIES):
        port = random.SystemRandom().randint(_FIRST_PORT, _LAST_PORT)
        if port not in taken and is_free(port):
            return port
    raise DependencyError(f"no free port on {LOOPBACK} between {_FIRST_PORT} and {_LAST_PORT}", hint="end servers that are not needed")
