"""What a bridge says of itself, for each of its accounts: on exec.heartbeats, each second."""

from collections.abc import Mapping
from typing import NamedTuple

from execpos.bridge.claim import Claim
from execpos.brokers.protocol import BudgetState, CacheHealth
from execpos.domain.events import BridgeHeartbeat
from execpos.domain.limits import MESSAGE_CHARS_MAX, WORD_CHARS_MAX, cut
from execpos.domain.vocabulary import HeartbeatKind, Session

HEARTBEATS_TOPIC = "exec.heartbeats.v1"

# The library has four reasons today; a flood of them would only make the record large.
_REASONS_MAX = 20


class Login(NamedTuple):
    """How the login is: its state, and what is left of each group of calls."""

    session: Session = "up"
    budget: Mapping[str, BudgetState] = {}

    def remaining(self, group: str) -> int:
        """Return how many calls of a group are possible now; 0 where nothing is known."""
        state = self.budget.get(group)
        return 0 if state is None else state.remaining

    def suspended_until(self) -> int:
        """Return the moment (µs, UTC) before which the broker must not be asked; 0 for none."""
        return max((state.suspended_until for state in self.budget.values()), default=0)


class AccountHealth(NamedTuple):
    """How one account's stream is."""

    cache: CacheHealth = CacheHealth("Unknown", ())
    gaps: int = 0
    open_gaps: int = 0
    last_catchup_ts: int = 0
    last_callback_ts: int = 0


class Stream(NamedTuple):
    """How far the records are; the same for all accounts. Meanings as in BridgeHeartbeat."""

    callbacks: int = 0
    captured: int = 0
    journaled_seq: int = 0
    published_seq: int = 0
    backlog_records: int = 0
    backlog_bytes: int = 0
    journal_error: str = ""
    publish_error: str = ""


class Name(NamedTuple):
    """Who speaks."""

    bridge_id: str
    bridge_epoch: int
    sdk_version: str


def heartbeat(
    kind: HeartbeatKind, name: Name, claim: Claim, account: str, *, stream: Stream, login: Login, health: AccountHealth, now_us: int
) -> BridgeHeartbeat:
    """Return the record of one account."""
    return BridgeHeartbeat(
        account=account,
        bridge_id=name.bridge_id,
        bridge_epoch=name.bridge_epoch,
        incarnation=claim.incarnation,
        claim_id=claim.claim_id,
        kind=kind,
        session=login.session,
        callbacks=stream.callbacks,
        last_callback_ts=health.last_callback_ts,
        captured=stream.captured,
        journaled_seq=stream.journaled_seq,
        published_seq=stream.published_seq,
        backlog_records=stream.backlog_records,
        backlog_bytes=stream.backlog_bytes,
        journal_error=cut(stream.journal_error, MESSAGE_CHARS_MAX),
        publish_error=cut(stream.publish_error, MESSAGE_CHARS_MAX),
        cache_health=health.cache.state,
        cache_reasons=tuple(cut(reason, WORD_CHARS_MAX) for reason in health.cache.reasons[:_REASONS_MAX]),
        gaps=health.gaps,
        open_gaps=health.open_gaps,
        last_catchup_ts=health.last_catchup_ts,
        remaining_accounting=login.remaining("accounting"),
        remaining_orders=login.remaining("orders"),
        remaining_logins=login.remaining("logins"),
        suspended_until_ts=login.suspended_until(),
        sdk_version=name.sdk_version,
        ts=now_us,
    )
