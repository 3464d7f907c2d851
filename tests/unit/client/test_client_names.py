"""The four names that users import, and what importing costs."""

import subprocess
import sys
from typing import get_args

import pytest

import execpos
from execpos import resources
from execpos.client.freshness import StaleReason
from execpos.client.gate import DenyReason


def test_the_names_are_there_and_others_are_not() -> None:
    from execpos import IntentWriter, PositionView, RiskGate, StrategyRunner  # noqa: PLC0415 (that is what is tested)

    assert [one.__name__ for one in (IntentWriter, PositionView, RiskGate, StrategyRunner)] == sorted(
        set(execpos.__all__) - {"__version__"}
    )
    with pytest.raises(AttributeError, match="OrderPlacer"):
        execpos.OrderPlacer  # noqa: B018 (it is not there)


def test_importing_the_package_imports_no_client_library() -> None:
    code = "import execpos, sys; print([n for n in sys.modules if n.startswith(('execpos.', 'confluent', 'fastavro', 'pydantic'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("words", [get_args(StaleReason), get_args(DenyReason)])
def test_every_reason_is_explained_to_authors(words: tuple[str, ...]) -> None:
    page = (resources.folder("contracts").parent / "docs" / "clients.md").read_text(encoding="utf-8")
    for word in filter(None, words):
        assert f"\n| `{word}` |" in page, word
