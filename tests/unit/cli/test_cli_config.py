"""`execpos config` and the offline side of `execpos schemas`: output and exit codes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from execpos.cli.main import cli
from execpos.errors import ConfigError


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXECPOS_CONFIG_DIR", "EXECPOS_SECRETS_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_check_says_that_all_is_in_order_and_where_it_comes_from() -> None:
    result = CliRunner().invoke(cli, ["config", "check"])

    assert result.exit_code == 0
    assert "in order (env simulation)" in result.stdout
    assert "config/fees.yaml" in result.stdout


def test_check_as_json_has_the_documented_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECPOS_LEDGER__BATCH_MAX", "5")

    shown = json.loads(CliRunner().invoke(cli, ["config", "check", "--json"]).stdout)

    assert list(shown) == ["ok", "env", "files", "overrides", "remarks", "problems"]
    assert shown["ok"] is True
    assert shown["overrides"] == {"ledger.batch_max": "environment variable EXECPOS_LEDGER__BATCH_MAX"}


def test_check_remarks_on_commissions_that_nobody_has_entered() -> None:
    shown = json.loads(CliRunner().invoke(cli, ["config", "check", "--json"]).stdout)

    assert any("commission 'future' is 0" in remark for remark in shown["remarks"])


def test_a_mistake_ends_with_status_3_and_one_object_on_stdout(tmp_path: Path) -> None:
    (tmp_path / "execution.yaml").write_text("ledger:\n  poll_ms: soon\n")

    result = CliRunner().invoke(cli, ["config", "check", "--json", "--config", str(tmp_path)])

    assert isinstance(result.exception, ConfigError)
    shown = json.loads(result.stdout)
    assert shown["ok"] is False
    assert shown["problems"] == [f"{tmp_path}/execution.yaml:2: ledger.poll_ms: must be integer, and not 'soon'"]


def test_the_process_ends_with_status_3_and_names_the_line_on_stderr(tmp_path: Path) -> None:
    (tmp_path / "execution.yaml").write_text("\n\nenv: live\n")

    done = subprocess.run(
        [sys.executable, "-c", "from execpos.cli.main import main; main()", "config", "check", "--config", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 3
    assert done.stdout == ""
    assert f"{tmp_path}/execution.yaml:3: env: must be" in done.stderr


def test_show_prints_yaml_with_secrets_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXECPOS_KAFKA__CLIENT", '{"sasl.password": "hunter2"}')

    result = CliRunner().invoke(cli, ["config", "show"])

    assert result.exit_code == 0
    assert "hunter2" not in result.stdout
    assert yaml.safe_load(result.stdout)["kafka"]["client"] == {"sasl.password": "***"}


def test_show_as_json_holds_the_tables_too() -> None:
    shown = json.loads(CliRunner().invoke(cli, ["config", "show", "--json"]).stdout)

    assert shown["instruments"]["roots"]["TXF"] == "index_future_200"
    assert shown["calendar"]["known_until"] == "2026-12-31"
    assert shown["fees"]["fees"]["stock"][0]["rate_per_billion"] == 1_425_000
    assert shown["origins"]["execution.yaml"] == "config/execution.yaml"


def test_schemas_are_checked_offline_against_the_released_ones() -> None:
    result = CliRunner().invoke(cli, ["schemas", "check", "--offline", "--json"])

    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert list(shown) == ["ok", "releases", "schemas"]
    assert shown["schemas"] == []
