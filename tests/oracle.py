"""A second answer to every question about positions: naive, slow, and written from the design apart from the domain.

It keeps every fill in a plain list and computes each row from nothing at the end, when the owner of every order and every void is known.
Nothing here is incremental, so nothing here can be incrementally wrong. It reads the same configuration files, but no code of the domain
except the record types; a test watches its imports. No mark, quality or version: those have tests of their own.

Records are tuples in log order:

- `("callback", kind, payload)`, or with a fourth item, the time at which the bridge took it (µs UTC; 0 or absent: the event's own);
- `("intent", {"account", "session_id", "strategy_id", "order_id" or "seqno"})`;
- `("void", fill_id)`.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from functools import cache
from math import floor, isfinite
from pathlib import Path
from typing import Any

import yaml

from execpos.domain.events import Intent, RawExecEvent

NET = "*"
UNASSIGNED = "UNASSIGNED"
CLASSES = ("orders", "fills", "duplicates", "conflicts", "parked", "dead_letters")
METHODS = {"cash": "average", "emerging": "average", "margin": "fifo", "short": "fifo", "sbl": "fifo", "derivative": "fifo"}

_CONFIG = Path(__file__).resolve().parents[1] / "config"
_TAIPEI = timezone(timedelta(hours=8))
_MILLION = 1_000_000
_LARGEST = 10**18 - 1
_MOST = 10**9
# Before the first session; the window never reaches it.
_NEVER = -(10**9)
_CONTROL = {"MARKER", "BEAT", "GAP", "CONNECTION"}


@dataclass
class Row:
    """One row; money in 10⁻⁶. `lots` are [quantity, cost] from the oldest, empty under `average`."""

    quantity: int = 0
    open_cost: int = 0
    realized: int = 0
    fees: int = 0
    taxes: int = 0
    lots: list[list[int]] = field(default_factory=list)


@dataclass
class Fill:
    """One fill that was accepted; `owner` is the final one. `quantity` is positive, in shares or contracts."""

    fill_id: str
    account: str
    session: str
    order_id: str
    seqno: str
    symbol: str
    book: str
    side: str
    quantity: int
    price: int
    multiplier: int
    fee: int
    tax: int
    receipt: str
    owner: str = UNASSIGNED
    voided: bool = False


@dataclass
class Book:
    """The answer. `rows` are keyed by (account, symbol, book, strategy), NET under `*`."""

    rows: dict[tuple[str, str, str, str], Row]
    fills: dict[str, Fill]
    counts: dict[str, int]
    outcomes: list[str]


class _Bad(Exception):
    """A callback that cannot become state; the class that it counts in."""


def fold(
    records: Iterable[tuple[Any, ...]],
    *,
    env: str = "replay",
    methods: Mapping[str, str] = METHODS,
    window: int = 10,
    custom_field: str = "as_strategy",
    custom_field_map: Mapping[str, str] | None = None,
    max_lots: int = 10**9,
) -> Book:
    """Fold a whole log."""
    log = _Log(env, window, custom_field, custom_field_map or {})
    for record in records:
        if record[0] == "callback":
            log.outcomes.append(log.callback(record[1], record[2], record[3] if len(record) > 3 else 0))
        elif record[0] == "intent":
            log.intent(record[1])
        else:
            log.void(record[1])
    return log.book(methods, max_lots)


def from_raw_events(raws: Iterable[RawExecEvent], intents: Iterable[Intent], **options: Any) -> Book:
    """Fold what stands in exec.raw and exec.intents, intents first: harmless as long as no intent is older than the window.

    All raw events must be of one env. Records that are no callbacks are left out. Accounts have nothing to do with each other, so each is
    folded alone; `outcomes` are then by account.
    """
    env = "replay"
    logs: dict[str, list[tuple[Any, ...]]] = {}
    for intent in intents:
        names = ("account", "session_id", "strategy_id", "order_id", "seqno")
        logs.setdefault(intent.account, []).append(("intent", {name: getattr(intent, name) for name in names}))
    for raw in raws:
        env = raw.env
        if raw.kind not in _CONTROL:
            logs.setdefault(raw.account, []).append(("callback", raw.kind, raw.payload, raw.ingest_ts))
    whole = Book({}, {}, dict.fromkeys(CLASSES, 0), [])
    for log in logs.values():
        part = fold(log, env=env, **options)
        whole.rows.update(part.rows)
        whole.fills.update(part.fills)
        whole.outcomes.extend(part.outcomes)
        for name, count in part.counts.items():
            whole.counts[name] += count
    return whole


# --- reading -----------------------------------------------------------------------------------------------------------------------------


class _Log:
    def __init__(self, env: str, window: int, custom_field: str, custom_field_map: Mapping[str, str]) -> None:
        self.env, self.window, self.use, self.map = env, window, custom_field, custom_field_map
        self.outcomes: list[str] = []
        self.fills: list[Fill] = []
        self.places: list[tuple[str, str, str]] = []
        self.voids: set[str] = set()
        self.claims: list[dict[str, str]] = []
        self.reports: dict[tuple[Any, ...], int] = {}
        # What any report or fill of an order told first.
        self.seqnos: dict[tuple[str, str, str], str] = {}
        self.custom: dict[tuple[str, str, str], str] = {}
        self.blocked: set[tuple[str, str, str]] = set()
        self.newest: dict[str, int] = {}

    def oldest(self, account: str) -> int:
        return self.newest.get(account, 0) - self.window

    def held(self, account: str) -> dict[str, Fill]:
        """The fills that can still be recognised: all of the account but the run at its beginning that left the window."""
        places = [place for place in self.places if place[0] == account]
        while places and ordinal(places[0][1]) < self.oldest(account):
            places.pop(0)
        kept = {fill_id for _, _, fill_id in places}
        return {fill.fill_id: fill for fill in self.fills if fill.fill_id in kept}

    def _place(self, account: str, session: str, fill_id: str) -> None:
        """Give a fill its place in the log: where it, or a void of it, came first."""
        if (account, session, fill_id) not in self.places:
            self.places.append((account, session, fill_id))

    def intent(self, intent: Mapping[str, str]) -> None:
        if ordinal(intent["session_id"]) >= self.oldest(intent["account"]):
            self.claims.append(dict(intent))

    def void(self, fill_id: str) -> None:
        account, session = "|".join(fill_id.split("|")[:4]), fill_id.split("|")[4]
        if ordinal(session) >= self.oldest(account):
            self.voids.add(fill_id)
            self._place(account, session, fill_id)

    def callback(self, kind: str, payload: Any, ingest_us: int) -> str:
        kind = kind.removeprefix("CATCHUP_")
        if kind not in {"SORDER", "FORDER", "SDEAL", "FDEAL"}:
            return "parked"
        try:
            read = payload if isinstance(payload, dict) else json.loads(payload)
            if kind.endswith("ORDER"):
                return self._order(kind[0], read)
            return self._deal(kind[0], read, ingest_us)
        except _Bad as bad:
            return str(bad)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            return "dead_letters"

    def _know(self, order: tuple[str, str, str], seqno: str, custom: str) -> None:
        if seqno:
            self.seqnos.setdefault(order, seqno)
        if custom:
            self.custom.setdefault(order, custom)

    def _order(self, market: str, payload: dict[str, Any]) -> str:
        order, status, operation = payload["order"], payload["status"], payload["operation"]
        account = _account(self.env, market, order["account"]["broker_id"], order["account"]["account_id"])
        seqno, order_id = order.get("seqno") or "", order.get("id") or status.get("id") or ""
        ts = _time(status["exchange_ts"])
        if order["action"] not in {"Buy", "Sell"}:
            raise _Bad("dead_letters")
        counts = (_count(order["quantity"]), _count(status.get("cancel_quantity") or 0))
        _shares(market, order.get("order_lot") or "", sum(counts))
        # Of a report that names no order, the content says too little, so its receipt decides where it has one.
        name, receipt = order_id or seqno, payload.get("event_id") or ""
        content = (
            account, name or (payload["contract"]["code"], order["action"]), operation["op_type"], operation["op_code"], ts, *counts,
            _money(order["price"]), status.get("modified_price") or 0, status.get("order_quantity") or 0,
        )  # fmt: skip
        known = [identity for identity in ((account, receipt), content) if self.reports.get(identity, _NEVER) >= self.oldest(account)]
        if content in known and not name and receipt:
            known.remove(content)
        if known:
            return "duplicates"
        if ordinal(session_of(ts)) < self.oldest(account):
            raise _Bad("parked")
        for identity in ((account, receipt), content) if receipt else (content,):
            self.reports[identity] = ordinal(session_of(ts))
        self._know((account, session_of(ts), order_id or receipt), seqno, order.get("custom_field") or "")
        return "orders"

    def _deal(self, market: str, deal: dict[str, Any], ingest_us: int) -> str:
        account = _account(self.env, market, deal["broker_id"], deal["account_id"])
        ts, price, count = _time(deal["ts"]), _money(deal["price"]), _count(deal["quantity"])
        symbol = deal["full_code"] if market == "F" else deal["code"]
        combo = deal.get("combo") is True
        named = deal["trade_id"] and deal["exchange_seq"] and symbol
        if not named or not count or deal["action"] not in {"Buy", "Sell"} or (price < 0 and not combo):
            raise _Bad("dead_letters")
        instruments = _yaml("instruments")
        book = "derivative" if market == "F" else instruments["books"].get(deal.get("order_cond") or "")
        if book is None:
            # Its shelf is unknown; the shelves that are known are not concerned.
            raise _Bad("dead_letters")
        if combo:
            raise _Bad("parked")
        side, receipt, seqno = deal["action"].upper(), deal.get("event_id") or "", deal.get("seqno") or ""
        lot = deal.get("order_lot") or ""
        if market == "S" and lot not in instruments["lots"]:
            self.blocked.add((account, symbol, book))
            raise _Bad("dead_letters")
        quantity = _shares(market, lot, count)

        session = session_of(ts)
        fill_id = "|".join((account, session, _escape(deal["trade_id"]), _escape(deal["exchange_seq"])))
        self._must_be_new(account, receipt, fill_id, (side, price, quantity))
        if not self.oldest(account) <= ordinal(session) <= ordinal(session_of(ingest_us or ts)) + 1:
            raise _Bad("parked")
        product = _product(market, deal["code"], symbol)
        if product is None:
            self.blocked.add((account, symbol, book))
            raise _Bad("dead_letters")
        if (account, symbol, book) in self.blocked:
            raise _Bad("parked")
        if quantity * abs(price) * product["multiplier"] > _LARGEST:
            raise _Bad("dead_letters")

        order = (account, session, deal["trade_id"])
        fee, tax = self._charges(product, book, lot, side, order, quantity, price, ts)
        self.newest[account] = max(self.newest.get(account, 0), ordinal(session))
        self._know(order, seqno, deal.get("custom_field") or "")
        self._place(account, session, fill_id)
        self.fills.append(
            Fill(
                fill_id,
                account,
                session,
                deal["trade_id"],
                seqno,
                symbol,
                book,
                side,
                quantity,
                price,
                product["multiplier"],
                fee,
                tax,
                receipt,
            )
        )
        return "fills"

    def _must_be_new(self, account: str, receipt: str, fill_id: str, content: tuple[str, int, int]) -> None:
        held = self.held(account)
        if receipt and any(fill.receipt == receipt and fill.fill_id != fill_id for fill in held.values()):
            raise _Bad("conflicts")
        if fill_id in held:
            known = held[fill_id]
            raise _Bad("duplicates" if (known.side, known.price, known.quantity) == content else "conflicts")

    def _charges(
        self, product: dict[str, Any], book: str, lot: str, side: str, order: tuple[str, str, str], quantity: int, price: int, ts: int
    ) -> tuple[int, int]:
        """The difference that this fill makes to the order's estimate, in order of arrival. Voids are not followed."""
        before = [fill for fill in self.fills if (fill.account, fill.session, fill.order_id) == order]
        amount = sum(fill.quantity * fill.price * fill.multiplier for fill in before)
        count = sum(fill.quantity for fill in before)
        new = _estimate(product, book, lot, side, amount + quantity * price * product["multiplier"], count + quantity, ts)
        return new[0] - sum(fill.fee for fill in before), new[1] - sum(fill.tax for fill in before)

    # --- the answer --------------------------------------------------------------------------------------------------------------------

    def owner(self, fill: Fill) -> str:
        order = (fill.account, fill.session, fill.order_id)
        seqno = self.seqnos.get(order, "")
        for claim in reversed(self.claims):
            if (claim["account"], claim["session_id"]) == order[:2] and (
                (claim.get("order_id") or None) == fill.order_id or (claim.get("seqno") or None) == (seqno or "none")
            ):
                return claim["strategy_id"]
        custom = self.custom.get(order, "") if fill.account.split("|")[1] == "S" else ""
        if custom and self.use == "as_strategy":
            return custom
        if custom and self.use == "mapped":
            return self.map.get(custom, UNASSIGNED)
        return UNASSIGNED

    def book(self, methods: Mapping[str, str], max_lots: int) -> Book:
        rows: dict[tuple[str, str, str, str], Row] = {}
        for fill in self.fills:
            fill.owner, fill.voided = self.owner(fill), fill.fill_id in self.voids
            for strategy in (fill.owner, NET):
                row = rows.setdefault((fill.account, fill.symbol, fill.book, strategy), Row())
                if not fill.voided:
                    _trade(row, fill, methods[fill.book], max_lots)
        counts = {name: self.outcomes.count(name) for name in CLASSES}
        return Book(rows, {fill.fill_id: fill for fill in self.fills}, counts, self.outcomes)


