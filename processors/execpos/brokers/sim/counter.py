"""The calls that clients make: session, subscriptions, and the answers of the back office in the shapes of the library."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import msgspec

from execpos.brokers.sim import money
from execpos.brokers.sim.client import Client
from execpos.brokers.sim.errors import (
    ERRORS,
    AuthError,
    BadRequestError,
    ShioajiConnectionError,
    SubscribeError,
    TokenError,
    ValidationError,
)
from execpos.brokers.sim.limits import DAY_US, QUOTES_MAX, Limits
from execpos.brokers.sim.play import Play
from execpos.brokers.sim.reading import Reading, Rows
from execpos.brokers.sim.schedule import Entry
from execpos.brokers.sim.statement import in_lots

# A login reuses a token that is good for so long.
_REUSED_US = 5 * 3_600_000_000
# The smallest of the broker's daily allowances of data.
_TRAFFIC_BYTES = 500_000_000

Arguments = Mapping[str, Any]


class Gate(Protocol):
    """What the counter needs of the venue."""

    def clients(self) -> list[Client]:
        """Return all clients."""
        ...

    def subscribed(self, client: Client) -> None:
        """Hear that a client listens to more than before."""
        ...


class Counter:
    """Answers calls. Under the venue's lock; never blocks.

    Args:
        play: the scenario at work.
        gate: the venue.
        limits: counts the calls.
    """

    def __init__(self, play: Play, gate: Gate, limits: Limits) -> None:
        self._play = play
        self._gate = gate
        self._limits = limits
        self._traffic = 0
        self.reading = Reading(play)

    def admit(self, client: Client, method: str, arguments: Arguments, now_us: int) -> Entry | None:
        """Let a call in, or refuse it; return the fault that makes it slow, if one does.

        Raises:
            ShioajiError: whatever the library says to such a call.
        """
        account = str(arguments.get("account", ""))
        if method == "login":
            self._limits.login(now_us, sum(each.logged_in for each in self._gate.clients() if each is not client))
        elif client.session_down:
            raise ShioajiConnectionError("the session is down; log in again")
        elif not client.logged_in:
            raise AuthError("Not authenticated")
        else:
            self._charge(client, method, account, now_us)
        if raised := self.reading.fault("call_raises", account, method):
            raise ERRORS[raised.error](f"500: {method} failed")
        return self.reading.fault("call_slow", account, method)

    def _charge(self, client: Client, method: str, account: str, now_us: int) -> None:
        if group := self._limits.call(method, now_us):
            self._play.note("suspended", account=account, detail=f"{group}: too many calls, the last one {method}")
        self._limits.refuse(now_us)
        if now_us >= client.token_until_us:
            raise TokenError("401: Token is expired.")

    def answer(self, client: Client, method: str, arguments: Arguments, now_us: int) -> Any:
        """Return the answer to a call that was admitted.

        Raises:
            ShioajiError: whatever the library says to such a call.
        """
        if method == "login":
            return self._login(client, arguments, now_us)
        found = _METHODS.get(method)
        if found is None:
            raise ValidationError(f"422: no such method: {method[:40]}")
        return found(self, client, arguments)

    # -- session

    def _login(self, client: Client, arguments: Arguments, now_us: int) -> Rows:
        if not arguments.get("api_key") or not arguments.get("secret_key"):
            raise AuthError("400: api_key and secret_key must not be empty")
        if arguments.get("force_refresh") or client.token_until_us - now_us < _REUSED_US:
            client.token_until_us = now_us + DAY_US
        client.leave()
        client.logged_in, client.session_down = True, False
        client.push(("event", [200, 0, "simulated broker", "Session up"], None))
        if arguments.get("subscribe_trade"):
            client.accounts.update(account.key for account in self._play.accounts)
            self._gate.subscribed(client)
        return [
            {
                "account_type": account.market,
                # Nobody's: personal data that every reader has to keep to himself.
                "person_id": f"X{900_000_000 + number}",
                "broker_id": account.broker_id,
                "account_id": account.account_id,
                "signed": True,
                "username": f"虛構人物{number}",
            }
            for number, account in enumerate(self._play.accounts)
        ]

    def _logout(self, client: Client, arguments: Arguments) -> None:
        del arguments
        client.leave()
        client.token_until_us = 0

    def _usage(self, client: Client, arguments: Arguments) -> dict[str, int]:
        del client, arguments
        connections = sum(each.logged_in for each in self._gate.clients())
        left = max(0, _TRAFFIC_BYTES - self._traffic)
        return {"connections": connections, "bytes": self._traffic, "limit_bytes": _TRAFFIC_BYTES, "remaining_bytes": left}

    def _subscribe_trade(self, client: Client, arguments: Arguments) -> bool:
        key = self.reading.file(arguments["account"]).account.key
        if key in client.accounts:
            return False
        client.accounts.add(key)
        client.push(("event", [200, 16, f"TRADE/{key[0]}", "Subscribe or Unsubscribe ok"], None))
        self._gate.subscribed(client)
        return True

    def _unsubscribe_trade(self, client: Client, arguments: Arguments) -> bool:
        key = self.reading.file(arguments["account"]).account.key
        known = key in client.accounts
        client.accounts.discard(key)
        return known

    # -- quotes

    def _subscribe(self, client: Client, arguments: Arguments) -> None:
        code = str(arguments["code"])
        if arguments.get("quote_type", "tick") not in {"tick", "Tick"}:
            raise SubscribeError("the simulator has ticks only")
        if self.reading.instrument(code) is None:
            raise SubscribeError(f"404: no such contract: {code[:40]}")
        if code not in client.quotes and len(client.quotes) >= QUOTES_MAX:
            raise SubscribeError(f"429: more than {QUOTES_MAX} subscriptions")
        client.quotes.add(code)

    def _unsubscribe(self, client: Client, arguments: Arguments) -> None:
        client.quotes.discard(str(arguments["code"]))

    def _contracts(self, client: Client, arguments: Arguments) -> Rows:
        del client, arguments
        return self.reading.contracts()

    def _snapshots(self, client: Client, arguments: Arguments) -> Rows:
        del client
        if self._traffic >= _TRAFFIC_BYTES:
            # The real broker says nothing either.
            return []
        known = [self.reading.instrument(str(code)) for code in arguments["codes"]]
        rows = [self.reading.snapshot(each) for each in known if each is not None]
        self._traffic += len(msgspec.msgpack.encode(rows))
        return rows

    # -- orders

    def _update_status(self, client: Client, arguments: Arguments) -> Rows:
        del client
        return self.reading.trades(arguments["account"])

    def _order_deal_records(self, client: Client, arguments: Arguments) -> list[tuple[str, dict[str, Any]]]:
        del client
        return self.reading.records(arguments["account"])

    # -- portfolio and money

    def _list_positions(self, client: Client, arguments: Arguments) -> Rows:
        account = arguments["account"]
        rows, client.lots[account] = self.reading.positions(account, arguments["unit"])
        return rows

    def _list_position_detail(self, client: Client, arguments: Arguments) -> Rows:
        return _behind(client.lots, arguments)

    def _list_profit_loss(self, client: Client, arguments: Arguments) -> Rows:
        account = arguments["account"]
        found = self.reading.profits(account, arguments["begin_date"], arguments["end_date"])
        client.profits[account] = [row["_details"] for row in found]
        rows = [{"id": number} | {name: row[name] for name in row if name[0] != "_"} for number, row in enumerate(found)]
        return in_lots(rows) if account[0] == "S" and arguments["unit"] == "Common" else rows

    def _list_profit_loss_detail(self, client: Client, arguments: Arguments) -> Rows:
        rows = _behind(client.profits, arguments)
        return in_lots(rows) if arguments["account"][0] == "S" and arguments["unit"] == "Common" else rows

    def _list_profit_loss_summary(self, client: Client, arguments: Arguments) -> dict[str, Any]:
        del client
        account = arguments["account"]
        return money.summary(account[0], self.reading.profits(account, arguments["begin_date"], arguments["end_date"]))

    def _settlements(self, client: Client, arguments: Arguments) -> Rows:
        del client
        return money.settlements(self.reading.file(arguments["account"]))

    def _account_balance(self, client: Client, arguments: Arguments) -> dict[str, Any]:
        del client
        return money.balance(self.reading.file(arguments["account"]))

    def _margin(self, client: Client, arguments: Arguments) -> dict[str, Any]:
        del client
        if arguments["account"][0] != "F":
            raise BadRequestError("400: margin is of futures accounts")
        return money.margin(self.reading.file(arguments["account"]))

    def _trading_limits(self, client: Client, arguments: Arguments) -> dict[str, Any]:
        del client
        return money.limits(self.reading.file(arguments["account"]), self._play.now_us)


_METHODS: dict[str, Callable[[Counter, Client, Arguments], Any]] = {
    name[1:]: function
    for name, function in vars(Counter).items()
    if name[0] == "_" and name[1] != "_" and name not in {"_login", "_charge"} and callable(function)
}


def _behind(known: Mapping[str, list[Rows]], arguments: Arguments) -> Rows:
    rows, number = known.get(arguments["account"], []), arguments["detail_id"]
    if not 0 <= number < len(rows):
        raise BadRequestError(f"400: detail_id {number} is not of the last list")
    return rows[number]
