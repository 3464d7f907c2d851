"""Settings of the client library, in one place, each with its reason."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError

from execpos.telemetry.log import Logger

_log = Logger("kafka")

# The largest raw report is 256 KiB; its dead letter adds what tells where it came from.
MAX_RECORD_BYTES = 256 * 1024 + 64 * 1024

# Records sent together. A topic's limit holds for the whole batch, so this stays below the smallest such limit in contracts/topics.yaml.
BATCH_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where Kafka is and how long its coordinators wait.

    Args:
        bootstrap_servers: `host:port`, comma separated.
        session_timeout_s: a silent member leaves the group after this; a static member that restarts sooner causes no rebalance.
        transaction_timeout_s: the broker ends an open transaction after this. Below the session time-out, so that a dead owner's
            transaction is over before its partitions move.
        extra: settings of the client library that are added to (not over) ours: security, mostly.
    """

    bootstrap_servers: str
    session_timeout_s: float = 30.0
    transaction_timeout_s: float = 10.0
    extra: Mapping[str, str] = field(default_factory=dict)


def common(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return what every client has."""

    def report(error: KafkaError) -> None:
        _log.warning("client_reported", client=client_id, code=error.name(), reason=error.str(), fatal=error.fatal())

    return {
        **settings.extra,
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": client_id,
        # Small requests go out at once.
        "socket.nagle.disable": True,
        # A broker that restarts is tried again within a second.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        # The library's own text lines; what matters comes as an error, to `report` or to the caller.
        "log_level": 0,
        "error_cb": report,
    }


def _producing() -> dict[str, Any]:
    return {
        "enable.idempotence": True,
        "acks": "all",
        "linger.ms": 0,
        # The library's default places keys otherwise than Java's clients.
        "partitioner": "murmur2_random",
        "batch.size": BATCH_BYTES,
        # Above what one transaction of a full batch writes; the loop must not wait for the network in its middle.
        "queue.buffering.max.messages": 1_000_000,
        "queue.buffering.max.kbytes": 1_048_576,
        # Send the next request although one waits in the socket.
        "queue.buffering.backpressure.threshold": 1,
    }


def transactional(settings: KafkaSettings, transactional_id: str) -> dict[str, Any]:
    """Return the settings of a transactional producer."""
    return {
        **common(settings, transactional_id),
        **_producing(),
        "transactional.id": transactional_id,
        "transaction.timeout.ms": _ms(settings.transaction_timeout_s),
        # While the markers of the last transaction are written, the coordinator answers "concurrent transactions"; with the default of
        # 100 ms that pause would be the latency of every second transaction.
        "retry.backoff.ms": 1,
        "retry.backoff.max.ms": 10,
        # The commit fails if any record does.
        "delivery.report.only.error": True,
    }


def idempotent(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return the settings of a gapless producer."""
    return {
        **common(settings, client_id),
        **_producing(),
        # Never give a record up by itself: one given up before a later one that arrives would be a hole.
        "message.timeout.ms": 0,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 500,
    }


def member(settings: KafkaSettings, group_id: str, instance_id: str) -> dict[str, Any]:
    """Return the settings of the loop's consumer."""
    session_ms = _ms(settings.session_timeout_s)
    return {
        **common(settings, instance_id),
        **_fetching(),
        "group.id": group_id,
        "group.instance.id": instance_id,
        "group.protocol": "classic",
        # The only one that gives one member the same partition numbers of all topics.
        "partition.assignment.strategy": "range",
        "session.timeout.ms": session_ms,
        # Also how late a member hears that another one came or left.
        "heartbeat.interval.ms": max(100, min(500, session_ms // 10)),
        # Above the longest single step of a restore between two polls.
        "max.poll.interval.ms": max(300_000, session_ms),
        # Where to begin is decided by the loop; silence about lost offsets would be lost fills.
        "auto.offset.reset": "error",
        # A fetch that waits is answered as soon as something is committed; only a seek waits for its end.
        "fetch.wait.max.ms": 100,
        # An answer that was on its way for longer is not taken: what it says of the end of a partition dates the records behind it.
        "socket.timeout.ms": 5_000,
    }


def reader(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return the settings of a consumer that reads spans outside any group."""
    return {
        **common(settings, client_id),
        **_fetching(),
        # Required by the library; nothing is ever committed and nobody joins.
        "group.id": f"{client_id}.reader",
        "enable.partition.eof": True,
        # A span may begin below what retention has left.
        "auto.offset.reset": "earliest",
        "fetch.max.bytes": 64 * 1024 * 1024,
        "max.partition.fetch.bytes": 4 * 1024 * 1024,
    }


def tail(settings: KafkaSettings, client_id: str) -> dict[str, Any]:
    """Return the settings of a consumer that stays at the end of partitions outside any group."""
    return {
        **reader(settings, client_id),
        # A fetch that waits is answered as soon as something is committed, so this is no latency; ten empty answers a second are cheap.
        "fetch.wait.max.ms": 100,
        # An answer that was on its way for longer is not taken: what it says of the end of a partition dates the records behind it.
        "socket.timeout.ms": 5_000,
    }


def _fetching() -> dict[str, Any]:
    return {
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "fetch.min.bytes": 1,
        # One fetch is on its way per broker; a seek or a new partition waits for it this long.
        "fetch.wait.max.ms": 20,
        "fetch.error.backoff.ms": 20,
        # The default of a second would leave the loop without records after each full queue.
        "fetch.queue.backoff.ms": 5,
        # Enough for several transactions ahead; what is fetched and not processed is memory only.
        "queued.min.messages": 50_000,
        "queued.max.messages.kbytes": 65_536,
        "retry.backoff.ms": 10,
        "retry.backoff.max.ms": 200,
    }


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
