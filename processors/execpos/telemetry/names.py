"""Closed lists of every log event and metric name; a misspelt one fails the type check.

Names of events say what happened, in the past tense. Metrics follow Prometheus' naming rules: base units, unit last, `_total` on counters.
"""

from typing import Literal

Component = Literal["bridge", "cli", "kafka", "ledger", "local", "recorder"]

LogEvent = Literal[
    "component_started",
    "component_stopped",
    "row_rebased",
    "assignment_changed",
    "committed_offsets_awaited",
    "consumer_failed",
    "loop_started",
    "loop_stopped",
    "producer_replaced",
    "restore_finished",
    "restore_interrupted",
    "restore_progressed",
    "restore_started",
    "transaction_aborted",
    "transaction_in_doubt",
    "unknown_fields_found",
    "client_reported",
    "warehouse_applied",
    "warehouse_awaited",
    "warehouse_errors_open",
    "warehouse_readers_vanished",
    "warehouse_unreachable",
]

MetricName = Literal[
    "execpos_build_info",
    "execpos_ledger_dead_letters_total",
    "execpos_ledger_records_total",
    "execpos_assigned_partitions",
    "execpos_input_records_total",
    "execpos_rebalances_total",
    "execpos_restore_seconds",
    "execpos_transaction_seconds",
    "execpos_transactions_total",
    "execpos_bridge_acknowledged_total",
    "execpos_bridge_callbacks_total",
    "execpos_bridge_waiting_records",
    "execpos_recorder_consumers",
    "execpos_recorder_lag_records",
    "execpos_recorder_open_errors",
    "execpos_recorder_reapplied_total",
    "execpos_recorder_rows",
    "execpos_recorder_up",
]
