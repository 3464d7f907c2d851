"""Closed lists of the words in records, for the type checker and for checks at run time; `contracts/vocabularies.yaml` is their source."""

from typing import Literal, get_args

Env = Literal["production", "simulation", "replay"]
Kind = Literal[
    "SORDER",
    "SDEAL",
    "FORDER",
    "FDEAL",
    "CATCHUP_SORDER",
    "CATCHUP_SDEAL",
    "CATCHUP_FORDER",
    "CATCHUP_FDEAL",
    "MARKER",
    "BEAT",
    "GAP",
    "CONNECTION",
]
Classification = Literal["order", "fill", "duplicate", "conflict", "parked", "dead_letter", "control"]
Disposition = Literal["dead_letter", "parked", "conflict"]
OrderCause = Literal["CALLBACK", "CATCHUP", "REATTRIBUTED", "REBUILD"]
FillCause = Literal["CALLBACK", "CATCHUP", "OPENING", "ADJUST", "SETTLEMENT", "REATTRIBUTED", "VOID", "FEES", "REBUILD"]
Cause = Literal[
    "CALLBACK",
    "CATCHUP",
    "OPENING",
    "ADJUST",
    "SETTLEMENT",
    "REATTRIBUTED",
    "VOID",
    "COST_BASIS",
    "CORPORATE_ACTION",
    "FEES",
    "TRANSFER",
    "QUALITY",
    "REBUILD",
]
Status = Literal["UNKNOWN", "SUBMITTED", "PART_FILLED", "FILLED", "CANCELLED", "REJECTED"]
Reported = Literal["UNKNOWN", "OPEN", "CANCELLED", "REJECTED"]
OpType = Literal["New", "Cancel", "UpdatePrice", "UpdateQty", "Reject"]
CorrectionKind = Literal[
    "OPENING",
    "ADJUST",
    "SETTLEMENT",
    "COST_BASIS",
    "CORPORATE_ACTION",
    "FEES",
    "TRANSFER",
    "VOID",
    "QUALITY",
    "SNAPSHOT",
    "REPLAY",
    "REBUILD",
]
CorrectionResult = Literal["APPLIED", "REJECTED"]
CorrectionReason = Literal[
    "stale_version",
    "bad_correction",
    "not_opening",
    "not_held",
    "price_needed",
    "unknown_fill",
    "unknown_instrument",
    "settled",
    "outside_window",
    "target_held",
    "no_effect",
    "not_found",
    "dead_letter",
    "rebuild_failed",
    "unsupported",
]
EntryKind = Literal["", "OPENING", "AT_COST", "TRANSFER", "COST_BASIS", "FEES"]
Quality = Literal["CONFIRMED", "ESTIMATED", "CONFLICT", "INCOMPLETE", "BLOCKED"]
FeeQuality = Literal["ESTIMATED", "CONFIRMED"]
SnapshotReason = Literal["PERIODIC", "REQUEST", "MARKER", "STARTUP", "SESSION_CLOSE"]
BookName = Literal["cash", "margin", "short", "sbl", "emerging", "derivative"]
SecurityType = Literal["STK", "ETF", "WRT", "FUT", "OPT"]
CostMethod = Literal["average", "fifo", "day_pair_average"]
HeartbeatKind = Literal["CLAIM", "BEAT", "CLOSED"]
Session = Literal["new", "up", "recovering", "suspended", "down", "closed"]
CacheHealth = Literal["Unknown", "Healthy", "Degraded"]
BrokerRead = Literal["POSITIONS", "LOTS", "ORDERS", "PROFIT_LOSS", "CATCHUP"]
BrokerOutcome = Literal["OK", "EXPIRED", "SUSPENDED", "BUDGET", "SESSION", "TIMEOUT", "REFUSED", "MALFORMED", "UNSUPPORTED", "FAILED"]
ControlState = Literal["ACTIVE", "REDUCE_ONLY", "RECOVERING", "HALTED"]
ControlSource = Literal["reconciler", "auditor", "operator"]
DiscrepancyKind = Literal["QUANTITY", "COST", "MISSING_ROW", "UNKNOWN_ROW", "MOVING", "UNREADABLE", "ORDER", "PROFIT", "MARKED"]
DiscrepancyStatus = Literal["OPEN", "EXPLAINED", "CORRECTED", "APPROVED", "REJECTED", "EXPIRED"]
DiscrepancyCause = Literal["NONE", "COVERAGE_GAP", "BROKER_LAG", "EXPIRED_CONTRACT", "OPENING", "UNIT", "UNREADABLE", "MOVING"]
CommandKind = Literal["RECONCILE", "APPROVE", "REJECT", "CORRECT", "HALT", "RESUME", "REBUILD"]
RoundVerdict = Literal["EQUAL", "DIFFERENT", "SETTLING", "MOVING", "UNREADABLE", "REFUSED"]
RoundTrigger = Literal[
    "START",
    "RECONNECT",
    "HEARTBEAT_GAP",
    "EVENT_GAP",
    "CACHE",
    "MARKED",
    "OVERFILL",
    "SCHEDULE",
    "SESSION_CLOSE",
    "COMMAND",
    "SETTLE",
    "CONFIRM",
    "EPOCH",
]
Reason = Literal[
    "bad_framing",
    "unknown_schema",
    "bad_avro",
    "oversized",
    "wrong_partition",
    "wrong_account",
    "unknown_kind",
    "bad_payload",
    "bad_number",
    "bad_intent",
    "unknown_instrument",
    "unknown_order_lot",
    "unknown_order_cond",
    "combo_leg",
    "fill_conflict",
    "receipt_conflict",
    "outside_window",
    "from_future",
    "key_blocked",
    "settled",
    "bad_correction",
]

