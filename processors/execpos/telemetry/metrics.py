"""The metrics that this process exposes, each defined once, and the page that Prometheus reads.

No account, instrument or offset is ever a label: labels are bounded and known in advance.
"""

from collections.abc import Mapping
from typing import NamedTuple

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

from execpos.telemetry.names import MetricName

# From a good day's half millisecond to the minute at which an operator is paged.
LATENCY_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)


class Definition(NamedTuple):
    """What one metric is: kind (counter, gauge, histogram), meaning, and its labels."""

    kind: str
    meaning: str
    labels: tuple[str, ...] = ()


DEFINITIONS: Mapping[MetricName, Definition] = {
    "execpos_build_info": Definition("gauge", "1, with the version of the program", ("version",)),
    "execpos_ledger_dead_letters_total": Definition("counter", "records that did not become state, committed or not", ("reason",)),
    "execpos_ledger_corrections_total": Definition("counter", "corrections answered, committed or not: applied, or why not", ("outcome",)),
    "execpos_ledger_records_total": Definition("counter", "records applied and committed, by class", ("outcome",)),
    "execpos_ledger_mark_failures_total": Definition("counter", "times that exec.marks could not be read; the book does not depend on it"),
    "execpos_ledger_marks": Definition("gauge", "symbols whose last mark is known"),
    "execpos_ledger_snapshot_bytes_total": Definition("counter", "size of the snapshots written, all parts"),
    "execpos_ledger_snapshot_seconds": Definition("histogram", "time to make one snapshot, within its transaction, s"),
    "execpos_ledger_snapshots_total": Definition("counter", "snapshots written and committed, by what asked for them", ("reason",)),
    "execpos_assigned_partitions": Definition("gauge", "partitions of each input topic that this instance holds now"),
    "execpos_input_records_total": Definition("counter", "records of the inputs in committed transactions"),
    "execpos_rebalances_total": Definition("counter", "times that partitions were assigned to this instance"),
    "execpos_restore_remaining_records": Definition(
        "gauge", "offsets of a topic that a restore has still to read; 0 when done", ("topic",)
    ),
    "execpos_restore_seconds": Definition("histogram", "time from an assignment to the first record, s"),
    "execpos_transaction_seconds": Definition("histogram", "time from the begin of a committed transaction to the answer of its commit, s"),
    "execpos_transactions_total": Definition("counter", "transactions ended, by outcome: committed or aborted", ("outcome",)),
    "execpos_bridge_acknowledged_total": Definition("counter", "records that Kafka has acknowledged, beats and repeats included"),
    "execpos_bridge_backlog_bytes": Definition("gauge", "size of what the journal has and Kafka has not acknowledged"),
    "execpos_bridge_backlog_records": Definition("gauge", "records that the journal has and Kafka has not acknowledged"),
    "execpos_bridge_broker_failures_total": Definition(
        "counter", "calls to the broker without an answer: call, and why (raised: its library broke down)", ("call", "kind")
    ),
    "execpos_bridge_broker_reads_total": Definition("counter", "answers to requests: what was asked, and the outcome", ("what", "outcome")),
    "execpos_bridge_budget_remaining": Definition(
        "gauge", "calls of a group that are possible now: accounting, orders, data, logins", ("group",)
    ),
    "execpos_bridge_callbacks_total": Definition("counter", "reports taken from the broker, those that were asked for included"),
    "execpos_bridge_captured_records": Definition("gauge", "records in memory that are not in the journal yet"),
    "execpos_bridge_catch_ups_total": Definition("counter", "reads of the broker's records begun, by what asked for them", ("trigger",)),
    "execpos_bridge_claimed": Definition("gauge", "1 while the bridge's name is known to be its own, so that it may publish"),
    "execpos_bridge_connection_events_total": Definition("counter", "what the broker said of the link", ("kind",)),
    "execpos_bridge_gaps_total": Definition("counter", "holes in the broker's numbering of reports"),
    "execpos_bridge_heartbeats_total": Definition("counter", "heartbeats that Kafka has"),
    "execpos_bridge_journal_up": Definition("gauge", "1 while the journal can be written"),
    "execpos_bridge_journaled_total": Definition("counter", "records written to the journal"),
    "execpos_bridge_lost_records": Definition("gauge", "records that the journal had and cannot read any more"),
    "execpos_bridge_marks_total": Definition("counter", "marks that Kafka has"),
    "execpos_bridge_open_gaps": Definition("gauge", "holes, lost sessions and failed reads, of all accounts, that no catch-up has covered"),
    "execpos_bridge_oversized_total": Definition("counter", "reports too large to travel, published as length and hash"),
    "execpos_bridge_parked_records": Definition("gauge", "records that Kafka refused for good, kept as files beside the journal"),
    "execpos_bridge_publish_up": Definition("gauge", "1 while Kafka takes records"),
    "execpos_bridge_session": Definition("gauge", "1 for the state that the login is in, 0 for the others", ("state",)),
    "execpos_bridge_waiting_records": Definition("gauge", "records captured and not yet acknowledged by Kafka"),
    "execpos_reconciler_accounts": Definition("gauge", "accounts by what trading is there; unknown: nothing was said yet", ("state",)),
    "execpos_reconciler_broker_calls_total": Definition("counter", "calls to the broker that ended rounds have cost, committed"),
    "execpos_reconciler_control_failures_total": Definition("counter", "times that exec.control could not be followed; releases wait"),
    "execpos_reconciler_corrections_total": Definition("counter", "corrections asked of the ledger, committed", ("kind",)),
    "execpos_reconciler_open_discrepancies": Definition("gauge", "differences from the broker that stand open", ("kind",)),
    "execpos_reconciler_rounds_total": Definition("counter", "comparisons ended, committed", ("verdict",)),
    "execpos_reconciler_unequal_seconds": Definition("gauge", "longest time that an account was not found equal to the broker, s"),
    "execpos_reconciler_unreadable_total": Definition("counter", "records passed over because they could not be read", ("topic",)),
    "execpos_recorder_consumers": Definition("gauge", "Kafka consumers that ClickHouse runs for a table", ("table",)),
    "execpos_recorder_lag_records": Definition("gauge", "committed records that ClickHouse has not read yet; end marks count", ("table",)),
    "execpos_recorder_open_errors": Definition("gauge", "records that ClickHouse could not read, with their bytes kept", ("table",)),
    "execpos_recorder_reapplied_total": Definition("counter", "times that readers had vanished and were made again"),
    "execpos_recorder_rows": Definition("gauge", "rows of a table, duplicates before their merge included", ("table",)),
    "execpos_recorder_up": Definition("gauge", "1 while ClickHouse, Kafka and registry answer the recorder"),
}

