"""What is used of the library's client, method by method, with the names and arguments of Shioaji 1.7.

Nothing that places, changes or cancels an order is here, so the type checker refuses a call of it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class Api(Protocol):
    """A client: `shioaji.Shioaji`, or the simulator's. Every method may raise the library's errors; see `errors.classify`."""

    def login(self, *, api_key: str, secret_key: str, subscribe_trade: bool, force_refresh: bool) -> Sequence[Any]:
        """Log in and return the accounts. Blocks, without a limit of its own."""
        ...

    def logout(self) -> None:
        """End the session."""
        ...

    def subscribe_trade(self, account: Any, *, timeout: int) -> bool:
        """Let the reports of an account come."""
        ...

    def set_order_callback(self, callback: Callable[[Any, Any], Any]) -> None:
        """Register the receiver of reports; after the login only, or the next try says nothing and does nothing."""
        ...

    def clear_order_callback(self) -> None:
        """Let reports go nowhere."""
        ...

    def set_event_callback(self, callback: Callable[[int, int, str, str], Any]) -> None:
        """Register the receiver of (response code, event code, info, event) of the link."""
        ...

    def clear_event_callback(self) -> None:
        """Let them go nowhere."""
        ...

    def set_session_down_callback(self, callback: Callable[[], Any]) -> None:
        """Register what is called when the session is lost for good."""
        ...

    def clear_session_down_callback(self) -> None:
        """Let it go unheard."""
        ...

    def set_on_tick_stk_v1_callback(self, callback: Callable[[Any], Any]) -> None:
        """Register the receiver of stock ticks."""
        ...

    def clear_on_tick_stk_v1_callback(self) -> None:
        """Let them go nowhere."""
        ...

    def set_on_tick_fop_v1_callback(self, callback: Callable[[Any], Any]) -> None:
        """Register the receiver of ticks of futures and options."""
        ...

    def clear_on_tick_fop_v1_callback(self) -> None:
        """Let them go nowhere."""
        ...

    @property
    def contracts(self) -> Any:
        """What can be traded, by kind and code."""
        ...

    def fetch_contracts(self, *, contract_download: bool, contracts_timeout: int) -> Any:
        """Read the contracts again."""
        ...

    def subscribe(self, contract: Any, quote_type: Any) -> None:
        """Let ticks of a contract come."""
        ...

    def unsubscribe(self, contract: Any, quote_type: Any) -> None:
        """Let no more of them come."""
        ...

    def update_status(self, account: Any, *, timeout: int) -> None:
        """Refresh the order cache of an account."""
        ...

    def list_trades(self) -> Sequence[Any]:
        """Return the cached orders."""
        ...

    def trade_cache_health(self, account: Any) -> Any:
        """Return `state` and `reasons` of the order cache."""
        ...

    def order_deal_records(self, account: Any, *, timeout: int) -> Sequence[Any]:
        """Return the day's reports."""
        ...

    def list_positions(self, account: Any, *, unit: Any, timeout: int) -> Sequence[Any]:
        """Return what is held."""
        ...

    def list_position_detail(self, account: Any, *, detail_id: int, timeout: int) -> Sequence[Any]:
        """Return the lots of a row of the last `list_positions`."""
        ...

    def list_profit_loss(self, account: Any, *, begin_date: str, end_date: str, unit: Any, timeout: int) -> Sequence[Any]:
        """Return realized profits."""
        ...
