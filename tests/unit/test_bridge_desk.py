"""The order in which the desk of a login with several accounts does its work."""

from collections.abc import Sequence
from pathlib import Path

from bridge_world import QUICK, ScriptedBroker, wait_for
from execpos.bridge.capture import Capture
from execpos.bridge.desk import Desk
from execpos.bridge.journal.journal import Journal
from execpos.bridge.marks import Symbol
from execpos.bridge.observed import Observed
from execpos.bridge.options import no_blackout
from execpos.bridge.requests import Answered, Ask, Identity
from execpos.bridge.snapshots import Rows
from execpos.brokers.protocol import BrokerAccount, BrokerPosition, BrokerTrade, BudgetState
from execpos.domain.events import BrokerRequest, BrokerSnapshot
from execpos.domain.ids import account_key
from execpos.domain.private import PrivateWords

ACCOUNTS = [BrokerAccount("S", "9A95", str(number)) for number in range(3)]
FAR_US = 4_000_000_000_000_000


class ThreeAccounts(ScriptedBroker):
    """Notes who was asked for what, and asks something itself in the middle of the first account's records."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def accounts(self) -> Sequence[BrokerAccount]:
        return ACCOUNTS

    def update_status(self, account: BrokerAccount) -> None:
        self.asked.append(f"records {account.account_id}")
        self._call("update_status")

    def order_deal_records(self, account: BrokerAccount) -> Sequence[tuple[object, object]]:
        del account
        return []

    def trades(self, account: BrokerAccount) -> Sequence[BrokerTrade]:
        del account
        return []

    def positions(self, account: BrokerAccount) -> Sequence[BrokerPosition]:
        self.asked.append(f"positions {account.account_id}")
        return []


class Answers:
    """Takes answers and forgets them."""

    def write(self, answer: BrokerSnapshot, rows: Rows, timeout_s: float) -> bool:
        del answer, rows, timeout_s
        return True


def request(name: str, number: int, *what: str) -> Ask:
    """Return a request of an account."""
    return Ask(BrokerRequest(name, account_key("simulation", *ACCOUNTS[number]), what, 1, 0, 0, "test", "", FAR_US, 1), 0, number)


def desk_of(broker: ScriptedBroker, journal: Journal, symbols: frozenset[Symbol] = frozenset()) -> Desk:
    """Return a desk that has not begun."""
    return Desk(
        broker,
        Capture(),
        QUICK,
        blackout=no_blackout,
        on_quote=lambda quote: None,
        symbols=lambda: symbols,
        on_accounts=lambda accounts: None,
        private=PrivateWords(),
    )


def test_what_is_asked_for_goes_before_the_next_accounts_records_and_may_be_these(tmp_path: Path) -> None:
    broker = ThreeAccounts()
    journal = Journal.open(tmp_path / "journal", env="simulation", bridge_id="b")
    desk = desk_of(broker, journal)
    desk.serve(Answers(), Answered(journal.state), Identity("b", 1, "test"), "topic")

    def ask() -> None:
        broker.during.clear()
        desk.ask(request("first", 0, "POSITIONS"))
        desk.ask(request("second", 2, "CATCHUP"))

    broker.during["update_status"] = ask
    desk.start(Observed(journal, lambda: 0.0, desk.reset))
    wait_for("all records", lambda: len(broker.asked) == 4)
    assert desk.finish(10.0)
    journal.close()

    # Of the third account the request was the start's read, too.
    assert broker.asked == ["records 0", "positions 0", "records 1", "records 2"]


def test_no_more_quotes_are_subscribed_at_once_than_the_budget_has_calls_for(tmp_path: Path) -> None:
    broker = ScriptedBroker()
    broker.budgets["data"] = BudgetState(15, 0)
    watched: list[int] = []
    held = frozenset[Symbol](("S", str(number)) for number in range(40))
    journal = Journal.open(tmp_path / "journal", env="simulation", bridge_id="b")
    desk = desk_of(broker, journal, held)
    broker.during["maintain"] = lambda: watched.append(len(broker.watching))
    desk.start(Observed(journal, lambda: 0.0, desk.reset))
    wait_for("all quotes", lambda: broker.watching == held)
    assert desk.finish(10.0)
    journal.close()

    assert set(watched) <= {0, 15, 30, 40}
    assert broker.called("watch") == 3