ORDER_KINDS = frozenset({"SORDER", "FORDER"})
"""Kinds of callbacks about an order."""

DEAL_KINDS = frozenset({"SDEAL", "FDEAL"})
"""Kinds of callbacks about a match."""

CALLBACK_KINDS = ORDER_KINDS | DEAL_KINDS
"""Kinds of a broker's reports."""

CORRECTION_KINDS = frozenset(get_args(CorrectionKind))
"""Kinds of corrections, requests included."""

CONTROL_KINDS = frozenset({"MARKER", "BEAT", "GAP", "CONNECTION"})
"""Kinds that the bridge itself puts between the reports."""

CATCHUP = "CATCHUP_"
"""Stands before the kind of a report that was asked for."""

WORDS: dict[str, tuple[str, ...]] = {
    "env": get_args(Env),
    "market": ("S", "F"),
    "side": ("BUY", "SELL"),
    "kind": get_args(Kind),
    "classification": get_args(Classification),
    "disposition": get_args(Disposition),
    "order_cause": get_args(OrderCause),
    "fill_cause": get_args(FillCause),
    "cause": get_args(Cause),
    "status": get_args(Status),
    "reported": get_args(Reported),
    "op_type": get_args(OpType),
    "correction_kind": get_args(CorrectionKind),
    "correction_outcome": get_args(CorrectionResult),
    "correction_reason": get_args(CorrectionReason),
    "entry_kind": get_args(EntryKind),
    "quality": get_args(Quality),
    "fee_quality": get_args(FeeQuality),
    "snapshot_reason": get_args(SnapshotReason),
    "book": get_args(BookName),
    "security_type": get_args(SecurityType),
    "cost_method": get_args(CostMethod),
    "heartbeat_kind": get_args(HeartbeatKind),
    "session": get_args(Session),
    "cache_health": get_args(CacheHealth),
    "broker_read": get_args(BrokerRead),
    "outcome": get_args(BrokerOutcome),
    "control_state": get_args(ControlState),
    "control_source": get_args(ControlSource),
    "discrepancy_kind": get_args(DiscrepancyKind),
    "discrepancy_status": get_args(DiscrepancyStatus),
    "discrepancy_cause": get_args(DiscrepancyCause),
    "command_kind": get_args(CommandKind),
    "round_verdict": get_args(RoundVerdict),
    "round_trigger": get_args(RoundTrigger),
    "reasons": get_args(Reason),
}
"""Name of a list, as in the contract -> its words, in the contract's order (qualities from best to worst)."""

REASONS = frozenset(WORDS["reasons"])
"""Every reason that a dead letter may give."""
