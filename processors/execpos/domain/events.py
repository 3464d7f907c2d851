"""The records that execpos writes to topics, as frozen structures.

Field by field they equal `avro/*.avsc` (a test compares them), where each field has its meaning. Common units: money and prices are
integers of 10⁻⁶ of the currency, quantities are shares or contracts and never lots, times are microseconds since the epoch in UTC, dates
are days since the epoch. A record never changes after it was made; a change is a new record.

`gc=False` stands on those that are kept in great numbers: they hold nothing that could hold them, and the collector's walks over a window
of fills would cost as much as a fifth of the ledger's work.
"""

from typing import Literal

import msgspec

Side = Literal["BUY", "SELL"]
Market = Literal["S", "F"]


class RawExecEvent(msgspec.Struct, frozen=True, gc=False):
    """One report as the bridge took it, before any interpretation. Topic exec.raw, key account."""

    env: str
    account: str
    kind: str
    payload: bytes
    broker_event_id: str
    bridge_id: str
    bridge_epoch: int
    bridge_seq: int
    ingest_ts: int
    ingest_monotonic_ns: int
    marker_id: str
    sdk_version: str


class Intent(msgspec.Struct, frozen=True, gc=False):
    """Who placed an order. Topic exec.intents, key account."""

    intent_id: str
    account: str
    strategy_id: str
    session_id: str
    order_id: str
    seqno: str
    tags: dict[str, str]
    created_ts: int


class OrderEvent(msgspec.Struct, frozen=True, gc=False):
    """What an order is after one accepted report. Topic exec.orders, key account."""

    event_id: str
    content_key: str
    order_key: str
    account: str
    revision: int
    cause: str
    op_type: str
    op_code: str
    op_msg: str
    status: str
    reported: str
    symbol: str
    market: Market
    security_type: str
    side: Side
    order_type: str
    price_type: str
    order_cond: str
    order_lot: str
    oc_type: str
    price: int
    quantity: int
    cum_filled: int
    cancelled: int
    leaves: int
    overfilled: bool
    order_id: str
    seqno: str
    ordno: str
    custom_field: str
    strategy_id: str
    intent_id: str
    trading_date: int
    session_id: str
    exchange_ts: int
    ingest_ts: int
    normalized_ts: int
    source_topic: str
    source_partition: int
    source_offset: int
    bridge_id: str
    bridge_epoch: int
    bridge_seq: int


class FillEvent(msgspec.Struct, frozen=True, gc=False):
    """What a fill is now: revision r replaces r-1 of the same fill_id. Topic exec.fills, key account.

    The first three fields stand first so that a restore slices them without decoding.
    """

    fill_id: str
    broker_event_id: str
    digest: bytes
    revision: int
    fill_seq: int
    account: str
    order_key: str
    strategy_id: str
    intent_id: str
    symbol: str
    market: Market
    security_type: str
    book: str
    order_cond: str
    order_lot: str
    side: Side
    quantity: int
    price: int
    multiplier: int
    fee_est: int
    tax_est: int
    currency: str
    session_id: str
    trading_date: int
    exchange_ts: int
    ingest_ts: int
    normalized_ts: int
    cause: str
    voided: bool
    quality: str
    fee_quality: str
    entry_kind: str
    read_began_ts: int
    order_id: str
    seqno: str
    ordno: str
    exchange_seq: str
    custom_field: str
    order_cum_filled: int
    order_overfilled: bool
    source_topic: str
    source_partition: int
    source_offset: int
    bridge_id: str
    bridge_epoch: int
    bridge_seq: int


