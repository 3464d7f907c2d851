"""A second answer to every question about positions: naive, slow, and written from the design apart from the domain.

It keeps every fill in a plain list and computes each row from nothing at the end, when the owner of every order and every void is known.
Nothing here is incremental, so nothing here can be incrementally wrong. It reads the same configuration files, but no code of the domain
except the record types; a test watches its imports. No mark, quality or version: those have tests of their own.

Records are tuples in log order:

- `("callback", kind, payload)`, or with a fourth item, the time at which the bridge took it (µs UTC; 0 or absent: the event's own);
- `("intent", {"account", "session_id", "strategy_id", "order_id" or "seqno"})`;
- `("void", fill_id)`;
- `("close", account, session)`: that session of the account is over, and so is every earlier one.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from execpos.domain.events import Intent, RawExecEvent
from oracle_charges import UNASSIGNED, Fill, charge, paired
from oracle_rows import Row, row_of
from oracle_tables import (
    Bad,
    account_key,
    count_of,
    escape,
    micros_of,
    ordinal,
    product_of,
    session_of,
    shares,
    table,
    time_us,
    trading_day,
)

__all__ = [
    "METHODS",
    "NET",
    "UNASSIGNED",
    "Book",
    "Fill",
    "Row",
    "charge",
    "fold",
    "from_raw_events",
    "ordinal",
    "paired",
    "row_of",
    "session_of",
    "trading_day",
]

NET = "*"
CLASSES = ("orders", "fills", "duplicates", "conflicts", "parked", "dead_letters")
METHODS = {"cash": "average", "emerging": "average", "margin": "fifo", "short": "fifo", "sbl": "fifo", "derivative": "fifo"}

_LARGEST = 10**18 - 1
# Before the first session; the window never reaches it.
_NEVER = -(10**9)
_CONTROL = {"MARKER", "BEAT", "GAP", "CONNECTION"}


@dataclass
class Book:
    """The answer. `rows` are keyed by (account, symbol, book, strategy), NET under `*`."""

    rows: dict[tuple[str, str, str, str], Row]
    fills: dict[str, Fill]
    counts: dict[str, int]
    outcomes: list[str]


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
        elif record[0] == "close":
            log.close(record[1], record[2])
        else:
            log.void(record[1])
    return log.book(methods, max_lots)


def from_raw_events(
    raws: Iterable[RawExecEvent], intents: Iterable[Intent], *, closes: Iterable[tuple[str, str]] = (), **options: Any
) -> Book:
    """Fold what stands in exec.raw and exec.intents, intents first: harmless as long as no intent is older than the window.

    `closes` are the (account, session) that the ledger has closed.
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
    for account, session in closes:
        logs.setdefault(account, []).append(("close", account, session))
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
        self.closed: dict[str, list[range]] = {}

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

    def close(self, account: str, session: str) -> None:
        """What is over can still be paired, but for what left the window before."""
        self.closed.setdefault(account, []).append(range(self.oldest(account), ordinal(session) + 1))

    def callback(self, kind: str, payload: Any, ingest_us: int) -> str:
        kind = kind.removeprefix("CATCHUP_")
        if kind not in {"SORDER", "FORDER", "SDEAL", "FDEAL"}:
            return "parked"
        try:
            read = payload if isinstance(payload, dict) else json.loads(payload)
            if kind.endswith("ORDER"):
                return self._order(kind[0], read)
            return self._deal(kind[0], read, ingest_us)
        except Bad as bad:
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
        account = account_key(self.env, market, order["account"]["broker_id"], order["account"]["account_id"])
        seqno, order_id = order.get("seqno") or "", order.get("id") or status.get("id") or ""
        ts = time_us(status["exchange_ts"])
        if order["action"] not in {"Buy", "Sell"}:
            raise Bad("dead_letters")
        counts = (count_of(order["quantity"]), count_of(status.get("cancel_quantity") or 0))
        shares(market, order.get("order_lot") or "", sum(counts))
        # Of a report that names no order, the content says too little, so its receipt decides where it has one.
        name, receipt = order_id or seqno, payload.get("event_id") or ""
        content = (
            account, name or (payload["contract"]["code"], order["action"]), operation["op_type"], operation["op_code"], ts, *counts,
            micros_of(order["price"]), status.get("modified_price") or 0, status.get("order_quantity") or 0,
        )  # fmt: skip
        known = [identity for identity in ((account, receipt), content) if self.reports.get(identity, _NEVER) >= self.oldest(account)]
        if content in known and not name and receipt:
            known.remove(content)
        if known:
            return "duplicates"
        if ordinal(session_of(ts)) < self.oldest(account):
            raise Bad("parked")
        for identity in ((account, receipt), content) if receipt else (content,):
            self.reports[identity] = ordinal(session_of(ts))
        self._know((account, session_of(ts), order_id or receipt), seqno, order.get("custom_field") or "")
        return "orders"

    def _deal(self, market: str, deal: dict[str, Any], ingest_us: int) -> str:
        account = account_key(self.env, market, deal["broker_id"], deal["account_id"])
        ts, price, count = time_us(deal["ts"]), micros_of(deal["price"]), count_of(deal["quantity"])
        symbol = deal["full_code"] if market == "F" else deal["code"]
        combo = deal.get("combo") is True
        named = deal["trade_id"] and deal["exchange_seq"] and symbol
        if not named or not count or deal["action"] not in {"Buy", "Sell"} or (price < 0 and not combo):
            raise Bad("dead_letters")
        instruments = table("instruments")
        book = "derivative" if market == "F" else instruments["books"].get(deal.get("order_cond") or "")
        if book is None:
            # Its shelf is unknown; the shelves that are known are not concerned.
            raise Bad("dead_letters")
        if combo:
            raise Bad("parked")
        side, receipt, seqno = deal["action"].upper(), deal.get("event_id") or "", deal.get("seqno") or ""
        lot = deal.get("order_lot") or ""
        if market == "S" and lot not in instruments["lots"]:
            self.blocked.add((account, symbol, book))
            raise Bad("dead_letters")
        quantity = shares(market, lot, count)

        session = session_of(ts)
        fill_id = "|".join((account, session, escape(deal["trade_id"]), escape(deal["exchange_seq"])))
        self._must_be_new(account, receipt, fill_id, (side, price, quantity))
        if not self.oldest(account) <= ordinal(session) <= ordinal(session_of(ingest_us or ts)) + 1:
            raise Bad("parked")
        product = product_of(market, deal["code"], symbol)
        if product is None:
            self.blocked.add((account, symbol, book))
            raise Bad("dead_letters")
        if (account, symbol, book) in self.blocked:
            raise Bad("parked")
        if quantity * abs(price) * product["multiplier"] > _LARGEST:
            raise Bad("dead_letters")

        order = (account, session, deal["trade_id"])
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
                receipt,
                lot,
                product,
                ts,
            )
        )
        return "fills"

    def _must_be_new(self, account: str, receipt: str, fill_id: str, content: tuple[str, int, int]) -> None:
        held = self.held(account)
        if receipt and any(fill.receipt == receipt and fill.fill_id != fill_id for fill in held.values()):
            raise Bad("conflicts")
        if fill_id in held:
            known = held[fill_id]
            raise Bad("duplicates" if (known.side, known.price, known.quantity) == content else "conflicts")

    # --- the answer --------------------------------------------------------------------------------------------------------------------

    def owner(self, fill: Fill) -> str:
        order = fill.order
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
        held: dict[tuple[str, str, str, str], list[Fill]] = {}
        for fill in self.fills:
            fill.owner, fill.voided = self.owner(fill), fill.fill_id in self.voids
        standing = [fill for fill in self.fills if not fill.voided]
        charge(standing, {fill.fill_id: spared for fills in self._days(standing) for fill, spared in paired(fills)})
        for fill in self.fills:
            for strategy in (fill.owner, NET):
                held.setdefault((fill.account, fill.symbol, fill.book, strategy), []).append(fill)
        for key, fills in held.items():
            kind = fills[0].product["security_type"]
            method = methods.get(f"{kind}.{key[2]}") or methods.get(kind) or methods[key[2]]
            counted = [fill for fill in fills if not fill.voided]
            rows[key] = row_of([(fill.day, *fill.signed) for fill in counted], method, max_lots)
            rows[key].fees, rows[key].taxes = sum(fill.fee for fill in counted), sum(fill.tax for fill in counted)
        counts = {name: self.outcomes.count(name) for name in CLASSES}
        return Book(rows, {fill.fill_id: fill for fill in self.fills}, counts, self.outcomes)

    def _days(self, standing: Iterable[Fill]) -> list[list[Fill]]:
        """What can be day-traded, by session and stock, of the sessions that are closed."""
        rule = table("fees")["day_trade"]
        days: dict[tuple[str, ...], list[Fill]] = {}
        for fill in standing:
            over = any(ordinal(fill.session) in closed for closed in self.closed.get(fill.account, []))
            if over and fill.product["tax"] in rule["taxes"] and fill.book in rule["books"] and fill.lot in rule["lots"]:
                days.setdefault((fill.account, fill.session, fill.symbol, fill.book), []).append(fill)
        return list(days.values())
