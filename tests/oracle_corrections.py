"""The oracle for logs with corrections: what each does to each row, computed from nothing at the end, as `oracle` does for fills.

Whether a correction is applied depends on versions and on the window, which the oracle does not have: the log says it, as a third item of
`("correction", fields, applied)`. What it then does is decided here. Logs stay inside the window; corporate actions, which settle what was
before them, have a function of their own.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

import oracle
from oracle import NET, UNASSIGNED, Fill, _Log, charge, session_of, trading_day
from oracle_rows import Row as PlainRow
from oracle_rows import book_trade, share_of
from oracle_tables import product_of

Key = tuple[str, str, str, str]


@dataclass
class Row:
    """One row; money in 10⁻⁶."""

    quantity: int = 0
    open_cost: int = 0
    realized: int = 0
    basis: int = 0
    fees: int = 0
    taxes: int = 0
    lots: list[list[int]] = field(default_factory=list)


@dataclass
class Line:
    """What stands in the log for certain rows; `kind` is empty for a trade."""

    keys: tuple[Key, ...]
    day: date
    quantity: int
    amount: int
    kind: str = ""
    fee: int = 0
    tax: int = 0


@dataclass
class Synthetic(Fill):
    """A fill that a correction made, of a fixed owner; `began` and `ended` are the read that it stands for (0, 0: none)."""

    strategy: str = UNASSIGNED
    on: date = date.min
    kind: str = ""
    began: int = 0
    ended: int = 0

    @property
    def day(self) -> date:
        """Its trading date."""
        return self.on


def fold(log: Iterable[tuple[Any, ...]], methods: Mapping[str, str], env: str = "replay") -> dict[Key, Row]:
    """Fold a whole log; rows by (account, symbol, book, strategy), NET under `*`."""
    state = _Corrected(methods, env)
    for record in log:
        if record[0] == "callback":
            state.callback(record[1], record[2], record[3] if len(record) > 3 else 0)
        elif record[0] == "intent":
            state.intent(record[1])
        elif record[0] == "void":
            state.void(record[1])
        elif record[0] == "close":
            state.close(record[1], record[2])
        elif record[2]:
            state.correction(record[1])
    return state.rows()


class _Corrected(_Log):
    def __init__(self, methods: Mapping[str, str], env: str) -> None:
        super().__init__(env, 10, "as_strategy", {})
        self.methods = methods
        self.log: list[Fill | Line] = []
        # In the order in which they were made: what is absorbed first. In the log an opening stands before everything.
        self.synthetic: list[Synthetic] = []
        self.latest: dict[str, str] = {}

    # --- fills -------------------------------------------------------------------------------------------------------------------------

    def callback(self, kind: str, payload: Any, ingest_us: int) -> str:
        outcome = super().callback(kind, payload, ingest_us)
        if outcome == "fills":
            fill = self.fills[-1]
            self.log.append(fill)
            self.latest[fill.account] = max(self.latest.get(fill.account, ""), fill.session)
            if fill.fill_id not in self.voids:
                self._absorb(fill)
        return outcome

    def _absorb(self, fill: Fill) -> None:
        left = fill.quantity
        for other in self.synthetic:
            if other.began and other.fill_id not in self.voids:
                same = (other.account, other.symbol, other.book, other.side) == (fill.account, fill.symbol, fill.book, fill.side)
                if same and fill.ts <= min(other.began, other.ended):
                    taken = min(left, other.quantity)
                    left -= taken
                    other.quantity -= taken
                    if not other.quantity:
                        self.voids.add(other.fill_id)

    # --- corrections -------------------------------------------------------------------------------------------------------------------

    def correction(self, said: Mapping[str, Any]) -> None:
        given: dict[str, Any] = {
            "strategy_id": "",
            "quantity": 0,
            "price": 0,
            "amount": 0,
            "fees": 0,
            "taxes": 0,
            "to_symbol": "",
            "to_book": "",
        }
        given |= {"to_strategy_id": "", "fill_id": "", "read_began_ts": 0, "read_ended_ts": 0, **said}
        getattr(self, f"_{given['kind'].lower()}", lambda _: None)(given)

    def _void(self, given: Mapping[str, Any]) -> None:
        self.void(given["fill_id"])

    def _opening(self, given: Mapping[str, Any]) -> None:
        self.log.insert(0, self._made(given, given["quantity"], given["price"], before=True))

    def _adjust(self, given: Mapping[str, Any]) -> None:
        price, kind = given["price"], ""
        if not price:
            net = self._now(given, NET)
            price = round(Fraction(net.open_cost, net.quantity * self._multiplier(given)))
            kind = "AT_COST" if net.quantity * given["quantity"] < 0 else ""
        self.log.append(self._made(given, given["quantity"], price, kind=kind))

    def _settlement(self, given: Mapping[str, Any]) -> None:
        held = {key[3]: row.quantity for key, row in self.rows().items() if key[:3] == _key(given) and row.quantity and key[3] != NET}
        names = sorted(held)
        fees, taxes = (_split(given[name], [abs(held[each]) for each in names]) for name in ("fees", "taxes"))
        for number, name in enumerate(names):
            made = self._made(given, -held[name], given["price"], number=number + 1)
            made.strategy, made.fee, made.tax, made.began, made.ended = name, fees[number], taxes[number], 0, 0
            self.log.append(made)

    def _cost_basis(self, given: Mapping[str, Any]) -> None:
        rows = {key[3]: row.quantity for key, row in self.rows().items() if key[:3] == _key(given) and row.quantity and key[3] != NET}
        names = sorted(rows) if given["strategy_id"] == NET else [given["strategy_id"] or UNASSIGNED]
        for name, share in zip(names, _split(given["amount"], [abs(rows[name]) for name in names]), strict=True):
            self.log.append(Line(((*_key(given), name), (*_key(given), NET)), _day(given), 0, share, "COST_BASIS"))

    def _fees(self, given: Mapping[str, Any]) -> None:
        keys = ((*_key(given), given["strategy_id"] or UNASSIGNED), (*_key(given), NET))
        self.log.append(Line(keys, _day(given), 0, 0, "FEES", given["fees"], given["taxes"]))

    def _transfer(self, given: Mapping[str, Any]) -> None:
        account, symbol, book = _key(given)
        outside = not given["strategy_id"]
        leaves = not (given["to_symbol"] or given["to_book"] or given["to_strategy_id"])
        target = (account, given["to_symbol"] or symbol, given["to_book"] or book)
        across = outside or leaves or target != (account, symbol, book)
        if outside:
            there = {"symbol": target[1], "book": target[2]}
            worth = given["amount"] or given["quantity"] * given["price"] * self._multiplier(there)
            moved = net_moved = [(given["quantity"], worth)]
        else:
            moved = self._parts(given, given["strategy_id"])
            net_moved = self._parts(given, NET) if across else []
        taker = given["to_strategy_id"] or given["strategy_id"] or UNASSIGNED
        for parts, giver, receiver in (
            (moved, (account, symbol, book, given["strategy_id"]), (*target, taker)),
            (net_moved, (account, symbol, book, NET), (*target, NET)),
        ):
            if not outside:
                self.log += [Line((giver,), _day(given), -quantity, -amount, "TRANSFER") for quantity, amount in parts]
            if not leaves:
                self.log += [Line((receiver,), _day(given), quantity, amount, "TRANSFER") for quantity, amount in parts]

    def _parts(self, given: Mapping[str, Any], strategy: str) -> list[tuple[int, int]]:
        """What a row gives at its cost: its oldest lots, or one part."""
        row, taken = self._now(given, strategy), abs(given["quantity"])
        sign = 1 if given["quantity"] > 0 else -1
        if self._method((*_key(given), strategy)) == "day_pair_average":
            lines = self._lines((*_key(given), strategy))
            after = row_of([*lines, Line((), _day(given), -given["quantity"], 0, "TRANSFER")], "day_pair_average")
            return [(given["quantity"], row.open_cost - after.open_cost)]
        lots = row.lots or [[row.quantity, row.open_cost]]
        found = []
        for quantity, cost in lots:
            size = min(taken, abs(quantity))
            if size:
                found.append((sign * size, share_of(cost, size, abs(quantity))))
            taken -= size
        return found

    def _made(
        self, given: Mapping[str, Any], quantity: int, price: int, *, kind: str = "", number: int = 1, before: bool = False
    ) -> Synthetic:
        when = given["read_ended_ts"] or given["ts"]
        account = given["account"]
        # Fills alone move the window, so what comes ahead of them is of their newest session.
        session = min(session_of(when), self.latest.get(account, session_of(when)))
        fill_id = f"{account}|{session}|~{given['correction_id']}|{number}"
        self.newest[account] = max(self.newest.get(account, 0), oracle.ordinal(session))
        self.latest[account] = max(self.latest.get(account, ""), session)
        self._place(account, session, fill_id)
        made = Synthetic(
            fill_id, account, session, f"~{given['correction_id']}", "", given["symbol"], given["book"], "BUY" if quantity > 0 else "SELL",
            abs(quantity), price, self._multiplier(given), "", on=_day(given) - timedelta(days=before), kind=kind,
            began=given["read_began_ts"] or when, ended=when,
        )  # fmt: skip
        self.synthetic.append(made)
        return made

    def _multiplier(self, given: Mapping[str, Any]) -> int:
        product = self._what(given["symbol"], given["book"])
        return int(product["multiplier"])

    @staticmethod
    def _what(symbol: str, book: str) -> Mapping[str, Any]:
        derivative = book == "derivative"
        found = product_of("F" if derivative else "S", symbol[:3] if derivative else symbol, symbol)
        assert found is not None
        return found

    # --- the answer --------------------------------------------------------------------------------------------------------------------

    def _now(self, given: Mapping[str, Any], strategy: str) -> Row:
        return self.rows().get((*_key(given), strategy), Row())

    def _method(self, key: Key) -> str:
        kind = self._what(key[1], key[2])["security_type"]
        return self.methods.get(f"{kind}.{key[2]}") or self.methods.get(kind) or self.methods[key[2]]

    def _lines(self, key: Key) -> list[Line]:
        return [line for line in self._all() if key in line.keys]

    def _all(self) -> list[Line]:
        real = [fill for fill in self.fills if fill.fill_id not in self.voids]
        charge(real, {fill.fill_id: spared for fills in self._days(real) for fill, spared in oracle.paired(fills)})
        lines = []
        for item in self.log:
            if isinstance(item, Line):
                lines.append(item)
            elif item.fill_id not in self.voids:
                owner = item.strategy if isinstance(item, Synthetic) else self.owner(item)
                keys = tuple((item.account, item.symbol, item.book, strategy) for strategy in (owner, NET))
                lines.append(Line(keys, item.day, *item.signed, item.kind if isinstance(item, Synthetic) else "", item.fee, item.tax))
        return lines

    def rows(self) -> dict[Key, Row]:
        lines = self._all()
        keys = dict.fromkeys(key for line in lines for key in line.keys)
        return {key: row_of([line for line in lines if key in line.keys], self._method(key)) for key in keys}


def _key(given: Mapping[str, Any]) -> tuple[str, str, str]:
    return given["account"], given["symbol"], given["book"]


def _day(given: Mapping[str, Any]) -> date:
    return trading_day(given["read_ended_ts"] or given["ts"], given["account"].split("|")[1])


def _split(total: int, weights: list[int]) -> list[int]:
    """Shares of a total by weights, the last one with the rest."""
    shares = [share_of(total, weight, sum(weights)) for weight in weights[:-1]]
    return [*shares, total - sum(shares)]


# --- rows --------------------------------------------------------------------------------------------------------------------------------


def row_of(lines: list[Line], method: str) -> Row:
    """The row that lines make from nothing. Closing at cost realizes nothing: what it would have is basis."""
    plain = _pairs(lines) if method == "day_pair_average" else _walk(lines, method)
    held = [sum(line.quantity for line in lines[:count]) for count in range(len(lines))]
    basis = sum(line.amount for line, before in zip(lines, held, strict=True) if line.kind == "COST_BASIS" and before)
    for count, line in enumerate(lines):
        if line.kind == "AT_COST":
            upto = [_pairs(part) if method == "day_pair_average" else _walk(part, method) for part in (lines[:count], lines[: count + 1])]
            neutral = upto[1].realized - upto[0].realized
            plain.realized -= neutral
            basis += neutral
    plain.basis, plain.fees, plain.taxes = basis, sum(line.fee for line in lines), sum(line.tax for line in lines)
    if method != "fifo":
        plain.lots = []
    return plain


def _walk(lines: list[Line], method: str) -> Row:
    row = PlainRow()
    for line in lines:
        if line.kind == "COST_BASIS" and row.quantity:
            if method == "fifo":
                for lot, share in zip(row.lots, _split(line.amount, [abs(quantity) for quantity, _ in row.lots]), strict=True):
                    lot[1] += share
            row.open_cost += line.amount
        elif line.quantity:
            book_trade(row, line.quantity, line.amount, method, 10**9)
    return Row(row.quantity, row.open_cost, row.realized, lots=row.lots)


def _pairs(lines: list[Line]) -> Row:
    """Day by day: first what changes the morning, then the pairs, then the rest."""
    quantity = cost = realized = 0
    runs: list[tuple[date, list[Line]]] = []
    held = 0
    for line in lines:
        if line.quantity and (not runs or line.day > runs[-1][0]):
            runs.append((line.day, []))
        if line.quantity or (line.kind == "COST_BASIS" and held):
            runs[-1][1].append(line)
        held += line.quantity
    for today, run in runs:
        sums = {1: [0, 0], -1: [0, 0]}
        for line in run:
            if line.kind == "COST_BASIS":
                cost += line.amount
            elif line.kind or line.day < today:
                quantity, cost, gained = _average(quantity, cost, line.quantity, line.amount)
                realized += gained
            else:
                side = sums[1 if line.quantity > 0 else -1]
                side[0], side[1] = side[0] + abs(line.quantity), side[1] + abs(line.amount)
        (bought, spent), (sold, received) = sums[1], sums[-1]
        pairs = min(bought, sold)
        paid, got = share_of(spent, pairs, bought), share_of(received, pairs, sold)
        realized += got - paid
        quantity, cost, gained = _average(quantity, cost, bought - sold, spent - paid - (received - got))
        realized += gained
        if not quantity:
            realized, cost = realized - cost, 0
    return Row(quantity, cost, realized)


def _average(held: int, cost: int, quantity: int, amount: int) -> tuple[int, int, int]:
    if not quantity:
        return held, cost, 0
    if held * quantity >= 0:
        return held + quantity, cost + amount, 0
    size = min(abs(held), abs(quantity))
    out, closing = share_of(cost, size, abs(held)), share_of(amount, size, abs(quantity))
    return held + quantity, cost - out + amount - closing, -closing - out


def after_action(quantities: Mapping[str, int], numerator: int, denominator: int) -> dict[str, int]:
    """The quantities of a key's rows after a split n:d, by strategy: cut toward zero, and UNASSIGNED has what NET has more."""

    def cut(quantity: int) -> int:
        whole = abs(quantity) * numerator // denominator
        return whole if quantity > 0 else -whole

    rows = {name: cut(quantity) for name, quantity in quantities.items() if name != NET}
    net = cut(sum(quantity for name, quantity in quantities.items() if name != NET))
    rows[UNASSIGNED] = rows.get(UNASSIGNED, 0) + net - sum(rows.values())
    return rows | {NET: net}
