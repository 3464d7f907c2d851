"""Each setting that decides something reaches the domain's rules in its unit, and none is left out."""

import json
from typing import Any

import msgspec
import pytest

from execpos import settings
from execpos.reconciler.rules import pace, rules
from execpos.settings.model import AutoCorrect, Halt, Polling, Reconciliation

TYPES = ("STK", "ETF", "WRT", "FUT", "OPT")

# Setting -> its value in the file's unit, and where in the rules it has to stand with which value.
RECONCILIATION = {
    "interval_s": (301.5, "interval_us", 301_500_000),
    "settle_s": (11, "settle_us", 11_000_000),
    "rounds": (4, "rounds", 4),
    "witness_rounds": (5, "witness_rounds", 5),
    "resolve_within_s": (1801, "resolve_within_us", 1_801_000_000),
    "cost_tolerance_ticks": (2, "compare.cost_tolerance_ticks", 2),
    "four_eyes": (True, "four_eyes", True),
}
AUTO_CORRECT = {
    "enabled": (False, "auto_correct.enabled", False),
    "limits": ({"STK": {"quantity": 7, "notional_twd": 8}}, "auto_correct.limits.STK", (7, 8_000_000)),
    "daily_count_per_key": (6, "auto_correct.daily_count_per_key", 6),
    "daily_notional_twd_per_account": (9, "auto_correct.daily_notional", 9_000_000),
}
POLLING = {
    "positions_interval_s": (61, "positions_interval_us", 61_000_000),
    "orders_interval_s": (31.25, "orders_interval_us", 31_250_000),
    "profit_loss_interval_s": (3601, "profit_interval_us", 3_601_000_000),
}
HALT = {
    "recovery_seconds": (121, "halt.recovery_us", 121_000_000),
    "heartbeat_gap_s": (12.5, "halt.heartbeat_gap_us", 12_500_000),
    "ledger_lag_s": (6, "halt.ledger_lag_us", 6_000_000),
    "progress_age_s": (7, "halt.progress_age_us", 7_000_000),
    "unexplained_quantity": (dict.fromkeys(TYPES, 90_001), "halt.unexplained_quantity.OPT", 90_001),
    "unexplained_notional_twd": (dict.fromkeys(TYPES, 90_000_002), "halt.unexplained_notional.ETF", 90_000_002_000_000),
    "daily_auto_correct_notional_twd_per_account": (10_000_003, "halt.daily_auto_correct_notional", 10_000_003_000_000),
    "failed_broker_reads": (8, "halt.failed_broker_reads", 8),
    "estimated_share": (0.35, "halt.estimated_ppm", 350_000),
    "estimated_positions": (9, "halt.estimated_positions", 9),
    "dead_letters": (13, "halt.dead_letters", 13),
    "journal_backlog": (10_004, "halt.journal_backlog", 10_004),
}
SECTIONS: dict[str, dict[str, Any]] = {
    "RECONCILIATION": RECONCILIATION,
    "RECONCILIATION__AUTO_CORRECT": AUTO_CORRECT,
    "POLLING": POLLING,
    "HALT": HALT,
}


def at(found: Any, path: str) -> Any:
    for name in path.split("."):
        found = found[name] if isinstance(found, dict) else getattr(found, name)
    return msgspec.structs.astuple(found) if isinstance(found, msgspec.Struct) else found


@pytest.mark.parametrize(
    ("section", "name"), [(section, name) for section, table in SECTIONS.items() for name in table], ids=lambda value: value.lower()
)
def test_a_setting_arrives_in_its_unit(section: str, name: str) -> None:
    value, path, expected = SECTIONS[section][name]
    text = value if isinstance(value, str) else json.dumps(value)
    shipped = rules(settings.load(None, {}), "one")
    changed = rules(settings.load(None, {f"EXECPOS_{section}__{name.upper()}": text}), "one")

    assert at(changed, path) == expected
    assert at(shipped, path) != expected, "a setting that arrives by its default alone proves nothing"


def test_every_setting_is_among_them_or_is_another_components() -> None:
    assert Reconciliation.model_fields.keys() - RECONCILIATION.keys() == {"auto_correct"}
    assert AutoCorrect.model_fields.keys() == AUTO_CORRECT.keys()
    # Those of the bridge, and the pace.
    assert Polling.model_fields.keys() - POLLING.keys() == {"budget_share", "accounting", "orders", "data", "suspension_s"}
    assert Halt.model_fields.keys() - HALT.keys() == {"audit_breach"}, "the auditor's"


def test_the_pace_is_our_part_of_the_brokers_budget() -> None:
    environ = {"EXECPOS_POLLING__ACCOUNTING": '{"calls": 30, "per_s": 2.5}', "EXECPOS_POLLING__BUDGET_SHARE": "0.55"}
    found = pace(settings.load(None, environ))

    assert (found.limit, found.span_us) == (16, 2_500_000)


def test_a_request_waits_for_its_turn_and_two_answers_and_only_a_real_login_has_hours() -> None:
    environ = {"EXECPOS_BRIDGE__ANSWER_TIMEOUT_S": "20", "EXECPOS_BRIDGE__BUDGET_WAIT_S": "8"}
    found = rules(settings.load(None, environ), "two")

    assert found.answer_us == 53_000_000
    assert (found.instance, found.blackouts) == ("two", False)
    assert rules(settings.load(None, {"EXECPOS_ENV": "production"}), "two").blackouts
