"""What the broker allows, and what of it is used."""

from typing import Any, Literal, NamedTuple, Protocol

import msgspec

Group = Literal["accounting", "orders", "data", "logins"]


class Rate(NamedTuple):
    """So many calls in any span of so many seconds."""

    calls: int
    per_s: float


class BudgetLimits(msgspec.Struct, frozen=True):
    """The broker's limits of one login, and the part of them that is used; defaults are the published ones.

    Attributes:
        share: part of each limit that is used; the rest is for other programs of the same login.
        accounting: positions, profit and loss, and the records of the day, together.
        orders: `update_status`, and every order call of the login.
        data: quotes on request; subscriptions are counted here too.
        logins: a day's; counted over any 24 hours, because nobody says when the broker's day begins.
        suspension_s: silence after the broker has suspended the login; doubled with each repetition within 24 hours.
        suspension_max_s: longest silence, so that the end of a long maintenance is noticed.
    """

    share: float = 0.8
    accounting: Rate = Rate(25, 5.0)
    orders: Rate = Rate(250, 10.0)
    data: Rate = Rate(50, 10.0)
    logins: Rate = Rate(1000, 86_400.0)
    suspension_s: float = 60.0
    suspension_max_s: float = 900.0

    def used(self, rate: Rate) -> int:
        """Return how many calls of a limit are used; never none."""
        # 0.8 * 25 is 20 also where binary fractions say 19.999…
        return max(1, int(rate.calls * self.share + 1e-9))


class State(Protocol):
    """A few small values that outlive the process. Values are JSON: numbers, text, lists, objects."""

    def get(self, key: str) -> Any:
        """Return what was last set, or None. Does not block."""
        ...

    def set(self, key: str, value: Any) -> None:
        """Keep a value. It is on the disk when this returns; may raise OSError or an ExecposError when it cannot be."""
        ...