class PositionDelta(msgspec.Struct, frozen=True, gc=False):
    """One immutable line of the book's journal: what one event did to one strategy row and to NET. Topic exec.deltas, key account.

    A row is the plain sum of its deltas.
    """

    position_key: str
    account: str
    symbol: str
    book: str
    strategy_id: str
    fill_id: str
    fill_revision: int
    cause: str
    d_quantity: int
    d_open_cost: int
    d_realized: int
    d_fees: int
    d_taxes: int
    d_basis: int
    version_before: int
    version_after: int
    quantity_after: int
    open_cost_after: int
    quality_after: str
    net_d_quantity: int
    net_d_open_cost: int
    net_d_realized: int
    net_d_fees: int
    net_d_taxes: int
    net_d_basis: int
    net_version_before: int
    net_version_after: int
    net_quantity_after: int
    net_open_cost_after: int
    net_quality_after: str
    trading_date: int
    exchange_ts: int
    ingest_ts: int
    ledger_epoch: int
    source_topic: str
    source_partition: int
    source_offset: int


class Lot(msgspec.Struct, frozen=True, gc=False):
    """An open lot, oldest first."""

    quantity: int
    cost: int
    fill_id: str


class InputPosition(msgspec.Struct, frozen=True, gc=False):
    """How far one input topic has been applied."""

    topic: str
    topic_id: str
    offset: int


class PositionBase(msgspec.Struct, frozen=True, gc=False):
    """The row before the fills that can still be refolded."""

    through_seq: int
    quantity: int
    open_cost: int
    realized: int
    realized_day: int
    trading_date: int
    fees: int
    taxes: int
    basis: int
    day_buy_quantity: int
    day_buy_amount: int
    day_sell_quantity: int
    day_sell_amount: int
    day_open_cost: int
    lots: tuple[Lot, ...]
    lots_merged: bool


class PositionState(msgspec.Struct, frozen=True, gc=False):
    """A position now, of one strategy or NET (strategy_id *). Topic exec.positions, compacted, key position."""

    position_key: str
    account: str
    symbol: str
    book: str
    strategy_id: str
    security_type: str
    currency: str
    multiplier: int
    quantity: int
    open_cost: int
    average_price: int
    realized_pnl: int
    realized_pnl_day: int
    trading_date: int
    fees: int
    taxes: int
    basis_adjustment: int
    day_buy_quantity: int
    day_buy_amount: int
    day_sell_quantity: int
    day_sell_amount: int
    day_open_cost: int
    cost_method: str
    lots: tuple[Lot, ...]
    lots_merged: bool
    quality: str
    fee_quality: str
    version: int
    previous_version: int
    last_fill_id: str
    last_session_id: str
    last_fill_seq: int
    last_exchange_ts: int
    last_ingest_ts: int
    inputs: tuple[InputPosition, ...]
    base: tuple[PositionBase, ...]
    ledger_epoch: int


class Correction(msgspec.Struct, frozen=True):
    """What to change in the book beside fills, or a request to the ledger. Topic exec.corrections, key account."""

    correction_id: str
    account: str
    kind: str
    symbol: str
    book: str
    strategy_id: str
    expected_net_version: int
    quantity: int
    price: int
    amount: int
    fees: int
    taxes: int
    to_symbol: str
    to_book: str
    to_strategy_id: str
    numerator: int
    denominator: int
    fill_id: str
    quality: str
    read_began_ts: int
    read_ended_ts: int
    marker_before: str
    marker_after: str
    source_topic: str
    source_partition: int
    source_offset: int
    reason: str
    evidence: dict[str, str]
    requested_by: str
    approved_by: str
    ts: int


class CorrectionEntry(msgspec.Struct, frozen=True, gc=False):
    """What a correction did to one row in one place of the account's log."""

    symbol: str
    book: str
    strategy_id: str
    seq: int
    kind: str
    fill_id: str
    quantity: int
    amount: int
    fee: int
    tax: int
    trading_date: int


class CorrectionOutcome(msgspec.Struct, frozen=True):
    """What became of a correction. Topic exec.correction-outcomes, key account."""

    correction_id: str
    account: str
    kind: str
    outcome: str
    reason: str
    detail: str
    position_key: str
    net_version_found: int
    net_version_after: int
    seqs: tuple[int, ...]
    entries: tuple[CorrectionEntry, ...]
    session_id: str
    trading_date: int
    source_topic: str
    source_partition: int
    source_offset: int
    ledger_epoch: int
    ts: int


