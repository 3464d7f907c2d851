"""Fetches the servers' files into a cache folder, once, and verifies every byte of them before first use."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from execpos.errors import DependencyError
from execpos.local.pins import Bundle, Pin
from execpos.local.progress import Meter
from execpos.local.requirements import check_disk, optional_module

# Enough to hide the round trips of forty small files, few enough to be polite.
_THREADS = 6
_TRIES = 3
_READ_TIMEOUT_S = 30
_STAMP = ".complete"

Fetch = Callable[[Pin, Path, Callable[[int], None]], Path]


def cache_folder(cache: Path | None = None) -> Path:
    """Return the cache folder: the one given, else `EXECPOS_CACHE`, else `execpos` in the user's XDG cache folder. Creates nothing."""
    if cache is not None:
        return cache.absolute()
    if chosen := os.environ.get("EXECPOS_CACHE"):
        return Path(chosen).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "execpos"


def bundle_folder(bundle: Bundle, cache: Path) -> Path:
    """Return where a bundle stands in the cache once it is complete."""
    return cache / f"{bundle.name}-{bundle.version}-{bundle.digest}"


def is_complete(bundle: Bundle, cache: Path) -> bool:
    """Tell whether a bundle was verified and unpacked, and still has its files. Looks at sizes only, so it costs under a millisecond."""
    folder = bundle_folder(bundle, cache)
    if not (folder / _STAMP).is_file():
        return False
    jars = (pin for pin in bundle.files if pin.packaging == "jar")
    return all((folder / pin.filename).is_file() and (folder / pin.filename).stat().st_size == pin.bytes for pin in jars)


def ensure(bundle: Bundle, cache: Path, fetch: Fetch | None = None) -> Path:
    """Return the folder with the bundle's verified files, fetching what is missing.

    Blocks while it downloads, or while another process does. A second call neither touches the network nor reads the files.

    Args:
        bundle: what to have.
        cache: where.
        fetch: downloads one file into a folder and reports each chunk's size; Maven Central by default.

    Raises:
        DependencyError: no network, no room, or a file that is not the pinned one.
    """
    if is_complete(bundle, cache):
        return bundle_folder(bundle, cache)
    _make_folder(cache)
    with locked(cache / f".{bundle.name}.lock", f"is downloading {bundle.name}"):
        if not is_complete(bundle, cache):  # the process that we waited for may have done it
            check_disk(cache)
            _build(bundle, cache, fetch or from_maven)
    return bundle_folder(bundle, cache)


def _make_folder(cache: Path) -> None:
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DependencyError(
            f"the cache folder {cache} cannot be created: {error}", hint="choose another one with EXECPOS_CACHE"
        ) from error


@contextlib.contextmanager
def locked(path: Path, doing: str) -> Iterator[None]:
    """Hold a lock among processes, waiting for whoever is at it and saying so; dropped by the kernel when the process dies."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.stderr.write(f"waiting: another start {doing}\n")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield  # closing the file gives the lock up


def _build(bundle: Bundle, cache: Path, fetch: Fetch) -> None:
    """Download into a folder beside the final one, verify, unpack, rename: the final one is never half made."""
    partial = cache / f".partial-{bundle.name}"
    partial.mkdir(exist_ok=True)
    missing = [pin for pin in bundle.files if not _is_right(partial / pin.filename, pin)]
    meter = Meter(f"downloading {bundle.name} {bundle.version}", sum(pin.bytes for pin in missing))
    with meter.shown(), ThreadPoolExecutor(max_workers=_THREADS) as pool:
        try:
            for _ in pool.map(lambda pin: _fetch_verified(pin, partial, fetch, meter.advance), missing):
                pass
        except BaseException:  # the first failure, or an interrupt: the other threads must not go on for minutes
            meter.cancel()
            raise
    staged = cache / f".staged-{bundle.name}"
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()
    for pin in bundle.files:
        if pin.packaging == "jar":
            (partial / pin.filename).replace(staged / pin.filename)
        else:
            with tarfile.open(partial / pin.filename) as archive:
                archive.extractall(staged, filter="data")
    (staged / _STAMP).write_text(bundle.digest, encoding="utf-8")
    final = bundle_folder(bundle, cache)
    shutil.rmtree(final, ignore_errors=True)
    staged.replace(final)
    shutil.rmtree(partial)


def _fetch_verified(pin: Pin, folder: Path, fetch: Fetch, advance: Callable[[int], None]) -> None:
    path = fetch(pin, folder, advance)
    if not _is_right(path, pin):
        found = _sha256(path)
        path.unlink()
        raise DependencyError(
            f"{pin.filename} is not the file that was pinned: SHA-256 {found}, expected {pin.sha256}",
            hint="it was removed; start again, and if that repeats look for a proxy or mirror that changes downloads",
            file=pin.filename,
            found=found,
            expected=pin.sha256,
        )
    path.replace(folder / pin.filename)


def _is_right(path: Path, pin: Pin) -> bool:
    return path.is_file() and path.stat().st_size == pin.bytes and _sha256(path) == pin.sha256


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def from_maven(pin: Pin, folder: Path, advance: Callable[[int], None]) -> Path:
    """Download one file from Maven Central (proxies by the usual environment variables), trying a few times.

    Raises:
        DependencyError: it cannot be reached, or has no such file.
    """
    maven = optional_module("jgo.maven")
    network_errors = optional_module("requests").RequestException
    repo = folder / "maven"
    for attempt in range(1, _TRIES + 1):

        @contextlib.contextmanager
        def progress(_name: str, _size: int) -> Iterator[Callable[[int], None]]:
            yield advance

        context = maven.MavenContext(repo_cache=repo, timeout=_READ_TIMEOUT_S, resolver=maven.PythonResolver(progress_callback=progress))
        artifact = (
            context.project(pin.group, pin.artifact).at_version(pin.version).artifact(classifier=pin.classifier, packaging=pin.packaging)
        )
        _forget(artifact.cached_path)
        try:
            return Path(artifact.resolve())
        except network_errors as error:
            _forget(artifact.cached_path)
            if attempt == _TRIES:
                raise _unreachable(pin, error) from error
            time.sleep(attempt)
        except RuntimeError as error:  # the resolver's word for any answer but 200
            raise _unreachable(pin, error) from error
    raise AssertionError  # the last attempt returned or raised


def _forget(path: Any) -> None:
    """Remove what an interrupted download left; the resolver would take it for the whole file."""
    Path(path).unlink(missing_ok=True)


def _unreachable(pin: Pin, error: Exception) -> DependencyError:
    return DependencyError(
        f"{pin.filename} cannot be downloaded from Maven Central: {type(error).__name__}: {error}",
        hint="the first start needs the network (HTTPS_PROXY is honoured); or copy another machine's cache folder (EXECPOS_CACHE)",
        file=pin.filename,
    )
