"""What the heartbeats say of all bridges, and what of it needs an operator. Pure but for the reading."""

from collections.abc import Callable, Iterable

import msgspec

from execpos.bridge.heartbeats import HEARTBEATS_TOPIC
from execpos.bridge.tail import Wire
from execpos.codecs.avro import Decoder
from execpos.domain.events import BridgeHeartbeat
from execpos.errors import Park
from execpos.kafka.ports import Span, TopicPartition

# Heartbeats come once a second and account, and are compacted to one: the newest of each stands among these.
_RECORDS_MAX = 50_000


class Limits(msgspec.Struct, frozen=True):
    """From when on something needs an operator: silence (s), recovery (s), records in the journal that Kafka does not have."""

    silence_s: float
    recovery_s: float
    backlog: int


def newest(wire: Wire, prefix: str, timeout_s: float) -> list[BridgeHeartbeat]:
    """Return the newest heartbeat of each bridge and account. Blocks.

    Raises:
        ContractError: there is no such topic.
        DependencyError: Kafka is not reachable.
    """
    topic = prefix + HEARTBEATS_TOPIC
    tps = [TopicPartition(topic, number) for number in range(wire.cluster.partition_count(topic, timeout_s))]
    marks = wire.cluster.watermarks(tps, timeout_s)
    spans = [Span(tp, max(mark.low, mark.high - _RECORDS_MAX), mark.high) for tp, mark in marks.items() if mark.low < mark.high]
    decode = Decoder(BridgeHeartbeat, wire.writers[BridgeHeartbeat])
    reader = wire.cluster.reader()
    try:
        return latest(_decoded(decode, (message.value() or b"" for message in reader.read(spans, timeout_s))))
    finally:
        reader.close()


def _decoded(decode: Callable[[bytes], BridgeHeartbeat], values: Iterable[bytes]) -> Iterable[BridgeHeartbeat]:
    for value in values:
        try:
            yield decode(value)
        except Park:
            # A record of somebody else's says nothing of a bridge.
            continue


def latest(heartbeats: Iterable[BridgeHeartbeat]) -> list[BridgeHeartbeat]:
    """Return of each bridge and account what it said last: of the highest incarnation, the newest."""
    found: dict[tuple[str, str], BridgeHeartbeat] = {}
    for beat in heartbeats:
        before = found.get((beat.bridge_id, beat.account))
        if before is None or (before.incarnation, before.claim_id, before.ts) <= (beat.incarnation, beat.claim_id, beat.ts):
            found[beat.bridge_id, beat.account] = beat
    # The claim of a bridge that knew no account yet is of no interest once it does.
    named = {bridge_id for bridge_id, account in found if account}
    return [beat for (bridge_id, account), beat in sorted(found.items()) if account or bridge_id not in named]


def problems(beat: BridgeHeartbeat, now_us: int, limits: Limits) -> list[str]:
    """Return what an operator has to look at, one text each; none of a bridge that was stopped on purpose and left nothing behind."""
    found = []
    silent_s = (now_us - beat.ts) / 1_000_000
    if beat.kind != "CLOSED" and silent_s > limits.silence_s:
        found.append(f"silent for {silent_s:.0f} s")
    if beat.journal_error:
        found.append(f"journal: {beat.journal_error}")
    if beat.publish_error and beat.kind != "CLOSED":
        found.append(f"publishing: {beat.publish_error}")
    if beat.backlog_records > limits.backlog or (beat.kind == "CLOSED" and beat.backlog_records > 0):
        found.append(f"{beat.backlog_records} records are not in Kafka")
    if beat.kind == "CLOSED":
        return found
    if beat.session in {"down", "suspended"}:
        found.append(f"session {beat.session}")
    if beat.open_gaps and now_us - beat.last_catchup_ts > limits.recovery_s * 1_000_000:
        found.append(f"{beat.open_gaps} open gaps, and no catch-up for longer than {limits.recovery_s:.0f} s")
    if beat.cache_health == "Degraded":
        found.append(f"order cache: {', '.join(beat.cache_reasons) or 'Degraded'}")
    return found
