"""Plain data of the broker's side turned into what the library hands out: contracts, orders, ticks, summaries, settlements."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any

from execpos.brokers.sim.config import TAIPEI
from execpos.brokers.sim.objects import Account, Parted, Row, Word, row

_CATEGORIES = {"STK": "stocks", "FUT": "futures", "OPT": "options"}


class ContractCategory:
    """The contracts of one kind, by code: `category["2330"]`, `.get`, `in`, `len`, iteration over the contracts."""

    def __init__(self, contracts: Mapping[str, Row]) -> None:
        self._contracts = contracts

    def __getitem__(self, code: str) -> Row:
        return self._contracts[code]

    def get(self, code: str, default: Row | None = None) -> Row | None:
        """Return a contract, or `default`."""
        return self._contracts.get(code, default)

    def keys(self) -> list[str]:
        """Return the codes."""
        return list(self._contracts)

    def __contains__(self, code: object) -> bool:
        return code in self._contracts

    def __iter__(self) -> Iterator[Row]:
        return iter(self._contracts.values())

    def __len__(self) -> int:
        return len(self._contracts)


class Contracts:
    """What can be traded: `stocks`, `futures`, `options`, under their old names with a capital too."""

    def __init__(self, found: Sequence[Mapping[str, Any]]) -> None:
        kinds: dict[str, dict[str, Row]] = {name: {} for name in _CATEGORIES.values()}
        for fields in found:
            kinds[_CATEGORIES[fields["security_type"]]][fields["code"]] = row("Contract", fields)
        self.stocks = self.Stocks = ContractCategory(kinds["stocks"])
        self.futures = self.Futures = ContractCategory(kinds["futures"])
        self.options = self.Options = ContractCategory(kinds["options"])
        self.status = Word("FetchStatus", "Fetched")


def trade(fields: Mapping[str, Any], account: Account) -> Row:
    """Return an order of the order list, with `contract`, `order` and `status`; times of the status in Taipei's zone.

    The parts are made when they are asked for, as the library makes its own: who lists thousands of orders mostly reads a few of them.
    """
    return Parted(
        "Trade",
        {
            "contract": lambda: row("Contract", fields["contract"]),
            "order": lambda: row("Order", fields["order"] | {"account": account}),
            "status": lambda: _order_status(fields["status"]),
        },
    )


def _order_status(fields: Mapping[str, Any]) -> Row:
    status = dict(fields)
    status["order_datetime"] = _moment(status.pop("order_us"))
    status["modified_time"] = _moment(status.pop("modified_us"))
    status["status"] = Word("OrderStatus", status["status"])
    status["deals"] = [row("Deal", each | {"datetime": _moment(round(each["ts"] * 1_000_000))}) for each in status["deals"]]
    return Row("OrderStatus", status)


def tick(fields: Mapping[str, Any]) -> Row:
    """Return a tick; its `datetime` is the clock on the wall in Taipei, without a zone, and its prices are text."""
    moment = datetime.fromtimestamp(fields["at_us"] / 1_000_000, TAIPEI).replace(tzinfo=None)
    rest = {name: value for name, value in fields.items() if name != "at_us"}
    return Row("TickSTKv1" if fields["security_type"] == "STK" else "TickFOPv1", rest | {"datetime": moment})


def summary(found: Mapping[str, Any]) -> Row:
    """Return the profits by code, and their total."""
    kind = "StockProfitLossSummary" if found["market"] == "S" else "FutureProfitLossSummary"
    rows = [row(kind, each) for each in found["rows"]]
    parts = {"profitloss_summary": rows, "total": Row("ProfitLossTotal", found["total"]), "status": Word("FetchStatus", "Fetched")}
    return Row("ProfitLossSummaryTotal", parts)


def settlement(fields: Mapping[str, Any]) -> Row:
    """Return one day's money that moves."""
    return Row("SettlementV1", {"date": date.fromisoformat(fields["date"]), "amount": fields["amount"], "T": fields["T"]})


def _moment(at_us: int) -> datetime | None:
    return datetime.fromtimestamp(at_us / 1_000_000, TAIPEI) if at_us else None
