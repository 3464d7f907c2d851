"""What the bridge may know of a broker: one seam for the simulator, for a file of callbacks, and for a real one.

There is no call here that places, changes or cancels an order, and none may be added: what is not on the seam cannot be reached by mistake.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, Protocol

OrderCallback = Callable[[Any, Any], None]
"""Takes (state, event): the kind of a report (SORDER, SDEAL, FORDER, FDEAL, as text or as the broker library's own enum) and its payload
(a mapping, or the library's wrapper of one). Called on a thread of the broker's; it has to return at once and never raises."""


class BrokerAccount(NamedTuple):
    """One account of the login: market S (stocks) or F (futures and options)."""

    market: Literal["S", "F"]
    broker_id: str
    account_id: str


class Broker(Protocol):
    """One login at a broker. Used by one thread; only the callback runs on another."""

    @property
    def env(self) -> str:
        """`production`, `simulation` or `replay`: part of every key, because ids of one come again in another."""
        ...

    @property
    def sdk_version(self) -> str:
        """Version of the broker's library, or of what stands in for it."""
        ...

    def accounts(self) -> Sequence[BrokerAccount]:
        """Return the accounts whose reports will come. May block while it asks; call it before `start`."""
        ...

    def set_order_callback(self, callback: OrderCallback) -> None:
        """Register the one receiver of reports; a later call replaces it. Call it before `start`: earlier reports are not kept."""
        ...

    def start(self) -> None:
        """Begin to deliver reports on a thread of the broker's. Returns at once; once a broker."""
        ...

    def finished(self) -> bool:
        """Say whether the last report has been delivered; a live broker never finishes. Does not block.

        Raises:
            ExecposError: what ended the delivery; each further call raises it again.
        """
        ...

    def stop(self) -> None:
        """Deliver no more and wait until the callback has returned for the last time. A second call does nothing."""
        ...
