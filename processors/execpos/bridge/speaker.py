"""The bridge's voice: heartbeats, marks and metrics, each second, from what the other parts know."""

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple, get_args

import msgspec

from execpos.bridge.claim import Claim
from execpos.bridge.heartbeats import HEARTBEATS_TOPIC, AccountHealth, Login, Name, Stream, heartbeat
from execpos.bridge.latest import Latest
from execpos.bridge.marks import MARKS_TOPIC, MarkWriter, Quotes, Symbol
from execpos.bridge.outbox import OutboxStatus
from execpos.bridge.tail import Wire
from execpos.codecs.avro import Encoder
from execpos.domain.events import BridgeHeartbeat, Mark
from execpos.domain.vocabulary import HeartbeatKind, Session
from execpos.kafka.ports import IdempotentProducer
from execpos.telemetry import metrics
from execpos.telemetry.log import Logger

# How long the last heartbeat may hold up the end.
_LAST_S = 2.0

_log = Logger("bridge")


class Known(msgspec.Struct, frozen=True):
    """Where the speaker asks. Each returns at once and never raises; `health` is None while an account has none to tell of."""

    accounts: Callable[[], Sequence[str]]
    status: Callable[[], OutboxStatus]
    login: Callable[[], Login]
    health: Callable[[str], AccountHealth]
    heard: Callable[[str], int]
    claimed: Callable[[], bool]


class _Good(NamedTuple):
    """What of a heartbeat others wait for: when each account's records were read (µs UTC), and the accounting calls that are left."""

    caught_up: tuple[int, ...] = ()
    calls: int = 0


