"""The broker's answers as rows of a BrokerSnapshot. Pure; what does not hold together says nothing at all."""

from collections.abc import Iterable, Iterator, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from math import isfinite
from typing import Literal, TypeVar

from execpos.brokers.protocol import BrokerAccount, BrokerError, BrokerLot, BrokerPosition, BrokerProfit, BrokerTrade
from execpos.domain.events import BrokerLotRow, BrokerOrderRow, BrokerPositionRow, BrokerProfitRow
from execpos.domain.limits import WORD_CHARS_MAX, cut
from execpos.domain.money import MAX_MICROS, MICROS

T = TypeVar("T")

# What a row says of a quantity whose unit the broker's answer does not give.
_UNKNOWN = -1


def micros(value: float, where: str) -> int:
    """Return an amount of the broker in 10⁻⁶, half-even: an average has as many decimals as it likes.

    Raises:
        BrokerError: `malformed`: not finite, or beyond 10^12; `where` names it.
    """
    if not isfinite(value):
        raise _malformed(f"{where} is {value}")
    scaled = int((Decimal(repr(value)) * MICROS).to_integral_value(ROUND_HALF_EVEN))
    if abs(scaled) > MAX_MICROS:
        raise _malformed(f"{where} is {value!r}, beyond 10^12")
    return scaled


def _malformed(what: str) -> BrokerError:
    return BrokerError(what, kind="malformed", hint="the broker's answer was put aside as a whole")


def _count(value: int, where: str) -> int:
    if not 0 <= value <= MAX_MICROS:
        raise _malformed(f"{where} is {value}")
    return value


def _sign(direction: Literal["Buy", "Sell"]) -> int:
    return 1 if direction == "Buy" else -1


def _word(text: str) -> str:
    return cut(text, WORD_CHARS_MAX)


def position_rows(rows: Iterable[BrokerPosition]) -> tuple[BrokerPositionRow, ...]:
    """Return the rows of a position list.

    Raises:
        BrokerError: `malformed`: a number that cannot be.
    """
    return tuple(
        BrokerPositionRow(
            symbol=_word(row.symbol),
            order_cond=_word(row.order_cond),
            quantity=_sign(row.direction) * _count(row.quantity, f"quantity of {row.symbol}"),
            price=micros(row.price, f"price of {row.symbol}"),
            has_quantity_before=row.quantity_before is not None,
            quantity_before=_sign(row.direction) * _count(row.quantity_before or 0, f"earlier quantity of {row.symbol}"),
            last_price=micros(row.last_price, f"last price of {row.symbol}"),
            pnl=micros(row.pnl, f"result of {row.symbol}"),
        )
        for row in rows
    )


def lot_rows(position: BrokerPosition, lots: Iterable[BrokerLot]) -> tuple[BrokerLotRow, ...]:
    """Return the rows of the lots behind one position.

    Raises:
        BrokerError: `malformed`: a number that cannot be.
    """
    return tuple(
        BrokerLotRow(
            symbol=_word(position.symbol),
            order_cond=_word(position.order_cond),
            quantity=_sign(position.direction) * _count(lot.quantity, f"a lot of {position.symbol}"),
            cost=micros(lot.cost, f"cost of a lot of {position.symbol}"),
            opened=_word(lot.opened),
            ordno=_word(lot.ordno),
            fee=micros(lot.fee, f"fee of a lot of {position.symbol}"),
        )
        for lot in lots
    )


def order_rows(trades: Iterable[BrokerTrade]) -> tuple[BrokerOrderRow, ...]:
    """Return the rows of an order list.

    Raises:
        BrokerError: `malformed`: a number that cannot be.
    """

    def quantity(value: int | None, where: str) -> int:
        return _UNKNOWN if value is None else _count(value, where)

    return tuple(
        BrokerOrderRow(
            order_id=_word(trade.order_id),
            seqno=_word(trade.seqno),
            ordno=_word(trade.ordno),
            symbol=_word(trade.symbol),
            action=_word(trade.action),
            status=_word(trade.status),
            order_cond=_word(trade.order_cond),
            order_lot=_word(trade.order_lot),
            price=micros(trade.price, f"price of order {trade.order_id}"),
            quantity=quantity(trade.quantity, f"quantity of order {trade.order_id}"),
            filled=quantity(trade.filled, f"filled quantity of order {trade.order_id}"),
            cancelled=quantity(trade.cancelled, f"cancelled quantity of order {trade.order_id}"),
            deals=len(trade.deals),
        )
        for trade in trades
    )


def profit_rows(profits: Iterable[BrokerProfit]) -> tuple[BrokerProfitRow, ...]:
    """Return the rows of realized profit.

    Raises:
        BrokerError: `malformed`: a number that cannot be.
    """
    return tuple(
        BrokerProfitRow(
            symbol=_word(row.symbol),
            order_cond=_word(row.order_cond),
            day=_word(row.date),
            quantity=_count(row.quantity, f"closed quantity of {row.symbol}"),
            pnl=micros(row.pnl, f"profit of {row.symbol}"),
            has_charges=row.fee is not None and row.tax is not None,
            fee=0 if row.fee is None or row.tax is None else micros(row.fee, f"fee of {row.symbol}"),
            tax=0 if row.fee is None or row.tax is None else micros(row.tax, f"tax of {row.symbol}"),
        )
        for row in profits
    )


def chunks(rows: Sequence[T], rows_max: int) -> Iterator[Sequence[T]]:
    """Yield the rows in order, at most `rows_max` at a time; one empty part when there are none."""
    for start in range(0, max(1, len(rows)), rows_max):
        yield rows[start : start + rows_max]


def named(account: BrokerAccount) -> str:
    """Return an account for people and logs: the market and the broker's numbers."""
    return f"{account.market} {account.broker_id} {account.account_id}"
