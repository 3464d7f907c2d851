"""What the broker answers about orders, positions and profits, with the faults of its answers. Each fault goes into the truth."""

import zlib
from random import Random
from typing import Any

from execpos.brokers.sim import money
from execpos.brokers.sim.errors import ERRORS, BadRequestError
from execpos.brokers.sim.house import AccountFile, trade_fields
from execpos.brokers.sim.market import CENT, Instrument
from execpos.brokers.sim.orders import SHARES_PER_LOT, Fill
from execpos.brokers.sim.play import Play
from execpos.brokers.sim.schedule import Entry, FaultKind
from execpos.brokers.sim.statement import Statement, in_lots

_POSITIONS = "list_positions"
# A record's receipt is left out by its checksum, so that the same record looks the same each time it is asked for.
_CHECKSUM_END = 1 << 32

Rows = list[dict[str, Any]]


class Reading:
    """Answers from the back office of one play. Called under the venue's lock; never blocks.

    Args:
        play: the scenario at work.
    """

    def __init__(self, play: Play) -> None:
        self._play = play
        self._chances = play.scenario.answers
        # What is asked when is not repeatable; these faults are, as a sequence.
        self._random = Random(f"{play.scenario.seed}:answers").random  # noqa: S311 (a game's numbers)

    def fault(self, kind: FaultKind, account: str = "", method: str = "") -> Entry | None:
        """Return the fault of a kind that meets this answer, by schedule or by chance; it is used up and noted."""
        entry = self._play.plan.take(kind, account, method)
        chance = getattr(self._chances, kind, 0.0)
        if entry is None and chance and self._random() < chance:
            entry = Entry(kind, at_s=0, lag_s=self._chances.slow_s)
        if entry is not None:
            self._play.note(kind, account=account, detail=method)
        return entry

    def file(self, account: str) -> AccountFile:
        """Return the file of an account of the login.

        Raises:
            BadRequestError: there is none.
        """
        found = self._play.house.files.get(account)
        if found is None:
            raise BadRequestError(f"400: no such account: {account[:40]}")
        return found

    # -- orders

    def trades(self, account: str) -> Rows:
        """Return today's orders as `update_status` gets them."""
        file = self.file(account)
        found: Rows = []
        if (done := [each for each in file.yesterday.values() if each[0].filled]) and self.fault("trades_yesterday", account):
            found += [trade_fields(order, fills, pending=True) for order, fills in done]
        other = any(fills for _, fills in file.orders.values()) and self.fault("trades_other_ids", account) is not None
        hidden = self._untold(file, "update_status")
        orders = [(order, [fill for fill in fills if fill not in hidden]) for order, fills in file.orders.values()]
        return found + [trade_fields(order, fills, other_ids=other) for order, fills in orders]

    def records(self, account: str) -> list[tuple[str, dict[str, Any]]]:
        """Return today's reports, with or without receipts."""
        below = int(self._chances.records_without_receipt * _CHECKSUM_END)
        found = []
        file = self.file(account)
        hidden = self._untold(file, "order_deal_records")
        for report in file.records:
            if report.fill in hidden:
                continue
            payload = report.payload
            if below and zlib.crc32(payload["event_id"].encode()) < below:
                payload = payload | {"event_id": ""}
            found.append((report.state, payload))
        return found

    def _untold(self, file: AccountFile, method: str) -> frozenset[Fill]:
        """Return the fills that this answer lacks: those that no callback has told of, if the fault meets it."""
        untold = frozenset(fill for fill in file.fills if not fill.receipts)
        return untold if untold and self.fault("records_incomplete", file.account.key, method) else frozenset()

    # -- positions

    def positions(self, account: str, unit: str) -> tuple[Rows, list[Rows]]:
        """Return the rows of list_positions, and the details behind each.

        Raises:
            ShioajiError: a fault says so.
        """
        file = self.file(account)
        if failed := self.fault("positions_failed", account, _POSITIONS):
            raise ERRORS[failed.error](f"500: {_POSITIONS} failed")
        statement = self._statement(file)
        pairs = list(zip(statement.positions(), statement.details(), strict=True))
        stock = account[0] == "S"
        if pairs:
            pairs = self._bent(account, pairs, SHARES_PER_LOT if stock else 1)
        rows = [row | {"id": number} for number, (row, _) in enumerate(pairs)]
        details = [lots for _, lots in pairs]
        wrong = bool(rows) and stock and unit == "Share" and self.fault("positions_lots", account, _POSITIONS) is not None
        return (in_lots(rows) if stock and (unit == "Common" or wrong) else rows), details

    def _statement(self, file: AccountFile) -> Statement:
        """Return the account's statement, or an older one."""
        key, fills = file.account.key, [fill for fill in file.fills if not fill.busted]
        if not fills:
            return file.statement
        if self._play.plan.find("book_behind", key) and (entry := self.fault("book_behind", key, _POSITIONS)):
            before_us = self._play.now_us - int(entry.lag_s * 1_000_000)
            kept = fills[: -entry.fills] if entry.fills else [fill for fill in fills if fill.at_us <= before_us]
            return file.as_of(kept)
        if self.fault("positions_stale", key, _POSITIONS):
            return file.as_of(fills[:-1])
        return file.statement

    def _bent(self, account: str, pairs: list[tuple[dict[str, Any], Rows]], whole: int) -> list[tuple[dict[str, Any], Rows]]:
        """Return the rows as a lying broker gives them."""
        if self.fault("positions_empty", account, _POSITIONS):
            return []
        if len(pairs) > 1 and self.fault("positions_half", account, _POSITIONS):
            return pairs[::2]
        if self.fault("positions_expired", account, _POSITIONS):
            codes = [row["code"] for row, _ in pairs]
            # A contract has one row; of stocks, take one that has.
            gone = min(codes, key=codes.count)
            return [pair for pair in pairs if pair[0]["code"] != gone]
        if self.fault("positions_two_rows", account, _POSITIONS):
            row, lots = pairs[0]
            other = {"direction": "Sell" if row["direction"] == "Buy" else "Buy", "quantity": whole}
            extra = _resized(lots[0], whole, totals=account[0] == "S")
            more = (row | {"quantity": row["quantity"] + whole}, [*lots, extra])
            return [more, (row | other, [extra | {"direction": other["direction"]}]), *pairs[1:]]
        return pairs

    # -- profits

    def profits(self, account: str, begin: str, end: str) -> Rows:
        """Return the statement's realized profits of these days, with what only the broker knows under names with `_`."""
        file = self.file(account)
        first, last = begin or file.date, end or file.date
        return [row for row in file.statement.profits if first <= row["date"] <= last]

    # -- quotes

    def instrument(self, code: str) -> Instrument | None:
        """Return what trades under a full code."""
        return next((each for each in self._play.exchange.instruments if each.full_code == code), None)

    def contracts(self) -> Rows:
        """Return all contracts as plain data."""
        day = money.day_of(self._play.now_us).replace("-", "/")
        return [
            {
                "security_type": each.security_type,
                "exchange": each.exchange if each.market == "S" else "TAIFEX",
                "code": each.full_code,
                "symbol": f"{'TSE' if each.market == 'S' else ''}{each.full_code}",
                "name": each.full_code,
                "category": each.code if each.market == "F" else "",
                "currency": "TWD",
                "delivery_month": each.month,
                "strike_price": float(each.strike),
                "option_right": each.right,
                "unit": SHARES_PER_LOT if each.market == "S" else 1,
                "multiplier": 1 if each.market == "S" else each.multiplier,
                "contract_size": 1 if each.market == "S" else each.multiplier,
                "reference": each.price / CENT,
                "update_date": day,
            }
            for each in self._play.exchange.instruments
        ]

    def snapshot(self, instrument: Instrument) -> dict[str, Any]:
        """Return the last price of an instrument; the simulator keeps no day's range, so all prices are the last one."""
        price = instrument.price / CENT
        fields: dict[str, Any] = {"ts": money.taipei_wall_ns(self._play.now_us), "code": instrument.full_code}
        fields["exchange"] = instrument.exchange if instrument.market == "S" else "TAIFEX"
        fields |= dict.fromkeys(("open", "high", "low", "close", "average_price", "buy_price", "sell_price"), price)
        fields |= {"tick_type": "None", "change_type": "Unchanged"}
        names = ("change_price", "change_rate", "volume", "total_volume", "amount", "total_amount", "yesterday_volume")
        return fields | dict.fromkeys((*names, "buy_volume", "sell_volume", "volume_ratio"), 0)

    def tick(self, instrument: Instrument, at_us: int) -> dict[str, Any]:
        """Return a price as a tick."""
        price = repr(instrument.price / CENT)
        fields: dict[str, Any] = {"security_type": instrument.security_type, "code": instrument.full_code, "at_us": at_us}
        return fields | dict.fromkeys(("open", "high", "low", "close", "avg_price"), price) | {"volume": 1, "simtrade": False}


def _resized(lot: dict[str, Any], units: int, *, totals: bool) -> dict[str, Any]:
    """Return a lot of so many units at the same cost each; prices of stocks are totals."""
    part = units / lot["quantity"] if totals else 1
    return lot | {"quantity": units, "price": lot["price"] * part, "last_price": lot["last_price"] * part}