class OpenOrder(msgspec.Struct, frozen=True):
    """An order that may still be filled, or whose state is not known."""

    order_key: str
    order_id: str
    seqno: str
    session_id: str
    strategy_id: str
    intent_id: str
    symbol: str
    side: str
    order_type: str
    price_type: str
    order_cond: str
    oc_type: str
    price: int
    quantity: int
    cum_filled: int
    cancelled: int
    leaves: int
    status: str


class Valuation(msgspec.Struct, frozen=True):
    """What a row is worth at the last mark of its symbol."""

    position_key: str
    mark_price: int
    mark_ts: int
    unrealized: int


class PositionSnapshot(msgspec.Struct, frozen=True):
    """The whole book of an account at one point of its input, in one or several parts. Topic exec.snapshots, key account.

    Those of a session's close stand in exec.checkpoints as well.
    """

    snapshot_id: str
    account: str
    reason: str
    marker_id: str
    request_id: str
    session_id: str
    trading_date: int
    as_of_ts: int
    part: int
    parts: int
    rows: int
    digest: str
    positions: tuple[PositionState, ...]
    orders: tuple[OpenOrder, ...]
    valuations: tuple[Valuation, ...]
    inputs: tuple[InputPosition, ...]
    ledger_epoch: int
    source_topic: str
    source_partition: int
    source_offset: int
    ts: int


class BridgeProgress(msgspec.Struct, frozen=True, gc=False):
    """What the ledger has seen of one account's bridge."""

    account: str
    bridge_id: str
    bridge_epoch: int
    bridge_seq: int
    beat_ts: int


class AccountProgress(msgspec.Struct, frozen=True):
    """What the ledger has done for one account and must not do again."""

    account: str
    closed_session: str
    markers: tuple[str, ...]


class Progress(msgspec.Struct, frozen=True):
    """How far the ledger is on one partition. Topic exec.progress, compacted, key partition number."""

    partition: int
    inputs: tuple[InputPosition, ...]
    bridges: tuple[BridgeProgress, ...]
    accounts: tuple[AccountProgress, ...]
    ledger_epoch: int
    instance: str
    ts: int


class DeadLetter(msgspec.Struct, frozen=True):
    """A record that did not become state, with its bytes. Topic exec.dead-letters, key source topic-partition."""

    source_topic: str
    source_partition: int
    source_offset: int
    source_topic_id: str
    disposition: str
    reason: str
    detail: str
    account: str
    position_key: str
    record_key: bytes
    record_value: bytes
    record_timestamp: int
    ledger_epoch: int
    ts: int


class BridgeHeartbeat(msgspec.Struct, frozen=True):
    """How one bridge is, and for which account. Topic exec.heartbeats, key account; also the claim of a bridge on its name."""

    account: str
    bridge_id: str
    bridge_epoch: int
    incarnation: int
    claim_id: str
    kind: str
    session: str
    callbacks: int
    last_callback_ts: int
    captured: int
    journaled_seq: int
    published_seq: int
    backlog_records: int
    backlog_bytes: int
    journal_error: str
    publish_error: str
    cache_health: str
    cache_reasons: tuple[str, ...]
    gaps: int
    open_gaps: int
    last_catchup_ts: int
    remaining_accounting: int
    remaining_orders: int
    remaining_logins: int
    suspended_until_ts: int
    sdk_version: str
    ts: int


class BrokerRequest(msgspec.Struct, frozen=True):
    """What to read from the broker. Topic exec.broker-requests, key account."""

    request_id: str
    account: str
    what: tuple[str, ...]
    reads: int
    begin_date: int
    end_date: int
    requested_by: str
    reason: str
    expires_ts: int
    ts: int


class BrokerPositionRow(msgspec.Struct, frozen=True):
    """One row of the broker's position list."""

    symbol: str
    order_cond: str
    quantity: int
    price: int
    has_quantity_before: bool
    quantity_before: int
    last_price: int
    pnl: int


