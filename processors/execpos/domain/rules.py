"""Everything that the domain needs to know from the configuration, in one frozen object."""

from typing import Literal

import msgspec

from execpos.domain.calendar import Calendar
from execpos.domain.fees import FeeSchedule
from execpos.domain.instruments import Instruments
from execpos.domain.positions import CostMethod

CustomFieldUse = Literal["as_strategy", "mapped", "ignore"]
ComboRule = Literal["park", "legs"]


class Attribution(msgspec.Struct, frozen=True):
    """How a stock order's custom_field names its strategy.

    Attributes:
        custom_field: `as_strategy` (the text is the strategy id), `mapped` (through the map), or `ignore`.
        custom_field_map: text -> strategy id, for `mapped`.
    """

    custom_field: CustomFieldUse = "as_strategy"
    custom_field_map: dict[str, str] = {}


class Rules(msgspec.Struct, frozen=True, eq=False):
    """The rules by which events become positions. Built by `Settings.rules()`; one a thread, because its tables fill memos.

    Attributes:
        instruments: products, books and lots.
        fees: estimates of commission and tax.
        calendar: trading dates and windows.
        cost_methods: book, security type, or `TYPE.book` -> how open cost is kept; see `positions.method_of`.
        attribution: how custom_field names a strategy.
        window_sessions: half-day sessions in which a fill can still be proven new.
        combo: whether legs of a combo are parked or booked as they are reported.
        max_lots: open lots that a FIFO row keeps; beyond it the oldest are merged.
    """

    instruments: Instruments
    fees: FeeSchedule
    calendar: Calendar
    cost_methods: dict[str, CostMethod]
    attribution: Attribution = Attribution()
    window_sessions: int = 10
    combo: ComboRule = "park"
    max_lots: int = 256
