"""The bridge: one broker login, published.

    broker's threads ─► Capture ─► drain thread: journal, publisher ─► exec.raw
    desk thread:   logs in, reads, catches up ─► Capture, exec.broker-snapshots
    inbox thread:  claims on the name, requests, positions ◄─ exec.heartbeats, exec.broker-requests, exec.positions
    main thread:   beats, heartbeats, marks, the order of things at start and stop

Capturing waits for nothing. Publishing waits until the bridge's name is claimed. What Kafka does not have at the end is in the journal.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Sequence

import msgspec

from execpos.bridge.capture import Capture
from execpos.bridge.claim import Claim, Claims
from execpos.bridge.desk import Desk
from execpos.bridge.gate import GatedProducer
from execpos.bridge.heartbeats import AccountHealth, Login, Name
from execpos.bridge.held import Held
from execpos.bridge.inbox import Inbox, InboxOptions, Wanted
from execpos.bridge.journal.journal import Journal
from execpos.bridge.marks import Quotes
from execpos.bridge.observed import LastHeard, Observed
from execpos.bridge.options import RAW_TOPIC, BridgeOptions, BridgeReport, Intents, no_blackout
from execpos.bridge.outbox import Outbox, OutboxStatus
from execpos.bridge.publisher import Target
from execpos.bridge.requests import Answered, Blackout, Identity
from execpos.bridge.snapshots import SNAPSHOTS_TOPIC, SnapshotWriter
from execpos.bridge.speaker import Known, Speaker
from execpos.bridge.tail import Connect, Wire
from execpos.brokers.protocol import Broker, ReportSource
from execpos.codecs.avro import Encoder
from execpos.domain.events import BrokerSnapshot, RawExecEvent
from execpos.domain.ids import account_key
from execpos.domain.private import PrivateWords
from execpos.errors import DependencyError, Fenced
from execpos.telemetry.log import Logger

# How soon the end of a file or an error of a thread is noticed.
_WATCH_S = 0.02

# How soon what a comparison waits for is told, at most so often; a beat is a second away, and ten accounts wait one behind the other.
_HURRY_S = 0.1

# For the journal, which takes what is in memory however long that lasts.
_FENCED_S = 0.2

# A stopped bridge does not wait for a Kafka that is away: the journal has everything.
_AWAY_S = 2.0

# How long a broker's library may take to answer what it was asked before the end, and to let go.
_DESK_STOP_S = 15.0

# The inbox waits for one answer of Kafka at most.
_INBOX_STOP_S = 2.0

_log = Logger("bridge")


class Bridge:
    """See the module. Made on the thread that calls `run`; `report` may be called by others.

    Args:
        options: how to run.
        source: where reports come from; not started, and if it is a login, not connected yet.
        journal: open; closed when `run` has returned.
        connect: reaches Kafka and the registry; called again and again while they are away.
        intents: writer of the simulator's intents, to be finished with the bridge.
        broker: the source again, if it can be asked.
        blackout: when the broker must not be asked.
    """

    def __init__(
        self,
        options: BridgeOptions,
        source: ReportSource,
        journal: Journal,
        connect: Connect,
        *,
        broker: Broker | None = None,
        intents: Intents | None = None,
        blackout: Blackout = no_blackout,
    ) -> None:
        self._options = options
        self._source = source
        self._journal = journal
        self._intents = intents
        self._accounts: list[str] = list(journal.state.get("accounts", []))
        self._live_accounts = False
        self._wire: Wire | None = None
        self._writer: SnapshotWriter | None = None
        self._capture = Capture()
        self._heard = LastHeard()
        self._quotes = Quotes(journal.env, options.bridge_id)
        self._held: Held | None = None
        self._observed: Observed | None = None
        self._desk: Desk | None = None
        private = PrivateWords()
        if broker is not None:
            self._desk = Desk(
                broker,
                self._capture,
                options.desk,
                blackout=blackout,
                on_quote=self._quotes.take,
                symbols=lambda: self._held.symbols if self._held else frozenset(),
                on_accounts=self._know,
                private=private,
            )
            self._observed = Observed(journal, time.monotonic, self._desk.reset)
        self._outbox = Outbox(
            self._capture,
            journal,
            self._target,
            sdk_version=source.sdk_version,
            payload_bytes_max=options.payload_bytes_max,
            on_journaled=self._journaled,
            alarm_records=options.alarm_records,
            private=private,
        )
        self._claims = Claims(options.bridge_id, int(journal.state.get("incarnation", 0)), secrets.token_hex(8))
        self._inbox = self._make_inbox(connect)
        client_id = f"{options.prefix}{journal.env}.bridge.{options.bridge_id}"
        self._client_id = client_id
        known = Known(self._spoken_for, self._outbox.status, self._login, self._health, self._heard.get, self._inbox.may_publish)
        self._speaker = Speaker(Name(options.bridge_id, journal.epoch, source.sdk_version), known, options.prefix, client_id)

    def report(self) -> BridgeReport:
        """Return the counts as of now. Does not block; while the bridge runs, they may be of slightly different moments."""
        status, accounts = self._outbox.status(), list(self._accounts)
        return BridgeReport(
            callbacks=status.callbacks,
            published=status.published,
            acknowledged=status.delivered,
            waiting=status.captured,
            backlog=status.backlog_records,
            oversized=status.oversized,
            parked=status.parked,
            intents=self._intents.acknowledged if self._intents else 0,
            gaps=sum(self._health(account).gaps for account in accounts),
            open_gaps=sum(self._health(account).open_gaps for account in accounts),
            heartbeats=self._speaker.heartbeats,
            marks=self._speaker.marks,
            incarnation=self._claims.own.incarnation if self._claims.own else 0,
            epoch=status.epoch,
            unknown_fields=dict(status.unknown_fields),
        )

    def run(self, stop: threading.Event) -> BridgeReport:
        """Capture and publish until `stop` is set or the source has finished; then until Kafka has all, or has not for too long. Once.

        Beats frame the reports: one a second and account, the first before any report and the last behind them all.

        Returns:
            The final counts; after a stop `backlog` may be above 0: those records are in the journal, and the next start publishes them.

        Raises:
            Fenced: another bridge has claimed the name.
            DependencyError: the source has come to its end, and Kafka did not take everything within `drain_timeout_s`.
            ContractError: a topic or a schema is not there.
            ExecposError: what ended the broker, or one of the bridge's threads.
        """
        ended = False
        try:
            self._begin()
            ended = self._watch(stop)
        finally:
            self._end(ended=ended)
        report = self.report()
        _log.info("component_stopped", **msgspec.structs.asdict(report))
        if ended and report.backlog:
            raise DependencyError(
                f"{report.backlog} records were not acknowledged in time; they are in the journal {self._journal.folder}",
                hint="is Kafka up? start a bridge of this name again, and it publishes them",
                backlog=report.backlog,
            )
        return report

    # --- start ------------------------------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        status = self._outbox.status()
        _log.info(
            "component_started",
            env=self._journal.env,
            bridge_id=self._options.bridge_id,
            epoch=status.epoch,
            backlog=status.backlog_records,
            journal=str(self._journal.folder),
        )
        if status.torn:
            _log.warning("journal_damage_found", torn=list(status.torn))
        # In this order: what an earlier run left goes out, whether the broker lets us in or not.
        self._outbox.start()
        self._inbox.start()
        if self._desk is not None and self._observed is not None:
            self._desk.start(self._observed)
            return
        self._know([account_key(self._source.env, *account) for account in self._source.accounts()])
        self._source.set_order_callback(self._capture.handler)
        self._source.start()

    def _know(self, accounts: Sequence[str]) -> None:
        """Take in whose reports will come, before any can; on the desk's thread if there is one."""
        self._accounts = list(accounts)
        self._live_accounts = True
        for account in accounts:
            self._capture.beat(account)
        # For the heartbeats of the next start before its login; a full disk is told by the journal.
        with contextlib.suppress(OSError):
            self._journal.state.set("accounts", list(accounts))

    def _make_inbox(self, connect: Connect) -> Inbox:
        options = self._options
        wanted = None
        if self._desk is not None:
            self._answered = Answered(self._journal.state)
            self._held = Held(self._spoken_for)
            wanted = Wanted(self._desk.ask, self._serve, self._answered, self._held, lambda: self._accounts if self._live_accounts else [])
        return Inbox(
            InboxOptions(options.prefix, options.inbox_poll_s, options.lease_s),
            connect,
            self._claims,
            self._claim,
            self._claimed,
            required=(RAW_TOPIC, SNAPSHOTS_TOPIC) if wanted else (RAW_TOPIC,),
            desk=wanted,
        )

    def _claim(self, wire: Wire, claim: Claim, timeout_s: float) -> bool:
        # What Kafka knows counts as well.
        with contextlib.suppress(OSError):
            self._journal.state.set("incarnation", claim.incarnation)
        return self._speaker.claim(wire, claim, timeout_s)

    def _claimed(self, wire: Wire, claim: Claim) -> None:
        self._wire = wire
        self._speaker.begin(wire, claim)

    def _target(self) -> Target:
        """Return a fresh producer for the publisher; on the connecting thread."""
        wire = self._wire
        if wire is None:
            raise DependencyError(self._inbox.away or "the bridge's name is not claimed yet", hint="publishing begins when it is")
        producer = GatedProducer(wire.cluster.idempotent_producer(self._client_id), self._inbox.may_publish)
        return Target(producer, self._options.prefix + RAW_TOPIC, wire.ids[RawExecEvent])

    def _serve(self, wire: Wire, topic_id: str) -> None:
        """Let requests be answered; on the inbox's thread."""
        if self._writer is None and self._desk is not None:
            producer = wire.cluster.idempotent_producer(f"{self._client_id}.snapshots")
            topic = self._options.prefix + SNAPSHOTS_TOPIC
            self._writer = SnapshotWriter(producer, Encoder(BrokerSnapshot, wire.ids[BrokerSnapshot]), topic, self._options.part_bytes_max)
            identity = Identity(self._options.bridge_id, self._journal.epoch, self._source.sdk_version)
            self._desk.serve(self._writer, self._answered, identity, topic_id)

    # --- while it runs ----------------------------------------------------------------------------------------------------------------

    def _watch(self, stop: threading.Event) -> bool:
        """Beat until the end; say whether it was the source's own."""
        options = self._options
        next_beat_s = time.monotonic() + options.beat_interval_s
        next_mark_s = time.monotonic() + options.marks_interval_s
        hurry_s = 0.0
        while True:
            self._check()
            # In this order, so that an error of the source is seen even when it comes together with the stop.
            if self._source.finished():
                return True
            if stop.wait(_WATCH_S):
                return False
            now_s = time.monotonic()
            if now_s >= next_beat_s:
                next_beat_s = max(next_beat_s + options.beat_interval_s, now_s)
                self._beat()
            if now_s >= hurry_s:
                hurry_s = now_s + _HURRY_S
                self._speaker.hurry()
            if self._held is not None and now_s >= next_mark_s:
                next_mark_s = max(next_mark_s + options.marks_interval_s, now_s)
                self._speaker.mark(self._quotes, self._held.symbols)

    def _beat(self) -> None:
        if self._live_accounts:
            for account in self._accounts:
                self._capture.beat(account)
        self._speaker.beat()

    def _check(self) -> None:
        """Raise what ended one of the threads; that another bridge has the name comes first."""
        for error in (self._inbox.error, self._outbox.error, self._desk.error if self._desk else None):
            if error is not None:
                raise error

    def _journaled(self, records: Sequence[RawExecEvent]) -> None:
        self._heard.see(records)
        if self._observed is not None:
            self._observed.journaled(records)

    def _spoken_for(self) -> Sequence[str]:
        return self._accounts

    def _login(self) -> Login:
        return Login() if self._desk is None else self._desk.login()

    def _health(self, account: str) -> AccountHealth:
        return AccountHealth() if self._desk is None else self._desk.health(account)

    # --- end --------------------------------------------------------------------------------------------------------------------------

    def _end(self, *, ended: bool) -> None:
        """Stop the broker, say the last beats, see everything safe; what fails in between does not keep the rest from being done."""
        ours = not isinstance(self._inbox.error, Fenced)
        try:
            if ended and self._desk is not None:
                # What the last callbacks would have been is in the records only.
                self._desk.settle(self._options.settle_timeout_s)
            self._stop_source()
            if self._live_accounts:
                for account in self._accounts:
                    self._capture.beat(account)
        finally:
            try:
                status = self._finish_outbox(ended=ended, ours=ours)
            finally:
                self._inbox.finish(_INBOX_STOP_S)
                if self._writer is not None:
                    self._writer.close()
        if ours and self._inbox.error is not None:
            raise self._inbox.error
        if status.backlog_records and not ended:
            _log.warning("backlog_left", backlog=status.backlog_records, journal=str(self._journal.folder))

    def _stop_source(self) -> None:
        if self._desk is None:
            self._source.stop()
        elif not self._desk.finish(_DESK_STOP_S):
            # A call of its library hangs; what it still delivers is captured until the process ends.
            _log.error("broker_stop_overdue", seconds=_DESK_STOP_S)

    def _finish_outbox(self, *, ended: bool, ours: bool) -> OutboxStatus:
        """Say goodbye and wait for Kafka."""
        timeout_s = self._options.drain_timeout_s
        if not ours:
            # Nothing more is published under a name that is another's.
            timeout_s = min(timeout_s, _FENCED_S)
        elif not (ended or self._inbox.may_publish()):
            timeout_s = min(timeout_s, _AWAY_S)
        deadline_s = time.monotonic() + timeout_s
        try:
            if ours:
                self._speaker.close()
            return self._outbox.finish(timeout_s)
        finally:
            self._speaker.measure()
            if self._intents is not None:
                self._intents.finish(deadline_s)
