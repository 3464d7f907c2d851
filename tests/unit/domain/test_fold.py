"""`execpos fold` on the sample callbacks, line by line and end to end."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import oracle
import oracle_charges
from execpos import settings
from execpos.cli.fold import fold
from execpos.domain.fold import Fold
from execpos.errors import ContractError

SAMPLES = Path(__file__).parents[2] / "data" / "callbacks.jsonl"
LINES = SAMPLES.read_bytes().splitlines()
S, F = "replay|S|9A95|1234567", "replay|F|F002000|7654321"

OUTCOMES = [
    ("order", ""),  # New
    ("order", ""),  # UpdatePrice
    ("order", ""),  # a cancel that failed
    ("order", ""),  # a cancel that succeeded
    ("order", ""),  # an early reject without an order id
    ("order", ""),  # simulation, without a receipt
    ("fill", ""),  # 3 shares
    ("duplicate", ""),  # the same again
    ("duplicate", ""),  # the same fill under another receipt
    ("fill", ""),  # the second fill of one match time
    ("fill", ""),  # one lot without a reported order
    ("conflict", "fill_conflict"),  # its key with another quantity
    ("order", ""),  # New, futures
    ("fill", ""),  # option
    ("fill", ""),  # future
    ("parked", "combo_leg"),
]


def run(*args: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(fold, [*args, "--json"], input=stdin, catch_exceptions=True)


def printed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    read: dict[str, Any] = json.loads(result.stdout)
    return read


def rows(result: Result) -> dict[tuple[str, str, str], dict[str, Any]]:
    return {(row["symbol"], row["book"], row["strategy_id"]): row for row in printed(result)["positions"]}


def test_each_sample_line_is_in_the_class_that_its_note_says() -> None:
    outcomes = list(Fold(settings.load(None).rules()).add(LINES))

    assert [(outcome.disposition, outcome.reason) for outcome in outcomes] == OUTCOMES
    assert outcomes[11].position_key == f"{S}|2890|cash|UNASSIGNED"
    assert outcomes[15].position_key == f"{F}|TMFF6|derivative|UNASSIGNED"


def test_the_sample_file_gives_the_documented_counts_and_rows() -> None:
    result = run(str(SAMPLES))

    counts = printed(result)["counts"]
    assert counts == {"raw": 16, "orders": 7, "fills": 5, "duplicates": 2, "conflicts": 1, "parked": 1, "dead_letters": 0}
    names = ("account", "quantity", "open_cost", "average_price", "quality")
    assert {key: tuple(row[name] for name in names) for key, row in rows(result).items()} == {
        ("2890", "cash", "test"): (S, 7, "1872.5", "267.5", "CONFIRMED"),
        ("2890", "cash", "UNASSIGNED"): (S, 1000, "27000", "27", "CONFLICT"),
        ("TX127900L5", "derivative", "UNASSIGNED"): (F, -1, "-1250", "25", "CONFIRMED"),
        ("TMFF6", "derivative", "UNASSIGNED"): (F, 1, "361100", "36110", "INCOMPLETE"),
    }
    net = {row["symbol"]: row for row in printed(result)["net"]}
    assert (net["2890"]["quantity"], net["2890"]["open_cost"], net["2890"]["average_price"]) == (1007, "28872.5", "28.671797")
    assert "strategy_id" not in net["2890"]
    assert net.keys() == {"2890", "TX127900L5", "TMFF6"}


def test_a_row_has_exactly_the_documented_fields() -> None:
    row = printed(run(str(SAMPLES)))["positions"][0]

    assert list(row) == [
        "account", "symbol", "book", "strategy_id", "quantity", "average_price", "open_cost", "realized_pnl", "fees", "taxes",
        "cost_method", "quality", "version",
    ]  # fmt: skip
    assert all(isinstance(row[name], str) for name in ("average_price", "open_cost", "realized_pnl", "fees", "taxes"))
    assert isinstance(row["quantity"], int)


def test_the_oracle_says_the_same_of_the_sample_file() -> None:
    records = [("callback", line["kind"], line["payload"]) for line in map(json.loads, LINES)]
    methods = dict(settings.load(None).rules().cost_methods)
    expected = oracle.fold(records, methods=methods)

    result = printed(run(str(SAMPLES)))
    assert expected.counts == {name: count for name, count in result["counts"].items() if name != "raw"}
    every = [*result["positions"], *(row | {"strategy_id": "*"} for row in result["net"])]
    found = {(row["account"], row["symbol"], row["book"], row["strategy_id"]): row for row in every}
    assert found.keys() == expected.rows.keys()
    for key, row in expected.rows.items():
        amounts = [oracle_charges._micros(found[key][name]) for name in ("open_cost", "realized_pnl", "fees", "taxes")]
        assert [found[key]["quantity"], *amounts] == [row.quantity, row.open_cost, row.realized, row.fees, row.taxes]


def test_standard_input_gives_the_same_as_the_file() -> None:
    assert printed(run("-", stdin=SAMPLES.read_bytes())) == printed(run(str(SAMPLES)))


def test_intents_by_seqno_or_order_id_name_the_owner(tmp_path: Path) -> None:
    intents = tmp_path / "intents.jsonl"
    by_seqno = {"account": S, "seqno": "351530", "session_id": "2026-05-21D", "strategy_id": "momentum"}
    by_id = {"account": F, "order_id": "0bbe4f6d", "session_id": "2026-05-21D", "strategy_id": "carry"}
    intents.write_text("\n".join(json.dumps(line) for line in (by_seqno, by_id)))

    found = rows(run(str(SAMPLES), "--intents", str(intents)))

    assert found["2890", "cash", "momentum"]["quantity"] == 1000
    assert found["TMFF6", "derivative", "carry"]["quantity"] == 1
    assert ("TMFF6", "derivative", "UNASSIGNED") not in found


@pytest.mark.parametrize(
    "line",
    [
        b"{",
        b"[]",
        b'{"kind": "SDEAL"}',
        b'{"kind": 1, "payload": {}}',
        b'{"kind": "SDEAL", "payload": []}',
        b"\xff\xfe",
        b'{"kind": "MARKER", "payload": {}}',
        b"[" * 100_000,
    ],
)
def test_a_line_that_is_no_callback_names_its_number(line: bytes) -> None:
    with pytest.raises(ContractError) as caught:
        list(Fold(settings.load(None).rules()).add([*LINES[:2], b"", line]))

    assert caught.value.fields == {"line": 4}
    assert caught.value.what.startswith("line 4: ")


@pytest.mark.parametrize(
    "change",
    [
        {"strategy_id": None},
        {"strategy_id": ""},
        {"strategy_id": "*"},
        {"session_id": "yesterday"},
        {"session_id": "2026-13-41D"},
        {"account": "1234567"},
        {"order_id": "", "seqno": ""},
        {"color": "red"},
    ],
)
def test_a_line_that_is_no_intent_names_its_number(change: dict[str, Any]) -> None:
    good = {"account": S, "seqno": "1", "session_id": "2026-05-21D", "strategy_id": "a"}

    with pytest.raises(ContractError) as caught:
        Fold(settings.load(None).rules()).claim([json.dumps(line).encode() for line in (good, good | change)])

    assert caught.value.fields == {"line": 2}


def test_a_bad_line_ends_the_command_with_the_contract_exit_code() -> None:
    result = run("-", stdin=LINES[0] + b"\n{\n")

    assert isinstance(result.exception, ContractError)
    assert result.exception.exit_code == 5
    assert "line 2" in str(result.exception)


def test_people_get_tables_and_the_reason_of_what_did_not_become_state() -> None:
    result = CliRunner().invoke(fold, [str(SAMPLES)])

    assert result.exit_code == 0
    assert "fills 5" in result.stdout
    assert "By strategy" in result.stdout
    assert "callback 16: parked (combo_leg)" in result.stderr
