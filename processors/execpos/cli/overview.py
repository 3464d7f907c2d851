"""What the topics say of trading: bridges, ledger, rounds, differences, halts; each read by itself, so that a dead part hides no other."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from execpos.bridge.overview import Limits, latest, problems
from execpos.domain import control
from execpos.domain.events import BridgeHeartbeat, Discrepancy, PositionState, Progress, ReconciliationRound, TradingControl
from execpos.domain.reconciliation.discrepancies import OPEN_STATUSES
from execpos.errors import ContractError, DependencyError
from execpos.kafka.partitions import partition_for
from execpos.kafka.ports import TopicPartition, Watermarks

if TYPE_CHECKING:
    from execpos.cli.records import Records
    from execpos.settings import Settings

# Rounds come every few minutes; an account without one for so long has none that says anything of now.
_ROUNDS_WITHIN_S = 86_400

# Longest wait for one answer of Kafka.
_TIMEOUT_S = 5.0

# What the ledger reads and no transaction writes: between two records there is no mark of one, so offsets count records.
_INPUTS = ("raw", "intents")


class Account(msgspec.Struct, frozen=True):
    """One account; a part is None where nothing says anything of it."""

    account: str
    state: str
    why: tuple[str, ...]
    bridge: BridgeHeartbeat | None
    bridge_problems: tuple[str, ...]
    progress: Progress | None
    behind: int
    round: ReconciliationRound | None
    open: tuple[Discrepancy, ...]


class Overview:
    """What is known at one moment. Making it blocks for what it reads.

    Args:
        records: of the installation.
        settings: limits of age.

    Attributes:
        unread: what could not be read, one text each.
        controls: scope -> source -> the newest record.

    Raises:
        DependencyError: Kafka is not reachable.
    """

    def __init__(self, records: "Records", settings: "Settings") -> None:
        records.cluster.broker_count(_TIMEOUT_S)
        self.now_us = time.time_ns() // 1000
        self._settings = settings
        self.unread: list[str] = []
        self.controls: dict[str, dict[str, TradingControl]] = {}
        self._beats: dict[str, BridgeHeartbeat] = {}
        self._progress: dict[int, Progress] = {}
        self._rounds: dict[str, ReconciliationRound] = {}
        self.discrepancies: list[Discrepancy] = []
        self._ends: dict[TopicPartition, Watermarks] = {}
        self._partitions = 0
        self._held: set[str] = set()
        self._read(records)

    @contextmanager
    def _part(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ContractError, DependencyError) as error:
            self.unread.append(f"{what}: {error.what}")

    def _read(self, records: "Records") -> None:
        with self._part("trading control"):
            for record in records.newest("control", TradingControl).values():
                self.controls.setdefault(record.scope, {})[record.source] = record
        with self._part("bridges"):
            for beat in latest(one for _, one in records.all("heartbeats", BridgeHeartbeat) if one is not None):
                before = self._beats.get(beat.account)
                if beat.account and (before is None or (before.incarnation, before.ts) <= (beat.incarnation, beat.ts)):
                    self._beats[beat.account] = beat
        with self._part("ledger"):
            self._progress = {one.partition: one for one in records.newest("progress", Progress).values()}
            self._partitions = records.cluster.partition_count(records.topic("raw"), _TIMEOUT_S)
            tps = [TopicPartition(records.topic(name), number) for name in _INPUTS for number in range(self._partitions)]
            self._ends = records.cluster.watermarks(tps, _TIMEOUT_S)
        with self._part("accounts"):
            self._held = {one.account for one in records.newest("positions", PositionState).values()}
        with self._part("rounds"):
            since_ms = max(0, self.now_us // 1000 - _ROUNDS_WITHIN_S * 1000)
            self._rounds = records.newest("rounds", ReconciliationRound, since_ms)
        with self._part("discrepancies"):
            self.discrepancies = list(records.newest("discrepancies", Discrepancy).values())

    @property
    def names(self) -> list[str]:
        """Every account that has a bridge, positions, or a round."""
        return sorted(self._beats.keys() | self._held | self._rounds.keys())

    def account(self, key: str) -> Account:
        """Return what is known of one account."""
        halt, beat = self._settings.halt, self._beats.get(key)
        limits = Limits(halt.heartbeat_gap_s, halt.recovery_seconds, halt.journal_backlog)
        number = partition_for(key.encode(), self._partitions) if self._partitions else -1
        progress = self._progress.get(number)
        state, why = self._state(key)
        return Account(
            account=key,
            state=state,
            why=tuple(why),
            bridge=beat,
            bridge_problems=("never heard",) if beat is None else tuple(problems(beat, self.now_us, limits)),
            progress=progress,
            behind=self._behind(number, progress),
            round=self._rounds.get(key),
            open=tuple(one for one in self.discrepancies if one.account == key and one.status in OPEN_STATUSES),
        )

    def _behind(self, number: int, progress: Progress | None) -> int:
        """Return how many records of its inputs the ledger has not handled."""
        read = {} if progress is None else {one.topic: one.offset + 1 for one in progress.inputs}
        ends = ((marks, read.get(tp.topic, 0)) for tp, marks in self._ends.items() if tp.partition == number)
        # A topic that was made anew ends before what was read of the old one.
        return sum(max(0, marks.high - max(marks.low, after)) for marks, after in ends)

    def _state(self, account: str) -> tuple[str, list[str]]:
        """Return what holds for the whole account, and why; DENIED when a source that has to speak is silent."""
        scopes = control.scopes(account, "", "")
        found = control.effective(self.controls, scopes)
        why = [f"{one.source}: {one.reason or one.state}" for one in found.because]
        silent = [text for source in self._settings.client.required_sources if (text := self.silence(scopes, source))]
        return ("DENIED" if silent and found.state == control.ACTIVE else found.state), [*why, *silent]

    def silence(self, scopes: tuple[str, ...], source: str) -> str:
        """Return why a source counts as silent for these scopes; empty when it does not."""
        spoken = [self.controls[scope][source].ts for scope in scopes if source in self.controls.get(scope, {})]
        if not spoken:
            return f"{source} has never spoken"
        age_s = (self.now_us - max(spoken)) / 1e6
        return f"{source} is silent for {age_s:.0f} s" if age_s > self._settings.client.control_age_s else ""

    def missing(self, account: str) -> list[str]:
        """Return which component seems to be missing for an account, one text each; none when all speak."""
        one, found = self.account(account), []
        if text := self.silence((account,), "reconciler"):
            found.append(f"{text}: is `execpos run reconciler` running?")
        if one.bridge is None:
            found.append("no bridge has ever spoken for it: is `execpos run bridge` running?")
        elif one.bridge.kind == "CLOSED":
            found.append(f"bridge {one.bridge.bridge_id} was stopped: start it")
        elif (age_s := self.age_s(one.bridge.ts)) > self._settings.halt.heartbeat_gap_s:
            found.append(f"bridge {one.bridge.bridge_id} is silent for {age_s:.0f} s")
        if one.progress is None:
            found.append("no ledger has ever spoken for it: is `execpos run ledger` running?")
        elif (age_s := self.age_s(one.progress.ts)) > self._settings.halt.progress_age_s:
            found.append(f"ledger {one.progress.instance} is silent for {age_s:.0f} s")
        return found

    def age_s(self, ts_us: int) -> float:
        """Return how long ago a moment was, by this machine's clock."""
        return max(0.0, (self.now_us - ts_us) / 1e6)


def plain_control(one: TradingControl, by_source: "control.BySource", now_us: int) -> dict[str, Any]:
    """Return one record of exec.control as commands print it."""
    return {
        "scope": one.scope,
        "source": one.source,
        "state": one.state,
        "control_id": one.control_id,
        "latched": one.latched,
        "stands": control.SEVERITY.get(one.state, control.SEVERITY[control.HALTED]) > 0 and control.stands(one, by_source),
        "reason": one.reason,
        "by": one.by,
        "age_s": round((now_us - one.ts) / 1e6, 3),
        "evidence": one.evidence,
    }
