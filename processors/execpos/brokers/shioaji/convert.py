"""From the library's answers to the records of `brokers.protocol`: units, words, numbers. Pure.

Quantities of stocks are shares here. Positions and profits are asked for in shares; orders come in lots unless they are of odd lots; of the
lots behind a position nobody says the unit, so that they have to add up to the position.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from execpos.brokers.protocol import (
    BrokerAccount,
    BrokerError,
    BrokerLot,
    BrokerPosition,
    BrokerProfit,
    BrokerTrade,
    CacheHealth,
    Quote,
)
from execpos.brokers.shioaji.fields import Row, rows, word

SHARES_PER_LOT = 1_000
"""Of a board lot, by the rules of the exchange; the library's contracts do not always say it."""

_SHARES_PER_UNIT = {"Common": SHARES_PER_LOT, "Fixing": SHARES_PER_LOT, "BlockTrade": SHARES_PER_LOT, "Odd": 1, "IntradayOdd": 1}

# An order waits for its number for seconds. One that still waits after this is not an order of now: after a night the library brings
# yesterday's filled orders back like that.
_GHOST_AGE = timedelta(hours=2)

_TAIPEI = timedelta(hours=8)
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 (ticks carry the clock on the wall in Taipei, without a zone)
_MICROSECOND = timedelta(microseconds=1)


def positions(answer: str, found: Any, market: Literal["S", "F"], *, before: bool) -> list[BrokerPosition]:
    """Return the rows of `list_positions`, asked for in shares.

    Args:
        answer: names it in errors.
        found: what the library gave.
        market: of the account.
        before: whether the quantity at the start of the day is known to be in shares too; it is not in the broker's simulation.

    Raises:
        BrokerError: a row does not hold together, or two rows have one number.
    """
    made = []
    seen: set[int] = set()
    for row in rows(answer, found):
        row_id = row.count("id")
        if row_id in seen:
            raise row.wrong(f"its id {row_id} is another row's too")
        seen.add(row_id)
        made.append(
            BrokerPosition(
                row_id=row_id,
                symbol=row.text("code"),
                order_cond=row.text("cond") if market == "S" else "",
                direction=row.direction("direction"),
                quantity=row.count("quantity"),
                price=row.number("price"),
                quantity_before=row.count("yd_quantity") if market == "S" and before else None,
                last_price=row.number("last_price"),
                pnl=row.number("pnl"),
            )
        )
    return made


def lots(answer: str, found: Any, position: BrokerPosition, market: Literal["S", "F"]) -> list[BrokerLot]:
    """Return the rows of `list_position_detail` of one position.

    Raises:
        BrokerError: a row does not hold together, is of another position, or the rows do not add up to the position, neither as shares
            nor as lots of 1,000, so that their unit is not known.
    """
    made = []
    for row in rows(answer, found):
        if row.text("code") != position.symbol or row.direction("direction") != position.direction:
            raise row.wrong(f"is of another position than {position.symbol} {position.direction}")
        made.append(BrokerLot(row.day("date"), row.count("quantity"), row.number("price"), row.optional("dseq"), row.number("fee")))
    total = sum(lot.quantity for lot in made)
    if total == position.quantity:
        return made
    if market == "S" and total * SHARES_PER_LOT == position.quantity:
        return [lot._replace(quantity=lot.quantity * SHARES_PER_LOT) for lot in made]
    raise BrokerError(
        f"{answer}: the lots of {position.symbol} add up to {total}, the position has {position.quantity}",
        kind="malformed",
        hint="the position has changed in between, or an odd lot is cut off: ask for the positions again",
    )


def profits(answer: str, found: Any, market: Literal["S", "F"]) -> list[BrokerProfit]:
    """Return the rows of `list_profit_loss`, asked for in shares; of stocks the library does not say fee and tax here.

    Raises:
        BrokerError: a row does not hold together.
    """
    return [
        BrokerProfit(
            symbol=row.text("code"),
            date=row.day("date"),
            order_cond=row.text("cond") if market == "S" else "",
            quantity=row.count("quantity"),
            pnl=row.number("pnl"),
            fee=row.number("fee") if market == "F" else None,
            tax=row.number("tax") if market == "F" else None,
        )
        for row in rows(answer, found)
    ]


def trades(answer: str, found: Any, account: BrokerAccount, now: datetime) -> list[BrokerTrade]:
    """Return the orders of one account out of `list_trades`, which has those of all.

    Orders that wait for their number for hours are left out: they are yesterday's, brought back.

    Args:
        answer: names it in errors.
        found: what the library gave.
        account: whose orders.
        now: with a zone.

    Raises:
        BrokerError: a row does not hold together.
    """
    made = []
    for row in rows(answer, found):
        order = row.part("order")
        owner = order.part("account")
        # The list is of all accounts of the login: most rows are told apart by their number alone.
        if owner.text("account_id") == account.account_id and (owner.text("account_type"), owner.text("broker_id")) == account[:2]:
            trade = _trade(row, order, account.market)
            if not _ghost(row.part("status"), trade, now):
                made.append(trade)
    return made


