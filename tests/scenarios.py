"""Logs of callbacks, intents, voids and closes for property tests: few orders, few prices, and every kind of disorder among them."""

import json
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# 2026-05-21 09:30 in Taipei, a Thursday: session 2026-05-21D.
DAY_S = 1_779_327_000
# From the middle of a day session to the middle of the night after it.
HALF_DAY_S = 12 * 3600
FIRST_SESSION = "2026-05-21D"

STOCK = ("9A95", "1234567")
FUTURES = ("F002000", "7654321")

Record = tuple[Any, ...]


class Plan(NamedTuple):
    """One order of a scenario, before anything of it is reported."""

    number: int
    market: str
    symbol: str
    code: str
    order_cond: str
    order_lot: str
    session: int
    custom_field: str
    side: str

    @property
    def order_id(self) -> str:
        return f"id|{self.number}%"

    @property
    def seqno(self) -> str:
        return f"{350000 + self.number}"


_INSTRUMENTS = [
    ("S", "2890", "2890", "Cash", "IntradayOdd"),
    ("S", "2890", "2890", "Cash", "Common"),
    ("S", "2890", "2890", "MarginTrading", "Odd"),
    ("S", "0050", "0050", "ShortSelling", "IntradayOdd"),
    ("F", "TMFF6", "TMF", "", ""),
    ("F", "TX127900L5", "TX1", "", ""),
]


def account_of(plan: Plan, env: str = "replay") -> str:
    return "|".join((env, plan.market, *(STOCK if plan.market == "S" else FUTURES)))


def session_name(half_days: int) -> str:
    """Return the session that lies `half_days` after the first one."""
    day, night = divmod(half_days, 2)
    return f"2026-{'05' if day <= 10 else '06'}-{21 + day if day <= 10 else day - 10:02d}{'N' if night else 'D'}"


def fill_id(plan: Plan, seq: int, env: str = "replay") -> str:
    return f"{account_of(plan, env)}|{session_name(plan.session)}|id%7C{plan.number}%25|{seq:06d}"


def deal(plan: Plan, seq: int, side: str, quantity: int, price: float, receipt: str, /, **changes: Any) -> Record:
    """Return the callback of one match, `changes` overriding fields of the payload."""
    broker_id, account_id = STOCK if plan.market == "S" else FUTURES
    payload = {
        "event_id": receipt,
        "trade_id": plan.order_id,
        "seqno": plan.seqno,
        "ordno": "Y1S5N",
        "exchange_seq": f"{seq:06d}",
        "broker_id": broker_id,
        "account_id": account_id,
        "action": side,
        "code": plan.code,
        "price": price,
        "quantity": quantity,
        "ts": DAY_S + plan.session * HALF_DAY_S + seq / 8,
    }
    if plan.market == "S":
        payload |= {"order_cond": plan.order_cond, "order_lot": plan.order_lot, "custom_field": plan.custom_field, "web_id": "137"}
    else:
        payload |= {"full_code": plan.symbol, "combo": False, "market_type": "Day"}
    return ("callback", f"{plan.market}DEAL", payload | changes)


def report(plan: Plan, op_type: str, quantity: int, receipt: str, /, *, op_code: str = "00", cancelled: int = 0, **changes: Any) -> Record:
    """Return the callback of one order report, `changes` overriding fields of its order part."""
    broker_id, account_id = STOCK if plan.market == "S" else FUTURES
    payload = {
        "event_id": receipt,
        "operation": {"op_type": op_type, "op_code": op_code, "op_msg": ""},
        "order": {
            "id": plan.order_id,
            "seqno": plan.seqno,
            "ordno": "Y1S5N",
            "account": {"account_type": plan.market, "broker_id": broker_id, "account_id": account_id},
            "action": plan.side,
            "price": 27.5,
            "quantity": quantity,
            "order_type": "ROD",
            "price_type": "LMT",
            "order_cond": plan.order_cond,
            "order_lot": plan.order_lot,
            "custom_field": plan.custom_field,
        }
        | changes,
        "status": {
            "id": plan.order_id,
            "exchange_ts": DAY_S + plan.session * HALF_DAY_S + 0.5,
            "modified_price": 0,
            "cancel_quantity": cancelled,
            "order_quantity": max(0, quantity - cancelled),
        },
        "contract": {"code": plan.code, "full_code": plan.symbol, "security_type": ""},
    }
    return ("callback", f"{plan.market}ORDER", payload)


