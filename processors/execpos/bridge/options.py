"""How a bridge runs, and what it has done."""

from typing import Protocol

import msgspec

from execpos.bridge.convert import PAYLOAD_BYTES_MAX
from execpos.bridge.desk import DeskOptions
from execpos.bridge.outbox import ALARM_RECORDS
from execpos.brokers.protocol import BrokerAccount

RAW_TOPIC = "exec.raw.v1"
INTENTS_TOPIC = "exec.intents.v1"


class BridgeOptions(msgspec.Struct, frozen=True):
    """How a bridge runs.

    Attributes:
        prefix: before every topic name.
        bridge_id: name of this bridge; one running process has it.
        beat_interval_s: time between two beats, and two heartbeats, of an account.
        drain_timeout_s: how long the end waits for Kafka.
        payload_bytes_max: a larger report travels as its length and hash.
        alarm_records: more records in memory than this are an alarm.
        marks_interval_s: time between two marks of a symbol.
        part_bytes_max: largest part of a broker's answer.
        settle_timeout_s: how long the end of a login that ends by itself waits for the last catch-up.
        desk: how often the broker is asked.
        inbox_poll_s, lease_s: see `InboxOptions`.
    """

    prefix: str = ""
    bridge_id: str = "bridge-1"
    beat_interval_s: float = 1.0
    drain_timeout_s: float = 60.0
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    alarm_records: int = ALARM_RECORDS
    marks_interval_s: float = 1.0
    part_bytes_max: int = 262_144
    settle_timeout_s: float = 15.0
    desk: DeskOptions = DeskOptions()
    inbox_poll_s: float = 0.25
    lease_s: float = 5.0


class BridgeReport(msgspec.Struct, frozen=True):
    """What a bridge has done until now.

    Attributes:
        callbacks: reports taken from the broker, those that were asked for included.
        published: records handed to Kafka, beats and repeats included.
        acknowledged: records that Kafka has acknowledged.
        waiting: captured and not yet in the journal.
        backlog: in the journal, and not acknowledged by Kafka.
        oversized: reports too large to travel, published as length and hash.
        parked: records that Kafka refused for good.
        intents: intents of the simulator's robot that Kafka has.
        gaps: holes in the broker's numbering.
        open_gaps: what no catch-up has covered.
        heartbeats: heartbeats that Kafka has.
        marks: marks that Kafka has.
        incarnation: of the bridge's claim; 0 without one.
        epoch: of the records made now.
        unknown_fields: fields that are on no list, with their counts.
    """

    callbacks: int
    published: int
    acknowledged: int
    waiting: int
    backlog: int
    oversized: int
    parked: int
    intents: int
    gaps: int
    open_gaps: int
    heartbeats: int
    marks: int
    incarnation: int
    epoch: int
    unknown_fields: dict[str, int]


class Intents(Protocol):
    """Writes what the simulator's strategies say; see `SimIntentWriter`."""

    @property
    def acknowledged(self) -> int:
        """How many Kafka has."""
        ...

    def finish(self, deadline_s: float) -> None:
        """Wait until all are acknowledged, or a moment (monotonic) has come."""
        ...


def no_blackout(ts_us: int, account: BrokerAccount, what: str) -> str:
    """Return that the broker may be asked at any time."""
    del ts_us, account, what
    return ""