def _trade(row: Row, order: Row, market: Literal["S", "F"]) -> BrokerTrade:
    status = row.part("status")
    lot = order.optional("order_lot") if market == "S" else ""
    unit = _SHARES_PER_UNIT.get(lot) if market == "S" else 1
    deals = [(deal.text("seq"), deal.number("price"), _units(deal.count("quantity"), unit)) for deal in _deals(status)]
    return BrokerTrade(
        order_id=order.optional("id"),
        seqno=order.optional("seqno"),
        ordno=order.optional("ordno"),
        symbol=row.part("contract").text("code"),
        action=order.direction("action"),
        status=status.text("status"),
        order_cond=order.optional("order_cond"),
        order_lot=lot,
        price=order.number("price"),
        quantity=_units(order.count("quantity"), unit),
        filled=_units(_count(status, "deal_quantity"), unit),
        cancelled=_units(_count(status, "cancel_quantity"), unit),
        deals=deals,
    )


def _deals(status: Row) -> Sequence[Row]:
    found = status.raw("deals")
    # Read at once: the library changes an order while one looks at it.
    return list(rows("deals of an order", [] if found is None else list(found)))


def _count(row: Row, name: str) -> int:
    return 0 if row.raw(name) is None else row.count(name)


def _units(quantity: int, unit: int | None) -> int | None:
    return None if unit is None else quantity * unit


def _ghost(status: Row, trade: BrokerTrade, now: datetime) -> bool:
    if trade.status != "PendingSubmit" or trade.ordno:
        return False
    entered = status.raw("order_datetime")
    return not isinstance(entered, datetime) or entered.tzinfo is None or now - entered > _GHOST_AGE


def health(answer: str, found: Any) -> CacheHealth:
    """Return the health of the order cache; each reason as `SDEAL SequenceGap`.

    Raises:
        BrokerError: it is none of the known states.
    """
    row = Row(answer, 0, found)
    state = row.text("state")
    reasons = [f"{each.text('event_type')} {each.text('reason')}" for each in rows(f"{answer}, reasons", row.raw("reasons"))]
    for known in ("Unknown", "Healthy", "Degraded"):
        if state == known:
            return CacheHealth(known, reasons)
    raise row.wrong(f"state is {state!r}")


def records(answer: str, found: Any) -> list[tuple[Any, Any]]:
    """Return the pairs of `order_deal_records` as they are: the drain makes plain data of them, as of callbacks.

    Raises:
        BrokerError: it is no list of pairs.
    """
    if isinstance(found, str) or not isinstance(found, Sequence):
        raise BrokerError(f"{answer}: a {type(found).__name__}, not a list", kind="malformed", hint="it is asked again later")
    for number, pair in enumerate(found):
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise BrokerError(f"{answer}, row {number}: no pair of state and report", kind="malformed", hint="it is asked again later")
    return list(found)


def quote(tick: Any, market: Literal["S", "F"]) -> Quote | None:
    """Return the trade of a tick; None for a trial match, an odd lot, or a tick without a trade or that cannot be read. Never blocks."""
    if getattr(tick, "simtrade", False) or getattr(tick, "intraday_odd", False):
        return None
    symbol, close, moment = word(tick.code), tick.close, tick.datetime
    if type(symbol) is not str or not symbol or not isinstance(moment, datetime) or not isinstance(close, str | int | float | Decimal):
        return None
    price = float(close or 0)
    if not 0 < price < float("inf"):
        return None
    if moment.tzinfo is None:
        return Quote(market, symbol, price, (moment - _EPOCH - _TAIPEI) // _MICROSECOND)
    return Quote(market, symbol, price, round(moment.timestamp() * 1_000_000))


def accounts(answer: str, found: Any) -> Mapping[BrokerAccount, Any]:
    """Return the accounts of a login that are of stocks or of futures and options, each with the library's own object of it.

    Raises:
        BrokerError: it is no list of accounts, or none of these kinds is among them.
    """
    made: dict[BrokerAccount, Any] = {}
    for number, row in enumerate(rows(answer, found)):
        kind = row.text("account_type")
        for market in ("S", "F"):
            if kind == market:
                made[BrokerAccount(market, row.text("broker_id"), row.text("account_id"))] = found[number]
    if not made:
        raise BrokerError(
            f"{answer}: no account of stocks or futures is among {len(found)}", kind="refused", hint="check the key's accounts"
        )
    return made