def intent(plan: Plan, strategy: str, *, by_seqno: bool = False) -> Record:
    named = {"seqno": plan.seqno} if by_seqno else {"order_id": plan.order_id}
    return ("intent", {"account": account_of(plan), "session_id": session_name(plan.session), "strategy_id": strategy, **named})


@st.composite
def plans(draw: st.DrawFn, sessions: int) -> Sequence[Plan]:
    made = []
    # Few keys, so that orders and strategies meet in them.
    pool = draw(st.lists(st.sampled_from(_INSTRUMENTS), min_size=1, max_size=2))
    for number in range(draw(st.integers(1, 5))):
        market, symbol, code, cond, lot = draw(st.sampled_from(pool))
        custom = draw(st.sampled_from(["", "", "alpha", "beta"]))
        made.append(
            Plan(number, market, symbol, code, cond, lot, draw(st.integers(0, sessions)), custom, draw(st.sampled_from(["Buy", "Sell"])))
        )
    return made


# Both sides of one order occur in no market, but they make reductions and flips frequent.
_SIDES = st.sampled_from(["Buy", "Sell"])
_PRICES = st.one_of(
    st.integers(1, 9).map(float), st.integers(1, 10_000).map(lambda cents: cents / 100), st.integers(1, 10**9).map(lambda n: n / 10**6)
)
_STRATEGIES = st.sampled_from(["alpha", "beta", "gamma|%"])


@st.composite
def fills(draw: st.DrawFn, known: Sequence[Plan], at_most: int) -> list[Record]:
    """Distinct fills of the planned orders, each with a receipt of its own or with none."""
    made = []
    for seq in range(1, draw(st.integers(1, at_most)) + 1):
        plan = draw(st.sampled_from(known))
        receipt = draw(st.sampled_from([f"v1:D:{plan.market}:{seq}", ""]))
        silent: dict[str, Any] = draw(st.sampled_from([{}, {}, {}, {"seqno": None}, {"custom_field": ""}]))
        made.append(deal(plan, seq, draw(_SIDES), draw(st.integers(1, 9)), draw(_PRICES), receipt, **silent))
    return made


@st.composite
def claims(draw: st.DrawFn, known: Sequence[Plan], at_most: int) -> list[Record]:
    """Intents of the planned orders, two for one order included."""
    return [
        intent(draw(st.sampled_from(known)), draw(_STRATEGIES), by_seqno=draw(st.booleans())) for _ in range(draw(st.integers(0, at_most)))
    ]


@st.composite
def closes(draw: st.DrawFn, known: Sequence[Plan], sessions: int) -> list[Record]:
    """Sessions of the accounts that are over, before or after the last of their fills came."""
    plan = draw(st.sampled_from(known))
    return [("close", account_of(plan), session_name(draw(st.integers(0, sessions)))) for _ in range(draw(st.integers(0, 2)))]