# --- money -------------------------------------------------------------------------------------------------------------------------------


def _trade(row: Row, fill: Fill, method: str, max_lots: int) -> None:
    """One fill into a row. Under `average` the row is one big lot, so both methods are the same walk."""
    lots = row.lots if method == "fifo" else ([[row.quantity, row.open_cost]] if row.quantity else [])
    left = fill.quantity if fill.side == "BUY" else -fill.quantity
    unit = fill.price * fill.multiplier
    cash = -left * unit
    while left and lots and (lots[0][0] > 0) != (left > 0):
        quantity, cost = lots[0]
        if abs(left) >= abs(quantity):
            left += quantity
            lots.pop(0)
        else:
            # round() of a Fraction goes to the even neighbour on a tie.
            lots[0] = [quantity + left, cost - round(Fraction(cost * -left, quantity))]
            left = 0
    if left:
        lots.append([left, left * unit])
    while method == "fifo" and len(lots) > max_lots:
        lots[:2] = [[lots[0][0] + lots[1][0], lots[0][1] + lots[1][1]]]
    before = row.open_cost
    row.quantity, row.open_cost = sum(quantity for quantity, _ in lots), sum(cost for _, cost in lots)
    row.lots = lots if method == "fifo" else []
    row.realized += cash + row.open_cost - before
    row.fees += fill.fee
    row.taxes += fill.tax


