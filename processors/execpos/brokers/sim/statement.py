"""One account's positions and profits as the simulated broker states them, kept match by match.

Stocks have a row a code and cond, at moving average cost; futures and options a row a contract, first in first out. A row is long or short,
never both; a fill that goes through zero closes first. Profits of stocks are net of fees and taxes of both sides; those of futures are
gross, with fee and tax beside them. All money inside is in hundredths of TWD.
"""

from collections import defaultdict
from typing import Any

from execpos.brokers.sim.charges import Charges, contract_tax, sales_tax
from execpos.brokers.sim.market import CENT, Instrument
from execpos.brokers.sim.orders import SHARES_PER_LOT, Fill

_WORDS = {1: "Buy", -1: "Sell"}


class _Lot:
    """What is left of one opening fill: units, and the share of its fee that goes with them."""

    __slots__ = ("date", "fee", "ordno", "price", "seqno", "units")

    def __init__(self, fill: Fill, units: int, fee: int) -> None:
        self.date = fill.order.trading_date
        self.units = units
        self.price = fill.price
        self.fee = fee
        self.ordno = fill.order.ordno
        self.seqno = fill.order.seqno

    def part(self, units: int) -> int:
        """Take units out; return the fee that goes with them."""
        fee = self.fee * units // self.units
        self.units -= units
        self.fee -= fee
        return fee


class _Holding:
    def __init__(self, instrument: Instrument, cond: str) -> None:
        self.instrument = instrument
        self.cond = cond
        self.sign = 0
        self.lots: list[_Lot] = []
        # Average cost of a stock; of futures it is the sum of the lots.
        self.cost = 0
        # Signed, when the day began.
        self.before = 0
        # Units bought and sold today, and paired with each other.
        self.day = {1: 0, -1: 0}
        self.paired = 0

    @property
    def units(self) -> int:
        return sum(lot.units for lot in self.lots)

    def roll(self) -> None:
        self.before = self.sign * self.units
        self.day = {1: 0, -1: 0}
        self.paired = 0


