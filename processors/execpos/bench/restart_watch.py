"""What a restart bench sees of the topics: when the ledger is at work, the bridge complete, and each account reconciled and ACTIVE."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from execpos.codecs.avro import Decoder
from execpos.codecs.registry import Schemas
from execpos.domain.events import BridgeHeartbeat, Progress, ReconciliationRound, TradingControl
from execpos.kafka.ports import Cluster, TopicPartition

_TIMEOUT_S = 30.0
_POLL_S = 0.1
_SOURCE = "reconciler"

_TOPICS: Mapping[str, type[msgspec.Struct]] = {
    "exec.progress.v1": Progress,
    "exec.heartbeats.v1": BridgeHeartbeat,
    "exec.control.v1": TradingControl,
    "exec.rounds.v1": ReconciliationRound,
}


class Reached(NamedTuple):
    """When a restart came how far, µs of the clock on the wall; 0 for not yet."""

    ledger_us: int = 0
    bridge_us: int = 0
    active_us: int = 0


class Watch:
    """Follows the topics of one installation, on a thread of its own; what is asked of it is of any thread.

    Args:
        cluster: where they are.
        prefix: of the topics.
        schemas: of the records.
        accounts: whose state counts.
        partitions: count of the account-keyed topics.
    """

    def __init__(self, cluster: Cluster, prefix: str, schemas: Schemas, accounts: int, partitions: int) -> None:
        self._accounts = accounts
        self._partitions = partitions
        self._takers = {prefix + topic: (Decoder(record, schemas.writers[record]), _TAKERS[record]) for topic, record in _TOPICS.items()}
        counts = {topic: cluster.partition_count(topic, _TIMEOUT_S) for topic in self._takers}
        starts = cluster.high_watermarks(
            [TopicPartition(topic, part) for topic, count in counts.items() for part in range(count)], _TIMEOUT_S
        )
        self._tail = cluster.tail(starts, _TIMEOUT_S)
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._begin(0)
        self.heartbeats: dict[str, BridgeHeartbeat] = {}
        """The newest of each account."""
        self.controls: dict[str, TradingControl] = {}
        """The reconciler's newest of each scope."""
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Look at what is written from now on: a restart begins."""
        with self._lock:
            self._begin(time.time_ns() // 1000)

    def reached(self) -> Reached:
        """Return how far it is since `begin`."""
        with self._lock:
            ledger = max(self._ledger.values(), default=0) if len(self._ledger) == self._partitions else 0
            bridge = max(self._bridge.values(), default=0) if len(self._bridge) == self._accounts else 0
            active = {scope: max(at, self._ended[scope]) for scope, at in self._active.items() if scope in self._ended}
            return Reached(ledger, bridge, max(active.values()) if len(active) == self._accounts else 0)

    def close(self) -> None:
        """Let go."""
        self._stopping.set()
        self._thread.join()
        self._tail.close()

    def _begin(self, since_us: int) -> None:
        self._since_us = since_us
        self._ledger: dict[int, int] = {}
        self._bridge: dict[str, int] = {}
        self._active: dict[str, int] = {}
        self._ended: dict[str, int] = {}
        self.rounds: list[ReconciliationRound] = []
        """Those that began since `begin`."""

    def _run(self) -> None:
        while not self._stopping.is_set():
            for message in self._tail.poll(_POLL_S):
                decode, take = self._takers[message.topic()]
                if (value := message.value()) is not None:
                    with self._lock:
                        take(self, decode(value), time.time_ns() // 1000)

    def _progress(self, progress: Progress, now_us: int) -> None:
        if progress.ts > self._since_us:
            self._ledger.setdefault(progress.partition, now_us)

    def _heartbeat(self, heartbeat: BridgeHeartbeat, now_us: int) -> None:
        if not heartbeat.account:
            return
        self.heartbeats[heartbeat.account] = heartbeat
        if heartbeat.session == "up" and heartbeat.last_catchup_ts > self._since_us and not heartbeat.open_gaps:
            self._bridge.setdefault(heartbeat.account, now_us)

    def _control(self, control: TradingControl, now_us: int) -> None:
        if control.source != _SOURCE:
            return
        self.controls[control.scope] = control
        if control.ts <= self._since_us:
            return
        if control.state != "ACTIVE":
            self._active.pop(control.scope, None)
        else:
            self._active.setdefault(control.scope, now_us)

    def _round(self, one: ReconciliationRound, now_us: int) -> None:
        if one.began_ts > self._since_us:
            self.rounds.append(one)
            # An average that differs, because caught-up fills were met behind newer ones, is reported and halts nothing.
            if one.verdict == "EQUAL" or (one.verdict == "DIFFERENT" and one.state == "ACTIVE"):
                self._ended.setdefault(one.account, now_us)


_TAKERS: Mapping[type[msgspec.Struct], Callable[[Watch, Any, int], None]] = {
    Progress: Watch._progress,  # noqa: SLF001 (methods of the class above)
    BridgeHeartbeat: Watch._heartbeat,  # noqa: SLF001 (as above)
    TradingControl: Watch._control,  # noqa: SLF001 (as above)
    ReconciliationRound: Watch._round,  # noqa: SLF001 (as above)
}