def _estimate(product: dict[str, Any], book: str, lot: str, side: str, amount: int, count: int, ts: int) -> tuple[int, int]:
    """Commission and tax of an order's whole turnover so far, in 10⁻⁶ TWD."""
    tables = _yaml("fees")
    day = datetime.fromtimestamp(ts / _MILLION, tz=_TAIPEI).date()
    fee, tax = _in_force(tables["fees"][product["fee"]], book, day), _in_force(tables["taxes"][product["tax"]], book, day)
    charged = Fraction(amount * fee.get("rate_per_billion", 0), 10**9) + count * _micros(fee.get("per_contract_twd", 0))
    odd = lot in {name for name, size in _yaml("instruments")["lots"].items() if size == 1}
    least = _micros(fee.get("odd_lot_minimum_twd", 0) if odd else fee.get("minimum_twd", 0))
    owed = Fraction(amount * tax.get("rate_per_billion", 0), 10**9) if side in tax["sides"] else Fraction(0)
    return max(_whole(charged, fee.get("rounding", "floor")), least), _whole(owed, tax.get("rounding", "floor"))


def _micros(twd: float) -> int:
    return int(Decimal(str(twd)) * _MILLION)


def _whole(amount: Fraction, rounding: str) -> int:
    if rounding == "none":
        return floor(amount)
    return floor(amount / _MILLION + (Fraction(1, 2) if rounding == "half_up" else 0)) * _MILLION


