"""What the venue knows of one client."""

from typing import Any

from execpos.brokers.sim.api import Push
from execpos.brokers.sim.mailbox import Mailbox


class Client:
    """One connection: logged in or not, what it listens to, and what it was last answered. Under the venue's lock.

    Args:
        number: counts connections.
        mailbox: takes what is sent to it.
    """

    def __init__(self, number: int, mailbox: Mailbox) -> None:
        self.number = number
        self.mailbox = mailbox
        # To wake a client's thread for each single report would cost more than the report.
        self._pending: list[Push] = []
        self.logged_in = False
        # The session was lost for good; a new login ends that.
        self.session_down = False
        self.token_until_us = 0
        self.accounts: set[str] = set()
        self.quotes: set[str] = set()
        # Since when it has had more to take than it should; 0 if it has not.
        self.slow_since_us = 0
        # Behind the ids of the last list_positions and list_profit_loss, by account.
        self.lots: dict[str, list[list[dict[str, Any]]]] = {}
        self.profits: dict[str, list[list[dict[str, Any]]]] = {}

    def push(self, push: Push) -> None:
        """Send something with the next `flush`."""
        self._pending.append(push)

    def flush(self) -> bool:
        """Let go what was pushed; False if there was no room for it, which is the end of a client."""
        if not self._pending:
            return True
        pending, self._pending = self._pending, []
        return self.mailbox.put_many(pending)

    def leave(self) -> None:
        """Forget the session."""
        self.logged_in = False
        self.accounts.clear()
        self.quotes.clear()