def id_of(record: Record) -> str:
    """Return the fill id of a deal made by `deal`."""
    payload = record[2]
    market = record[1].removeprefix("CATCHUP_")[0]
    half_days = int((payload["ts"] - DAY_S) // HALF_DAY_S)
    order = payload["trade_id"].replace("%", "%25").replace("|", "%7C")
    return "|".join(
        ("replay", market, payload["broker_id"], payload["account_id"], session_name(half_days), order, payload["exchange_seq"])
    )


_BROKEN: list[dict[str, Any]] = [{"price": "x"}, {"price": -1.0}, {"quantity": 0}, {"ts": None}, {"action": "Hold"}, {"trade_id": ""}]
_UNKNOWN: list[dict[str, Any]] = [{"order_lot": "Strange"}, {"order_cond": "Strange"}, {"code": "ZZZ9", "full_code": "ZZZ9F6"}]
_OPERATIONS = [("New", "00"), ("New", "88"), ("Cancel", "00"), ("Cancel", "99Q9"), ("UpdateQty", "00"), ("Reject", "1")]


@st.composite
def _odd_deals(draw: st.DrawFn, number: int, made: Sequence[Record]) -> Record:
    """One deal that differs from a regular one in a way that brokers, or their libraries, have."""
    _, kind, payload = draw(st.sampled_from(made))
    another_day = payload["ts"] + HALF_DAY_S * draw(st.integers(1, 2))
    return draw(
        st.sampled_from(
            [
                ("callback", kind, dict(payload)),
                ("callback", f"CATCHUP_{kind}", payload | {"event_id": draw(st.sampled_from(["", f"v2:{number}"]))}),
                ("callback", kind, payload | {"quantity": payload["quantity"] + 1, "event_id": f"v3:{number}"}),
                ("callback", kind, payload | {"exchange_seq": "same receipt"}),
                ("callback", kind, payload | {"ts": another_day, "event_id": ""}),
                ("callback", kind, payload | {"exchange_seq": "combo", "event_id": "", "combo": True}),
                ("callback", kind, payload | draw(st.sampled_from(_BROKEN))),
                ("callback", kind, payload | {"exchange_seq": "unknown", "event_id": ""} | draw(st.sampled_from(_UNKNOWN))),
                ("callback", draw(st.sampled_from(["XDEAL", "CATCHUP_NEWS"])), payload),
            ]
        )
    )


@st.composite
def _reports(draw: st.DrawFn, number: int, known: Sequence[Plan]) -> Record:
    """One order report, some without a receipt or a seqno and some with the receipt of another."""
    plan = draw(st.sampled_from(known))
    op_type, op_code = draw(st.sampled_from(_OPERATIONS))
    receipt = draw(st.sampled_from(["", f"v4:{number}", "v4:same"]))
    cancelled, seqno = draw(st.integers(0, 2)), draw(st.sampled_from([plan.seqno, ""]))
    return report(plan, op_type, draw(st.integers(1, 9)), receipt, op_code=op_code, cancelled=cancelled, seqno=seqno)


@st.composite
def disturbances(draw: st.DrawFn, made: Sequence[Record], known: Sequence[Plan]) -> list[Record]:
    """What else a broker sends: repeats, conflicts, order reports, catch-up, combos, unknown lots and broken payloads."""
    return [draw(st.one_of(_odd_deals(number, made), _reports(number, known))) for number in range(draw(st.integers(0, 8)))]


@st.composite
def logs(draw: st.DrawFn, *, sessions: int = 1, fills_max: int = 12, disturbed: bool = True) -> list[Record]:
    """A whole log in any order. `sessions` half days after the first one may occur."""
    known = draw(plans(sessions))
    made = draw(fills(known, fills_max))
    others = draw(claims(known, 5)) + draw(closes(known, sessions))
    others += [("void", id_of(record)) for record in draw(st.lists(st.sampled_from(made), max_size=3))]
    if disturbed:
        others += draw(disturbances(made, known))
    return draw(st.permutations(made + others))


@st.composite
def traded_days(draw: st.DrawFn) -> list[Record]:
    """One stock in cash through one day and its close, with voids before and after it: what day trades are made of."""
    known = [
        Plan(number, *_INSTRUMENTS[draw(st.sampled_from([1, 1, 0]))], 0, "", draw(st.sampled_from(["Buy", "Sell"]))) for number in range(4)
    ]
    made = draw(fills(known, 8))
    others = draw(claims(known, 2)) + [("void", id_of(record)) for record in draw(st.lists(st.sampled_from(made), max_size=2))]
    return draw(st.permutations([*made, *others, ("close", account_of(known[0]), FIRST_SESSION)]))


def readable(log: Sequence[Record]) -> str:
    """Return a log one record a line, for the note of a failing example."""
    return "\n".join(json.dumps(record, ensure_ascii=False) for record in log)


def examples(count: int, **options: Any) -> settings:
    """Return settings for `count` examples, forty times as many with EXECPOS_HYPOTHESIS=thorough. No deadline: machines are noisy."""
    factor = 40 if os.environ.get("EXECPOS_HYPOTHESIS") == "thorough" else 1
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count * factor, deadline=None, suppress_health_check=checks, print_blob=True, **options)
