"""When the broker's records are asked for, and what of the answer goes into the stream.

Only `order_deal_records` has the callbacks' payloads and takes the normal path, as CATCHUP. What the order list says of deals is evidence
that something may be missing, and is told to people; its numbers are not proven to be the callbacks'.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from execpos.bridge.content import Contents, digest
from execpos.bridge.convert import kind_of, plain_report
from execpos.brokers.protocol import Broker, BrokerAccount, BrokerTrade
from execpos.domain.private import PrivateWords
from execpos.domain.vocabulary import CATCHUP

Trigger = Literal["start", "reconnected", "session", "gap", "reset", "cache", "request", "schedule", "failed"]
"""Why records are asked for; a label of a metric."""

# A failed read is tried again after 1, 2, 4 … seconds, and at the latest after these.
_RETRY_MAX_S = 30.0

# These two say nothing about what is missing.
_ROUTINE = frozenset({"schedule", "request"})


class Coverage:
    """What of one account may be missing, and when to ask for it next. Pure; one thread.

    Args:
        interval_s: time between two reads that nothing else asked for.
        now_s: monotonic now.
    """

    def __init__(self, interval_s: float, now_s: float) -> None:
        self._interval_s = interval_s
        self._wanted: Counter[Trigger] = Counter()
        self._running: Counter[Trigger] = Counter()
        self._not_before_s = now_s
        self._scheduled_s = now_s + interval_s
        self._evidence_s = now_s + interval_s
        self._failures = 0

    @property
    def open(self) -> int:
        """Holes, lost sessions and failed reads that no read has covered yet."""
        return sum(count for trigger, count in (self._wanted + self._running).items() if trigger not in _ROUTINE)

    @property
    def wanted(self) -> bool:
        """Whether a read has been asked for."""
        return bool(self._wanted)

    def want(self, trigger: Trigger, count: int = 1) -> None:
        """Ask for a read. What comes while one is under way needs another one."""
        self._wanted[trigger] += count

    def due(self, now_s: float) -> bool:
        """Say whether a read is wanted and may be tried now."""
        if now_s >= self._scheduled_s and not self._wanted:
            self.want("schedule")
        return bool(self._wanted) and now_s >= self._not_before_s

    def evidence_due(self, now_s: float) -> bool:
        """Say whether the read that begins now takes the order list as well: once an interval, and not in the first, hurried read.

        The library hands out the orders of all accounts each time, which made half of the work of a start with ten busy accounts.
        """
        if now_s < self._evidence_s:
            return False
        self._evidence_s = now_s + self._interval_s
        return True

    def begin(self) -> list[Trigger]:
        """Return what the read that begins now stands for: all that was wanted until now."""
        self._running, self._wanted = self._wanted, Counter()
        return sorted(self._running)

    def done(self, now_s: float) -> None:
        """Note that the read was answered: what it stood for is covered."""
        self._running.clear()
        self._failures = 0
        self._not_before_s = now_s
        self._scheduled_s = now_s + self._interval_s

    def failed(self, now_s: float, not_before_s: float = 0.0) -> None:
        """Note that it was not: everything stays open, and the next try is later, at `not_before_s` at the earliest."""
        self._wanted += self._running
        self._running.clear()
        # One open read, however often it fails.
        self._wanted["failed"] = 1
        self._failures += 1
        self._not_before_s = max(not_before_s, now_s + min(_RETRY_MAX_S, 2.0 ** min(self._failures - 1, 10)))

    def postpone(self, until_s: float) -> None:
        """Ask nothing before `until_s` (monotonic)."""
        self._not_before_s = max(self._not_before_s, until_s)


class Answer(NamedTuple):
    """What a read brought: records of the broker, how many of them went into the stream, and the number of deals of each order.

    `trades` is the order list from before the records, so that every deal in it should be among them; None when it could not be had.
    """

    records: int
    put: int
    deals: Mapping[str, int]
    trades: Sequence[BrokerTrade] | None = None


def read_records(
    broker: Broker,
    account: BrokerAccount,
    contents: Contents,
    put: Callable[[str, Any], None],
    *,
    private: PrivateWords,
    orders: Callable[[BrokerAccount], Sequence[BrokerTrade] | None],
) -> Answer:
    """Ask for today's records and put those into the stream that are not known to be in the journal. Blocks.

    Args:
        broker: whom to ask.
        account: whose records.
        contents: what is known.
        put: `Capture.put_report`.
        private: words of the login's persons.
        orders: returns the order list, or None; evidence only, so without it the read counts all the same.

    Raises:
        BrokerError: no answer; what was put until then stays.
    """
    broker.update_status(account)
    trades = orders(account)
    records = broker.order_deal_records(account)
    sent = 0
    deals: Counter[str] = Counter()
    for state, event in records:
        kind = kind_of(state)
        plain, _, payload = plain_report(event, private)
        if kind.endswith("DEAL"):
            deals[str(plain.get("trade_id", ""))] += 1
        receipt = plain.get("event_id")
        if not contents.holds(digest(kind, payload, receipt if isinstance(receipt, str) else "")):
            put(CATCHUP + kind, event)
            sent += 1
    return Answer(len(records), sent, deals, trades)


def unaccounted(answer: Answer) -> dict[str, int]:
    """Return of each order how many deals the order list shows beyond the records: evidence of something missing, and no more."""
    deals = answer.deals
    if not answer.records or not answer.trades:
        # Beside a full order list that is what the broker's own simulation gives.
        return {}
    found = {trade.order_id: len(trade.deals) - deals.get(trade.order_id, 0) for trade in answer.trades}
    return {order: count for order, count in found.items() if count > 0}
