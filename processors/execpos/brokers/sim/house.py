"""The simulated broker's back office: what it knows of orders, matches, positions and profits, at the moment they happen.

It hears the exchange directly. No fault of the delivery touches it; what makes its answers wrong is added when it is asked.
"""

from collections.abc import Sequence
from typing import Any

from execpos.brokers.sim.config import SimAccount
from execpos.brokers.sim.exchange import Report, trading_date
from execpos.brokers.sim.market import CENT
from execpos.brokers.sim.orders import Fill, Order
from execpos.brokers.sim.statement import Statement


class AccountFile:
    """All that the broker keeps of one account."""

    def __init__(self, account: SimAccount) -> None:
        self.account = account
        self.date = ""
        self.statement = Statement(account.market)
        self.fills: list[Fill] = []
        # Every order that ever had an id.
        self.known: list[Order] = []
        # Reports and orders of today, and the orders of the day before.
        self.records: list[Report] = []
        self.orders: dict[str, tuple[Order, list[Fill]]] = {}
        self.yesterday: dict[str, tuple[Order, list[Fill]]] = {}

    def turn(self, date: str) -> None:
        """Begin a trading day; the same one again changes nothing."""
        if date > self.date:
            self.date = date
            self.records = []
            self.yesterday, self.orders = self.orders, {}
            self.statement.roll(date)

    def as_of(self, fills: Sequence[Fill]) -> Statement:
        """Return the statement after these fills alone."""
        statement = Statement(self.account.market)
        for fill in fills:
            if not fill.busted:
                statement.apply(fill)
        statement.roll(self.date)
        return statement


class House:
    """The files of all accounts. Not thread-safe."""

    def __init__(self, accounts: Sequence[SimAccount]) -> None:
        self.files = {account.key: AccountFile(account) for account in accounts}

    def turn(self, start_us: int) -> None:
        """Begin a session."""
        for file in self.files.values():
            file.turn(trading_date(start_us, file.account.market))

    def order(self, report: Report) -> None:
        """Hear of an order."""
        file = self.files[report.order.account.key]
        file.records.append(report)
        if report.order.id and report.order.id not in file.orders:
            file.orders[report.order.id] = (report.order, [])
            file.known.append(report.order)

    def deal(self, report: Report) -> None:
        """Hear of a match."""
        fill = report.fill
        assert fill is not None  # noqa: S101 (a match has one)
        file = self.files[fill.order.account.key]
        file.records.append(report)
        file.fills.append(fill)
        file.orders[fill.order.id][1].append(fill)
        file.statement.apply(fill)

    def bust(self, fill: Fill) -> None:
        """Take a match back: reports and orders of the day lose it too. Folds the account again."""
        file = self.files[fill.order.account.key]
        file.records = [report for report in file.records if report.fill is not fill]
        if fill.order.id in file.orders:
            order, fills = file.orders[fill.order.id]
            file.orders[fill.order.id] = (order, [each for each in fills if each is not fill])
        file.statement = file.as_of(file.fills)


def trade_fields(order: Order, fills: Sequence[Fill], *, other_ids: bool = False, pending: bool = False) -> dict[str, Any]:
    """Return an order of the order list as plain data, times in µs.

    Args:
        order: the order.
        fills: its fills.
        other_ids: number the deals from 000001 and give them a time half a second later, unlike the callbacks.
        pending: as an order of yesterday that comes back as new, without its exchange number.
    """
    instrument, futures = order.instrument, order.instrument.market == "F"
    dealt = sum(fill.units for fill in fills) // order.unit
    status = "PendingSubmit" if pending else order_status(order, dealt)
    return {
        "account": order.account.key,
        "contract": {
            "security_type": instrument.security_type,
            "exchange": "TAIFEX" if futures else instrument.exchange,
            "code": instrument.full_code,
        },
        "order": {
            "id": order.id,
            "seqno": order.seqno,
            "ordno": "" if pending else order.ordno,
            "action": "Buy" if order.side > 0 else "Sell",
            "price": order.price / CENT,
            "quantity": order.quantity,
            "time_in_force": order.time_in_force,
            "order_type": order.time_in_force,
            "price_type": order.price_type,
            "custom_field": order.custom_field,
            "daytrade_short": None if futures else False,
            "order_cond": None if futures else order.cond,
            "order_lot": None if futures else order.lot,
            "octype": "Auto" if futures else None,
        },
        "status": {
            "id": order.id,
            "status": status,
            "status_code": order.failure or ("0000" if futures else "00"),
            "web_id": order.web_id,
            "order_us": order.placed_us,
            "msg": "",
            "modified_us": order.placed_us,
            "modified_price": 0.0,
            # The broker's list has 0 here once an order is done.
            "order_quantity": 0 if status in {"Filled", "Cancelled", "Failed"} else order.quantity,
            "deal_quantity": 0 if pending else dealt,
            "cancel_quantity": 0 if order.failure else order.cancelled,
            "deals": []
            if pending
            else [
                {
                    "seq": f"{number:06d}" if other_ids else fill.exchange_seq,
                    "price": fill.price / CENT,
                    "quantity": fill.units // order.unit,
                    "ts": (fill.at_us + 500_000 * other_ids) / 1_000_000,
                }
                for number, fill in enumerate(fills, 1)
            ],
        },
    }


def order_status(order: Order, dealt: int) -> str:
    """Return the word of the order list for an order of which so much is dealt."""
    if order.failure:
        return "Failed"
    if order.open:
        return "PartFilled" if dealt else "Submitted"
    return "Cancelled" if order.cancelled else "Filled"
