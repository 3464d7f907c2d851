"""What the reconciler made of the day: each account compared with the broker, and one difference that was planted, found and explained.

Pure: what is compared here was read by others.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from execpos.demo.broker import Planted
from execpos.domain.events import Discrepancy, ReconciliationRound
from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES, REPORTED


class Asked(NamedTuple):
    """One answer of `execpos reconcile --wait --json`, and after how many seconds it came."""

    answer: Mapping[str, Any]
    seconds: float


def summary(
    planted: Planted | None, day: Asked, right: Asked | None, rounds: Iterable[ReconciliationRound], found: Iterable[Discrepancy]
) -> dict[str, Any]:
    """Return what the report says of it, for JSON.

    Args:
        planted: what the broker's list stated wrongly during `day`; None when there was no stock to plant it on.
        day: the comparison of all accounts after the close.
        right: that of the planted position's account, when the list was right again.
        rounds: everything in exec.rounds.
        found: everything in exec.discrepancies, in order for each.
    """
    ended = {one.round_id: one for one in rounds}
    newest = {one.discrepancy_id: one for one in found}
    answers = {one["account"]: one for asked in (day, right) if asked for one in asked.answer["accounts"]}
    accounts = [_account(one, ended.get(one["round"]), newest) for one in answers.values()]
    asked = [one for one in (day, right) if one]
    return {
        "accounts": accounts,
        "keys_compared": sum(one["keys_compared"] for one in accounts),
        "equal": sum(one["equal"] for one in accounts),
        "broker_calls": sum(one.answer["broker_calls"] for one in asked),
        "seconds": round(sum(one.seconds for one in asked), 3),
        "planted": None if planted is None else _planted(planted, day, newest),
    }


def _account(one: Mapping[str, Any], ended: ReconciliationRound | None, newest: Mapping[str, Discrepancy]) -> dict[str, Any]:
    differences = [newest[each] for each in ended.discrepancies if each in newest] if ended else []
    return {
        "account": one["account"],
        "state": one["state"],
        "keys_compared": ended.keys_compared if ended else 0,
        "equal": ended.equal if ended else 0,
        "other_average": sum(each.kind == "COST" for each in differences),
        "differences": sum(each.kind not in REPORTED and each.status in OPEN_STATUSES for each in differences),
    }


def _planted(planted: Planted, day: Asked, newest: Mapping[str, Discrepancy]) -> dict[str, Any]:
    seen = next((one for one in day.answer["discrepancies"] if _same(planted, one)), None)
    now = newest.get(seen["discrepancy_id"]) if seen else None
    return {
        "account": planted.account,
        "symbol": planted.symbol,
        "ledger_quantity": seen["ledger_quantity"] if seen else planted.quantity,
        "broker_quantity": planted.stated,
        "discrepancy_id": seen["discrepancy_id"] if seen else None,
        "seconds": round(day.seconds, 3),
        "booked": len(day.answer["corrections"]),
        "status": now.status if now else None,
    }


def _same(planted: Planted, one: Mapping[str, Any]) -> bool:
    known = (planted.account, planted.symbol, "cash", "QUANTITY", planted.quantity, planted.stated)
    return tuple(one[name] for name in ("account", "symbol", "book", "kind", "ledger_quantity", "broker_quantity")) == known


def problems(said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is not as it has to be after a day without a lost report, one object each; empty when all is well.

    Another average cost is none: the broker books in the order of the matches and the ledger in that of the reports.
    """
    wrong = [
        {"reconciliation": one["account"], "state": one["state"], "differences": one["differences"], "keys_compared": one["keys_compared"]}
        for one in said["accounts"]
        if one["state"] != "ACTIVE" or one["differences"]
    ]
    if said["keys_compared"] != said["equal"] + sum(one["other_average"] for one in said["accounts"]):
        wrong.append({"reconciliation": "keys", "keys_compared": said["keys_compared"], "equal": said["equal"]})
    planted = said["planted"]
    if planted is not None and (planted["discrepancy_id"] is None or planted["booked"] or planted["status"] != "EXPLAINED"):
        wrong.append({"reconciliation": "planted", **planted})
    return wrong