_made: dict[str, Counter | Gauge | Histogram] = {}


def _make(name: MetricName) -> Counter | Gauge | Histogram:
    if name not in _made:
        kind, meaning, labels = DEFINITIONS[name]
        if kind == "counter":
            _made[name] = Counter(name, meaning, labels)
        elif kind == "gauge":
            _made[name] = Gauge(name, meaning, labels)
        else:
            _made[name] = Histogram(name, meaning, labels, buckets=LATENCY_BUCKETS_S)
    return _made[name]


def counter(name: MetricName) -> Counter:
    """Return the counter `name`; the same object at every call."""
    made = _make(name)
    assert isinstance(made, Counter), name  # noqa: S101 (a wrong kind is a mistake in this file)
    return made


def gauge(name: MetricName) -> Gauge:
    """Return the gauge `name`; the same object at every call."""
    made = _make(name)
    assert isinstance(made, Gauge), name  # noqa: S101 (a wrong kind is a mistake in this file)
    return made


def histogram(name: MetricName) -> Histogram:
    """Return the histogram `name`; the same object at every call."""
    made = _make(name)
    assert isinstance(made, Histogram), name  # noqa: S101 (a wrong kind is a mistake in this file)
    return made


def serve(host: str, port: int) -> int:
    """Serve the metrics page on a thread of its own and return the port (a free one for 0)."""
    server, _ = prometheus_client.start_http_server(port, addr=host)
    return int(server.server_port)
