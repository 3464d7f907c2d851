"""The simulator's trading robot: a few strategies that place orders at the simulated exchange, and say so in different ways.

It exists so that there is something to see. Nothing leads from it to a real broker.
"""

from collections import defaultdict
from random import Random

from execpos.brokers.sim.config import SimAccount, SimConfig, SimIntent, strategies
from execpos.brokers.sim.market import Instrument
from execpos.brokers.sim.orders import Order

# Part of the orders that make the account's position smaller, so that positions come and go.
_TOWARDS_FLAT = 0.55


class Robot:
    """Chooses who trades what. Not thread-safe."""

    def __init__(
        self, config: SimConfig, accounts: tuple[SimAccount, ...], instruments: tuple[list[Instrument], list[Instrument]], rng: Random
    ) -> None:
        self._config = config
        self._rng = rng
        self._random = rng.random
        self._strategies = strategies(config)
        self._desks: list[tuple[SimAccount, list[Instrument]]] = []
        for account in accounts:
            known = instruments[0] if account.market == "S" else instruments[1]
            count = min(config.symbols_per_account or len(known), len(known))
            self._desks.append((account, rng.sample(known, count)))
        self._open = self._desks
        # Net units by account, instrument and book.
        self._held: defaultdict[tuple[SimAccount, str, str], int] = defaultdict(int)
        share = config.attribution
        total = share.intent_before + share.intent_late + share.custom_field + share.manual or 1.0
        self._before = share.intent_before / total
        self._late = self._before + share.intent_late / total
        self._custom = self._late + share.custom_field / total

    def markets(self, markets: str) -> None:
        """Trade only for accounts of these markets from now on; with none of them, for all."""
        self._open = [desk for desk in self._desks if desk[0].market in markets] or self._desks

    def order(self) -> Order:
        """Return the next order, without numbers and owner."""
        account, known = self._open[int(self._random() * len(self._open))]
        instrument = known[int(self._random() * len(known))]
        cond, lot = "Cash", "Common"
        if account.market == "S":
            drawn = self._random()
            if drawn < self._config.margin_share:
                cond = "MarginTrading"
            elif drawn < 2 * self._config.margin_share:
                cond = "ShortSelling"
            elif self._random() < self._config.odd_share:
                later = self._config.after_hours_odd_share
                lot = "Odd" if later and self._random() < later else "IntradayOdd"
        order = Order(account, instrument, side=1, quantity=1, price=0, cond=cond, lot=lot)
        most = 10 if lot == "Common" else 999
        order.quantity = 1 + int(self._random() * most)
        held = self._held[account, instrument.full_code, order.book]
        order.side = self._side(cond, held)
        order.price = instrument.moved(instrument.price, int(self._random() * 7) - 3)
        return order

    def _side(self, cond: str, held: int) -> int:
        if cond == "MarginTrading" and held <= 0:
            return 1
        if cond == "ShortSelling" and held >= 0:
            return -1
        if held and self._random() < _TOWARDS_FLAT:
            return -1 if held > 0 else 1
        return 1 if self._random() < 0.5 else -1

    def attribute(self, order: Order) -> bool:
        """Give the order its owner and say whether an intent is written now."""
        drawn = self._random()
        if drawn >= self._custom:
            order.web_id = "P"
            return False
        order.strategy = self._strategies[int(self._random() * len(self._strategies))]
        stock = order.account.market == "S"
        if stock and self._late <= drawn:
            order.custom_field = order.strategy
            return False
        if stock and self._random() < self._config.attribution.misleading:
            order.custom_field = self._strategies[int(self._random() * len(self._strategies))]
        order.late_intent = self._before <= drawn < self._late
        return not order.late_intent

    def intent(self, order: Order, at_us: int) -> SimIntent:
        """Return what the order's strategy writes down: by order id, or by order number."""
        by_id = self._random() < 0.5
        return SimIntent(order.account, order.strategy, order.id if by_id else "", "" if by_id else order.seqno, at_us)

    def filled(self, order: Order, units: int) -> None:
        """Hear of a fill."""
        self._held[order.account, order.instrument.full_code, order.book] += order.side * units