class BrokerLotRow(msgspec.Struct, frozen=True):
    """One lot behind a row of the broker's position list."""

    symbol: str
    order_cond: str
    quantity: int
    cost: int
    opened: str
    ordno: str
    fee: int


class BrokerOrderRow(msgspec.Struct, frozen=True):
    """One order as the broker's order list has it."""

    order_id: str
    seqno: str
    ordno: str
    symbol: str
    action: str
    status: str
    order_cond: str
    order_lot: str
    price: int
    quantity: int
    filled: int
    cancelled: int
    deals: int


class BrokerProfitRow(msgspec.Struct, frozen=True):
    """One row of the broker's realized profit."""

    symbol: str
    order_cond: str
    day: str
    quantity: int
    pnl: int
    has_charges: bool
    fee: int
    tax: int


class BrokerSnapshot(msgspec.Struct, frozen=True):
    """One answer of the broker, between two markers. Topic exec.broker-snapshots, key account."""

    request_id: str
    account: str
    what: str
    read: int
    reads: int
    part: int
    parts: int
    outcome: str
    detail: str
    marker_before: str
    marker_after: str
    began_ts: int
    ended_ts: int
    records: int
    positions: tuple[BrokerPositionRow, ...]
    lots: tuple[BrokerLotRow, ...]
    orders: tuple[BrokerOrderRow, ...]
    profits: tuple[BrokerProfitRow, ...]
    bridge_id: str
    bridge_epoch: int
    sdk_version: str
    ts: int


class TradingControl(msgspec.Struct, frozen=True):
    """Whether orders may be placed, as one source says it for one scope. Topic exec.control, compacted, key scope|source."""

    scope: str
    source: str
    state: str
    control_id: str
    reason: str
    by: str
    latched: bool
    releases: str
    evidence: dict[str, str]
    ts: int


class Mark(msgspec.Struct, frozen=True):
    """Last price of one symbol. Topic exec.marks, compacted, key env|market|symbol."""

    env: str
    market: Market
    symbol: str
    price: int
    exchange_ts: int
    ingest_ts: int
    bridge_id: str


class DiscrepancyStep(msgspec.Struct, frozen=True):
    """One change of a discrepancy."""

    ts: int
    status: str
    round_id: str
    by: str
    reason: str


class Discrepancy(msgspec.Struct, frozen=True):
    """One difference from the broker, and its history. Topic exec.discrepancies, compacted, key discrepancy_id."""

    discrepancy_id: str
    account: str
    kind: str
    symbol: str
    book: str
    security_type: str
    status: str
    ledger_quantity: int
    broker_quantity: int
    ledger_average: int
    broker_average: int
    notional: int
    net_version: int
    cause: str
    proposed_kind: str
    proposed_quantity: int
    proposed_price: int
    proposed_amount: int
    correction_ids: tuple[str, ...]
    approvals: tuple[str, ...]
    control_id: str
    rounds: int
    first_round: str
    last_round: str
    trading_date: int
    evidence: dict[str, str]
    history: tuple[DiscrepancyStep, ...]
    opened_ts: int
    updated_ts: int
    expires_ts: int
    ts: int


class Command(msgspec.Struct, frozen=True):
    """What an operator wants of the reconciler, and what an operator did. Topic exec.commands, key account."""

    command_id: str
    account: str
    kind: str
    symbol: str
    discrepancy_id: str
    corrections: tuple[Correction, ...]
    control_id: str
    reason: str
    by: str
    evidence: dict[str, str]
    expires_ts: int
    ts: int


class ReconciliationRound(msgspec.Struct, frozen=True):
    """One comparison of an account with the broker, ended. Topic exec.rounds, key account."""

    round_id: str
    account: str
    triggers: tuple[str, ...]
    verdict: str
    began_ts: int
    ended_ts: int
    reads: int
    keys_compared: int
    equal: int
    moved: int
    discrepancies: tuple[str, ...]
    corrections: tuple[str, ...]
    broker_calls: int
    command_ids: tuple[str, ...]
    state: str
    detail: str
    instance: str
    ts: int