def _in_force(entries: list[dict[str, Any]], book: str, day: date) -> dict[str, Any]:
    fitting = [
        entry
        for entry in entries
        if book in entry.get("books", [book]) and entry.get("valid_from", date.min) <= day <= entry.get("valid_to", date.max)
    ]
    return fitting[0]


# --- names, numbers and tables -----------------------------------------------------------------------------------------------------------


@cache
def _yaml(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((_CONFIG / f"{name}.yaml").read_text("utf-8"))
    return read


def _product(market: str, code: str, full_code: str) -> dict[str, Any] | None:
    tables = _yaml("instruments")
    if market == "F":
        name = tables["roots"].get(code)
    else:
        name = next((rule["product"] for rule in tables["stocks"] if re.fullmatch(rule["pattern"], full_code)), None)
    return tables["products"][name] if name else None


def _shares(market: str, lot: str, count: int) -> int:
    if market == "F":
        return count
    return count * int(_yaml("instruments")["lots"][lot])


def _escape(part: str) -> str:
    return part.replace("%", "%25").replace("|", "%7C")


def _account(env: str, market: str, broker_id: str, account_id: str) -> str:
    return "|".join((_escape(env), market, _escape(broker_id), _escape(account_id)))


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _Bad("dead_letters")
    return Decimal(repr(value))


def _time(value: Any) -> int:
    return round(_number(value) * _MILLION)


def _money(value: Any) -> int:
    scaled = _number(value) * _MILLION
    if scaled != int(scaled) or abs(scaled) > _LARGEST:
        raise _Bad("dead_letters")
    return int(scaled)


def _count(value: Any) -> int:
    number = _number(value)
    if number != int(number) or not 0 <= number <= _MOST:
        raise _Bad("dead_letters")
    return int(number)


def session_of(ts_us: int) -> str:
    """The session of a moment, by the wall clock of Taipei."""
    local = datetime(1970, 1, 1, tzinfo=UTC).astimezone(_TAIPEI) + timedelta(microseconds=ts_us)
    night = (local.hour, local.minute) >= (14, 45) or local.hour < 6
    return f"{(local - timedelta(hours=6)).date()}{'N' if night else 'D'}"


def ordinal(session: str) -> int:
    """A number that rises by one from each half-day session to the next."""
    return date.fromisoformat(session[:10]).toordinal() * 2 + (session[10] == "N")