class Statement:
    """Positions and realized profits of one account. Not thread-safe."""

    def __init__(self, market: str) -> None:
        self._stock = market == "S"
        self._charges = Charges()
        self._holdings: dict[tuple[str, str], _Holding] = {}
        self._date = ""
        # What stocks bring in or cost, by trading date, in hundredths.
        self.flows: defaultdict[str, int] = defaultdict(int)
        # As list_profit_loss has them, each with its details under `_details`.
        self.profits: list[dict[str, Any]] = []

    def roll(self, date: str) -> None:
        """Begin a trading day; the same one again changes nothing."""
        if date > self._date:
            self._date = date
            for holding in self._holdings.values():
                holding.roll()

    def apply(self, fill: Fill) -> None:
        """Book a fill."""
        order = fill.order
        self.roll(order.trading_date)
        cond = order.cond if self._stock else ""
        key = (order.instrument.full_code, cond)
        holding = self._holdings.get(key)
        if holding is None:
            holding = self._holdings[key] = _Holding(order.instrument, cond)
        fee = self._charges.fee(fill)
        closing = min(fill.units, holding.units) if holding.sign == -order.side else 0
        fee_closing = fee * closing // fill.units
        if self._stock:
            self.flows[order.trading_date] -= order.side * fill.units * fill.price + fee * CENT
        holding.day[order.side] += fill.units
        if closing:
            if self._stock:
                self._close_stock(holding, fill, closing, fee_closing)
            else:
                self._close_contracts(holding, fill, closing, fee_closing)
        if opening := fill.units - closing:
            holding.sign = order.side
            holding.lots.append(_Lot(fill, opening, fee - fee_closing))
            holding.cost += opening * fill.price

    def _close_stock(self, holding: _Holding, fill: Fill, units: int, fee: int) -> None:
        held = holding.units
        cost = holding.cost if units == held else round(holding.cost * units / held)
        value = units * fill.price
        day_trade = 0
        if holding.cond == "Cash":
            day_trade = max(0, min(units, holding.day[holding.sign] - holding.paired))
            holding.paired += day_trade
        sold = value if holding.sign > 0 else cost
        tax = sales_tax(sold * day_trade // units, day_trade=True) + sales_tax(sold - sold * day_trade // units, day_trade=False)
        self.flows[fill.order.trading_date] -= tax * CENT
        entry_fee, left = 0, units
        while left:
            lot = holding.lots[0]
            part = min(left, lot.units)
            entry_fee += lot.part(part)
            left -= part
            if not lot.units:
                del holding.lots[0]
        holding.cost -= cost
        pnl = holding.sign * (value - cost) / CENT - fee - entry_fee - tax
        code = holding.instrument.code
        detail = {
            "date": fill.order.trading_date,
            "code": code,
            "quantity": units,
            "dseq": fill.order.ordno,
            "fee": fee + entry_fee,
            "tax": tax,
            "currency": "TWD",
            "price": fill.price / CENT,
            "cost": round(cost / CENT),
            "rep_margintrading_amt": 0,
            "rep_collateral": 0,
            "rep_margin": 0,
            "shortselling_fee": 0,
            "ex_dividend_amt": 0,
            "interest": 0,
            "trade_type": "DayTrade" if day_trade else "Common",
            "cond": holding.cond,
        }
        profit = {
            "code": code,
            "quantity": units,
            "pnl": float(round(pnl)),
            "date": fill.order.trading_date,
            "dseq": fill.order.ordno,
            "price": fill.price / CENT,
            "pr_ratio": round(100 * pnl * CENT / cost, 2) if cost else 0.0,
            "cond": holding.cond,
            "seqno": fill.order.seqno,
        }
        self.profits.append(profit | {"_details": [detail], "_fill": fill})

    def _close_contracts(self, holding: _Holding, fill: Fill, units: int, fee: int) -> None:
        instrument, left = holding.instrument, units
        while left:
            lot = holding.lots[0]
            part = min(left, lot.units)
            entry_price, entry_date, entry_seqno = lot.price, lot.date, lot.seqno
            whole_fee = lot.part(part) + fee * part // units
            if not lot.units:
                del holding.lots[0]
            left -= part
            size = part * instrument.multiplier
            tax = contract_tax(entry_price * size, instrument.security_type) + contract_tax(fill.price * size, instrument.security_type)
            pnl = holding.sign * (fill.price - entry_price) * size / CENT
            profit = {
                "code": instrument.full_code,
                "quantity": part,
                "pnl": pnl,
                "date": fill.order.trading_date,
                "entry_price": entry_price / CENT,
                "cover_price": fill.price / CENT,
                "tax": tax,
                "fee": whole_fee,
                "direction": _WORDS[holding.sign],
            }
            detail = profit | {
                "dseq": fill.order.ordno,
                "fee": float(whole_fee),
                "tax": float(tax),
                "currency": "TWD",
                "entry_date": entry_date,
                "entry_quantity": part,
                "entry_seqno": entry_seqno,
                "pnl": round(pnl),
            }
            self.profits.append(profit | {"_details": [detail], "_fill": fill})

    def _held(self) -> list[_Holding]:
        return [self._holdings[key] for key in sorted(self._holdings) if self._holdings[key].units]

    def positions(self) -> list[dict[str, Any]]:
        """Return the rows of list_positions, in shares or contracts, with `id` as the index that names the details."""
        return [self._stock_row(n, each) if self._stock else _contract_row(n, each) for n, each in enumerate(self._held())]

    @staticmethod
    def _stock_row(number: int, holding: _Holding) -> dict[str, Any]:
        units, last = holding.units, holding.instrument.price
        margin = holding.cond == "MarginTrading"
        short = holding.cond == "ShortSelling"
        return {
            "id": number,
            "code": holding.instrument.code,
            "direction": _WORDS[holding.sign],
            "quantity": units,
            "price": round(holding.cost / units / CENT, 2),
            "last_price": last / CENT,
            "pnl": float(round(holding.sign * (units * last - holding.cost) / CENT)),
            "yd_quantity": max(0, holding.sign * holding.before),
            "cond": holding.cond,
            "margin_purchase_amount": round(holding.cost * 0.6 / CENT) if margin else 0,
            "collateral": round(holding.cost / CENT) if short else 0,
            "short_sale_margin": round(holding.cost * 0.9 / CENT) if short else 0,
            "interest": 0,
        }

    def contract_values(self) -> int:
        """Return what the open contracts are worth now, long and short together, TWD."""
        return sum(each.units * each.instrument.price * each.instrument.multiplier for each in self._held()) // CENT

    def details(self) -> list[list[dict[str, Any]]]:
        """Return the rows of list_position_detail, for each row of `positions`. Their costs sum to the row's."""
        return [self._stock_lots(each) if self._stock else _contract_lots(each) for each in self._held()]

    @staticmethod
    def _stock_lots(holding: _Holding) -> list[dict[str, Any]]:
        rows = []
        units, cost = holding.units, holding.cost
        for lot in holding.lots:
            # Average cost, shared out by units; the last lot takes what is left.
            part = round(cost * lot.units / units)
            units -= lot.units
            cost -= part
            last = holding.instrument.price * lot.units
            rows.append(
                {
                    "date": lot.date,
                    "code": holding.instrument.code,
                    "quantity": lot.units,
                    "price": part / CENT,
                    "last_price": last / CENT,
                    "dseq": lot.ordno,
                    "direction": _WORDS[holding.sign],
                    "pnl": float(round(holding.sign * (last - part) / CENT)),
                    "currency": "TWD",
                    "fee": float(lot.fee),
                    "cond": holding.cond,
                    "ex_dividends": 0,
                    "interest": 0,
                    "margintrading_amt": round(part * 0.6 / CENT) if holding.cond == "MarginTrading" else 0,
                    "collateral": round(part / CENT) if holding.cond == "ShortSelling" else 0,
                }
            )
        return rows


def _contract_row(number: int, holding: _Holding) -> dict[str, Any]:
    units, last = holding.units, holding.instrument.price
    cost = sum(lot.units * lot.price for lot in holding.lots)
    return {
        "id": number,
        "code": holding.instrument.full_code,
        "direction": _WORDS[holding.sign],
        "quantity": units,
        "price": cost / units / CENT,
        "last_price": last / CENT,
        "pnl": holding.sign * (units * last - cost) * holding.instrument.multiplier / CENT,
    }


def _contract_lots(holding: _Holding) -> list[dict[str, Any]]:
    last = holding.instrument.price
    return [
        {
            "date": lot.date,
            "code": holding.instrument.full_code,
            "quantity": lot.units,
            "price": lot.price / CENT,
            "last_price": last / CENT,
            "dseq": lot.ordno,
            "direction": _WORDS[holding.sign],
            "pnl": holding.sign * (last - lot.price) * lot.units * holding.instrument.multiplier / CENT,
            "currency": "TWD",
            "fee": float(lot.fee),
            "entry_quantity": lot.units,
        }
        for lot in holding.lots
    ]


def in_lots(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows of stocks in whole lots, odd shares cut off: 200 shares are none. Prices stay per share."""
    names = ("quantity", "yd_quantity")
    return [row | {name: row[name] // SHARES_PER_LOT for name in names if name in row} for row in rows]