class Speaker:
    """See the module. Used by one thread, but for `claim`.

    Args:
        name: who speaks.
        known: where to ask.
        prefix: before every topic name.
        client_id: names the producers' connections.
        wall_us: UTC in µs.
    """

    def __init__(
        self,
        name: Name,
        known: Known,
        prefix: str,
        client_id: str,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._name = name
        self._known = known
        self._prefix = prefix
        self._client_id = client_id
        self._wall_us = wall_us
        self._wire: tuple[Wire, Claim] | None = None
        self._heartbeats: Latest | None = None
        self._encode: Encoder[BridgeHeartbeat] | None = None
        self._marks: MarkWriter | None = None
        self._measured = known.status()
        self._unknown: set[str] = set()
        self._journal_error = ""
        self._alarmed = False
        self._parked = self._measured.parked
        self._said = _Good()
        self.heartbeats = 0
        """How many Kafka has."""
        self.marks = 0
        """Likewise."""

    # --- the claim, on the inbox's thread ---------------------------------------------------------------------------------------------

    def claim(self, wire: Wire, claim: Claim, timeout_s: float) -> bool:
        """Publish the claim for every account known; say whether Kafka has it in time. Blocks."""
        latest = Latest(self._producer(wire, "claim"), self._prefix + HEARTBEATS_TOPIC)
        encode = Encoder(BridgeHeartbeat, wire.ids[BridgeHeartbeat])
        try:
            # Without a login the account is not known yet; the claim is the name's all the same.
            for account in self._known.accounts() or [""]:
                latest.offer(account.encode(), encode(self._heartbeat("CLAIM", claim, account)))
            return latest.flush(timeout_s) and not latest.refused
        finally:
            latest.close()

    # --- the bridge's thread ----------------------------------------------------------------------------------------------------------

    def begin(self, wire: Wire, claim: Claim) -> None:
        """Say that the name is ours; from the next beat on heartbeats go out. Any thread."""
        self._wire = (wire, claim)

    def beat(self) -> None:
        """Publish heartbeats, count, log what has changed. Does not block on Kafka."""
        self.say("BEAT")
        self.measure()

    def hurry(self) -> None:
        """Publish heartbeats between two beats when records were read or calls are free again since the last: a comparison may wait for it.

        Bad news may be over in a moment and keeps to the beats. Does not block on Kafka.
        """
        if self._heartbeats is not None:
            self._heartbeats.poll()
        good = self._good()
        if good.caught_up != self._said.caught_up or good.calls > self._said.calls:
            self.say("BEAT")

    def say(self, kind: HeartbeatKind) -> None:
        """Publish a heartbeat of each account; what cannot go out now is dropped."""
        if self._wire is None or not self._known.claimed():
            return
        wire, claim = self._wire
        if self._heartbeats is None or self._encode is None:
            self._heartbeats = Latest(self._producer(wire, "heartbeats"), self._prefix + HEARTBEATS_TOPIC, self._sent)
            self._encode = Encoder(BridgeHeartbeat, wire.ids[BridgeHeartbeat])
        self._heartbeats.poll()
        # From before the records are made, so that what changes meanwhile is said once more and not left out.
        good = self._good()
        offered = [
            self._heartbeats.offer(account.encode(), self._encode(self._heartbeat(kind, claim, account)))
            for account in self._known.accounts()
        ]
        if all(offered):
            self._said = good

    def mark(self, quotes: Quotes, held: frozenset[Symbol]) -> None:
        """Publish marks of what was quoted since the last call. Does not block."""
        if self._wire is None or not self._known.claimed():
            return
        if self._marks is None:
            wire = self._wire[0]
            latest = Latest(self._producer(wire, "marks"), self._prefix + MARKS_TOPIC, self._marked)
            self._marks = MarkWriter(quotes, latest, Encoder(Mark, wire.ids[Mark]))
        self._marks.write(held)

    def close(self) -> None:
        """Say goodbye; waits for it to arrive, for a moment."""
        if self._heartbeats is not None:
            self._heartbeats.flush(_LAST_S)
            self.say("CLOSED")
            self._heartbeats.flush(_LAST_S)
            self._heartbeats.close()
        if self._marks is not None:
            self._marks.close()

    def measure(self) -> None:
        """Count and log what has changed since the last call."""
        now, before = self._known.status(), self._measured
        for name, count in (
            ("execpos_bridge_callbacks_total", now.callbacks - before.callbacks),
            ("execpos_bridge_acknowledged_total", now.delivered - before.delivered),
            ("execpos_bridge_journaled_total", now.journaled_seq - before.journaled_seq),
            ("execpos_bridge_oversized_total", now.oversized - before.oversized),
        ):
            metrics.counter(name).inc(max(0, count))  # type: ignore[arg-type] # (names of this very list)
        metrics.gauge("execpos_bridge_captured_records").set(now.captured)
        metrics.gauge("execpos_bridge_waiting_records").set(now.captured + now.backlog_records)
        metrics.gauge("execpos_bridge_backlog_records").set(now.backlog_records)
        metrics.gauge("execpos_bridge_backlog_bytes").set(now.backlog_bytes)
        metrics.gauge("execpos_bridge_journal_up").set(not now.journal_error)
        metrics.gauge("execpos_bridge_publish_up").set(not now.publish_error)
        metrics.gauge("execpos_bridge_parked_records").set(now.parked)
        metrics.gauge("execpos_bridge_lost_records").set(sum(lost.last - lost.first + 1 for lost in now.lost))
        metrics.gauge("execpos_bridge_claimed").set(self._known.claimed())
        self._measure_login()
        self._tell(now)
        self._measured = now

    def _measure_login(self) -> None:
        login = self._known.login()
        for state in get_args(Session):
            metrics.gauge("execpos_bridge_session").labels(state=state).set(state == login.session)
        for group, budget in login.budget.items():
            metrics.gauge("execpos_bridge_budget_remaining").labels(group=group).set(budget.remaining)
        metrics.gauge("execpos_bridge_open_gaps").set(sum(self._known.health(account).open_gaps for account in self._known.accounts()))

    def _tell(self, now: OutboxStatus) -> None:
        if now.journal_error != self._journal_error:
            if now.journal_error:
                _log.error("journal_failed", error=now.journal_error, captured=now.captured)
            else:
                _log.info("journal_recovered", captured=now.captured)
            self._journal_error = now.journal_error
        if now.alarm and not self._alarmed:
            _log.error("memory_alarm_raised", captured=now.captured, journal_error=now.journal_error)
        self._alarmed = now.alarm
        if now.parked > self._parked:
            _log.error("records_parked", parked=now.parked, error=now.publish_error)
            self._parked = now.parked
        fresh = sorted(now.unknown_fields.keys() - self._unknown)
        if fresh:
            self._unknown.update(fresh)
            _log.warning("unknown_fields_found", fields=fresh)

    def _good(self) -> _Good:
        caught_up = tuple(self._known.health(account).last_catchup_ts for account in self._known.accounts())
        return _Good(caught_up, self._known.login().remaining("accounting"))

    def _heartbeat(self, kind: HeartbeatKind, claim: Claim, account: str) -> BridgeHeartbeat:
        status, login = self._known.status(), self._known.login()
        stream = Stream(
            status.callbacks,
            status.captured,
            status.journaled_seq,
            status.published_seq,
            status.backlog_records,
            status.backlog_bytes,
            status.journal_error,
            status.publish_error,
        )
        health = self._known.health(account)._replace(last_callback_ts=self._known.heard(account))
        if kind == "CLOSED":
            login = login._replace(session="closed")
        return heartbeat(kind, self._name, claim, account, stream=stream, login=login, health=health, now_us=self._wall_us())

    def _producer(self, wire: Wire, what: str) -> IdempotentProducer:
        return wire.cluster.idempotent_producer(f"{self._client_id}.{what}")

    def _sent(self) -> None:
        self.heartbeats += 1
        metrics.counter("execpos_bridge_heartbeats_total").inc()

    def _marked(self) -> None:
        self.marks += 1
        metrics.counter("execpos_bridge_marks_total").inc()
