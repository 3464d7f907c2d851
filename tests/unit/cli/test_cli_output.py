"""What tables show: everything, as it is, within a terminal's width."""

import io
from typing import Any

import pytest
from rich.console import Console, RenderableType

from execpos.cli import rebuild
from execpos.cli.moments import brief
from execpos.cli.output import table
from execpos.cli.reconcile import differences_table
from execpos.domain.shadow import Comparison
from execpos.ledger.inquiry import Findings

ACCOUNT = "simulation|S|9A95|1000001"
WIDTH = 120


def printed(shown: RenderableType, width: int = WIDTH) -> str:
    out = io.StringIO()
    Console(file=out, width=width).print(shown)
    return out.getvalue()


def difference(**other: Any) -> dict[str, Any]:
    known = {
        "discrepancy_id": "93fb5500704575b4",
        "account": ACCOUNT,
        "kind": "QUANTITY",
        "symbol": "2330",
        "book": "cash",
        "status": "OPEN",
        "ledger_quantity": -5_312,
        "broker_quantity": -3_312,
        "notional": "1994000.5",
        "cause": "BROKER_LAG",
        "proposed_kind": "",
    }
    return known | other


def test_a_cell_without_room_goes_on_in_the_next_line() -> None:
    lines = printed(table("t", ["id"], [["0123456789abcdef"]]), width=12).splitlines()

    assert "".join(line.strip("│ ") for line in lines if line.startswith("│")) == "0123456789abcdef"


@pytest.mark.parametrize("text", ["[/]", "[red]stop[/red]", "prints [of today]"])
def test_brackets_in_what_somebody_wrote_are_shown_as_they_are(text: str) -> None:
    assert text in printed(table("t", ["reason"], [[text]]))


def test_differences_have_a_table_an_account_that_fits_a_terminal() -> None:
    other = ACCOUNT.replace("1000001", "1000002")
    shown = printed(differences_table([difference(), difference(account=other, kind="UNKNOWN_ROW", symbol="2317")], "Open differences"))

    assert f"Open differences, {ACCOUNT}" in shown
    assert f"Open differences, {other}" in shown
    for word in ("93fb5500704575b4", "2330 cash", "2317 cash", "-5,312", "1,994,000.5", "BROKER_LAG", "UNKNOWN_ROW", "none"):
        assert word in shown
    assert max(map(len, shown.splitlines())) <= WIDTH


def test_no_difference_is_said_in_a_line() -> None:
    assert printed(differences_table([], "Open differences")) == "Open differences: none\n"


def test_a_moment_is_shown_in_whole_seconds_and_none_as_nothing() -> None:
    assert brief(1_700_000_000_999_999) == "2023-11-14 22:13:20"
    assert brief(0) == ""


def test_a_rebuild_says_whose_each_digest_is(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(rebuild, "stdout", lambda: Console(file=out, width=WIDTH))
    one = Comparison(ACCOUNT, 1_234, 1_234, (), (), (), "a" * 64, "b" * 64, "VERSIONS")

    rebuild._show(Findings((one,), {}, 5_000, 1.25))

    header = next(line for line in out.getvalue().splitlines() if "verdict" in line)
    assert header.index(" digest ") < header.index("digest of history") < header.index("verdict")
    row = next(line for line in out.getvalue().splitlines() if ACCOUNT in line)
    assert row.index("a" * 12) < row.index("b" * 12)
    assert header.index("digest of history") == row.index("b" * 12)
