"""The wheel works outside the checkout: the package, its data files and the command."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel and lay its files out as an installation does."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    (wheel,) = folder.glob("execpos-*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(folder / "site")
    return folder / "site"


def run(installed: Path, *arguments: str) -> str:
    environ = {**os.environ, "PYTHONPATH": str(installed)}
    done = subprocess.run([sys.executable, *arguments], cwd=installed.parent, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fold_runs_from_the_wheel_outside_the_checkout(installed: Path) -> None:
    where = run(installed, "-c", "import execpos; print(execpos.__file__)")
    assert where.startswith(str(installed))

    printed = run(installed, "-m", "execpos", "fold", str(ROOT / "tests" / "data" / "callbacks.jsonl"), "--json")

    counts = json.loads(printed)["counts"]
    assert counts == {"raw": 16, "orders": 7, "fills": 5, "duplicates": 2, "conflicts": 1, "parked": 1, "dead_letters": 0}


def test_every_data_file_travels_in_the_wheel(installed: Path) -> None:
    for folder in ("avro", "config", "contracts", "schemas"):
        expected = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*") if path.is_file()}
        there = {
            path.relative_to(installed / "execpos" / "_data" / folder)
            for path in (installed / "execpos/_data" / folder).rglob("*")
            if path.is_file()
        }
        assert there == expected
    assert (installed / "execpos" / "py.typed").is_file()


def test_config_check_and_schemas_check_read_the_wheels_own_files(installed: Path) -> None:
    assert json.loads(run(installed, "-m", "execpos", "config", "check", "--json"))["ok"] is True
    assert json.loads(run(installed, "-m", "execpos", "schemas", "check", "--offline", "--json"))["ok"] is True
