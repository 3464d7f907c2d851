"""Fetching and verifying the servers' files, with a download that needs no network."""

import hashlib
import io
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from execpos.errors import DependencyError
from execpos.local import artifacts, pins
from execpos.local.pins import Bundle, Pin


def _archive() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("app/run.jar")
        member.size = 3
        archive.addfile(member, io.BytesIO(b"run"))
    return buffer.getvalue()


CONTENT = {"one-1.0.jar": b"one", "two-1.0.jar": b"two two", "app-1.0-all.tar.gz": _archive()}


def _pin(artifact: str, classifier: str, packaging: str) -> Pin:
    pin = Pin(group="g", artifact=artifact, version="1.0", classifier=classifier, packaging=packaging, sha256="", bytes=0)
    content = CONTENT[pin.filename]
    return Pin("g", artifact, "1.0", classifier, packaging, hashlib.sha256(content).hexdigest(), len(content))


BUNDLE = Bundle("server", "1.0", "0123456789ab", (_pin("one", "", "jar"), _pin("two", "", "jar"), _pin("app", "all", "tar.gz")))


class Source:
    """Stands for Maven Central; remembers what was asked for, and serves wrong bytes for the names in `wrong`."""

    def __init__(self, wrong: tuple[str, ...] = ()) -> None:
        self.wrong = wrong
        self.asked: list[str] = []

    def __call__(self, pin: Pin, folder: Path, advance: Callable[[int], None]) -> Path:
        self.asked.append(pin.filename)
        path = folder / f"{pin.filename}.download"
        content = CONTENT[pin.filename]
        path.write_bytes(content[::-1] if pin.filename in self.wrong else content)
        advance(len(content))
        return path


def test_files_are_verified_unpacked_and_complete(tmp_path: Path) -> None:
    folder = artifacts.ensure(BUNDLE, tmp_path / "cache", Source())

    assert (folder / "one-1.0.jar").read_bytes() == b"one"
    assert (folder / "app" / "run.jar").read_bytes() == b"run"
    assert artifacts.is_complete(BUNDLE, tmp_path / "cache")
    assert [p.name for p in (tmp_path / "cache").iterdir() if p.is_dir()] == [folder.name]


def test_second_call_fetches_nothing(tmp_path: Path) -> None:
    source = Source()
    first = artifacts.ensure(BUNDLE, tmp_path, source)
    asked = len(source.asked)

    assert artifacts.ensure(BUNDLE, tmp_path, source) == first
    assert len(source.asked) == asked == len(BUNDLE.files)


def test_wrong_hash_is_refused_by_name_and_removed_and_the_next_try_fetches_only_it(tmp_path: Path) -> None:
    with pytest.raises(DependencyError) as caught:
        artifacts.ensure(BUNDLE, tmp_path, Source(wrong=("two-1.0.jar",)))

    assert caught.value.fields["file"] == "two-1.0.jar"
    assert caught.value.fields["expected"] == BUNDLE.files[1].sha256
    assert caught.value.exit_code == 4
    assert "start again" in caught.value.hint
    assert not artifacts.is_complete(BUNDLE, tmp_path)
    again = Source()
    artifacts.ensure(BUNDLE, tmp_path, again)
    assert "two-1.0.jar" in again.asked
    assert "one-1.0.jar" not in again.asked


def test_truncated_file_in_the_cache_is_fetched_again(tmp_path: Path) -> None:
    folder = artifacts.ensure(BUNDLE, tmp_path, Source())
    (folder / "two-1.0.jar").write_bytes(b"two")

    assert not artifacts.is_complete(BUNDLE, tmp_path)
    assert (artifacts.ensure(BUNDLE, tmp_path, Source()) / "two-1.0.jar").read_bytes() == b"two two"


def test_parallel_starts_fetch_once_and_agree(tmp_path: Path) -> None:
    source, found = Source(), []
    threads = [threading.Thread(target=lambda: found.append(artifacts.ensure(BUNDLE, tmp_path, source))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == [artifacts.bundle_folder(BUNDLE, tmp_path)] * 8
    assert sorted(source.asked) == sorted(CONTENT)


def test_cache_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")

    with pytest.raises(DependencyError, match=r"cache folder .*file/cache cannot be created") as caught:
        artifacts.ensure(BUNDLE, tmp_path / "file" / "cache", Source())

    assert "EXECPOS_CACHE" in caught.value.hint


def test_full_disk_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("execpos.local.requirements.disk_free_bytes", lambda _: 10 * 2**20)
    source = Source()

    with pytest.raises(DependencyError, match=r"only 0\.01 GiB are free"):
        artifacts.ensure(BUNDLE, tmp_path, source)

    assert source.asked == []


def test_unreachable_network_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import requests  # noqa: PLC0415 (a package of the embedded stack)

    def refuse(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr("requests.request", refuse)
    monkeypatch.setattr("time.sleep", lambda _: None)

    with pytest.raises(DependencyError, match=r"one-1\.0\.jar cannot be downloaded") as caught:
        artifacts.from_maven(BUNDLE.files[0], tmp_path, lambda _: None)

    assert "EXECPOS_CACHE" in caught.value.hint
    assert caught.value.exit_code == 4


def test_cache_folder_is_the_argument_then_the_environment_then_xdg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("EXECPOS_CACHE", raising=False)
    assert artifacts.cache_folder() == tmp_path / "xdg" / "execpos"
    monkeypatch.setenv("EXECPOS_CACHE", str(tmp_path / "chosen"))
    assert artifacts.cache_folder() == tmp_path / "chosen"
    assert artifacts.cache_folder(tmp_path / "given") == tmp_path / "given"


def test_every_pin_has_a_hash_a_size_and_a_version_and_names_are_unique() -> None:
    for name in ("kafka", "registry"):
        bundle = pins.bundle(name)
        assert all(len(pin.sha256) == 64 and pin.bytes > 0 and pin.version for pin in bundle.files)
        assert len({pin.filename for pin in bundle.files}) == len(bundle.files)
        assert bundle.digest == hashlib.sha256("".join(pin.sha256 for pin in bundle.files).encode()).hexdigest()[:12]
