-- exec.deltas: the book's journal. One row a record; a position is the plain sum of its deltas.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.deltas (
    position_key String,
    account LowCardinality(String),
    symbol LowCardinality(String),
    book LowCardinality(String),
    strategy_id LowCardinality(String),
    fill_id String,
    fill_revision Int64,
    cause LowCardinality(String),
    d_quantity Int64,
    d_open_cost Decimal(18, 6),
    d_realized Decimal(18, 6),
    d_fees Decimal(18, 6),
    d_taxes Decimal(18, 6),
    d_basis Decimal(18, 6),
    version_before Int64,
    version_after Int64,
    quantity_after Int64,
    open_cost_after Decimal(18, 6),
    quality_after LowCardinality(String),
    net_d_quantity Int64,
    net_d_open_cost Decimal(18, 6),
    net_d_realized Decimal(18, 6),
    net_d_fees Decimal(18, 6),
    net_d_taxes Decimal(18, 6),
    net_d_basis Decimal(18, 6),
    net_version_before Int64,
    net_version_after Int64,
    net_quantity_after Int64,
    net_open_cost_after Decimal(18, 6),
    net_quality_after LowCardinality(String),
    trading_date Date32,
    exchange_ts DateTime64(6, 'UTC'),
    ingest_ts DateTime64(6, 'UTC'),
    ledger_epoch Int64,
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset);

CREATE TABLE {{ingest}}.deltas_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.deltas_good TO {{database}}.deltas AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.deltas_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.deltas_bad TO {{database}}.ingest_errors AS
SELECT 'deltas' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.deltas_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.deltas_source ({{columns}})
ENGINE = Kafka
SETTINGS
    kafka_broker_list = '{{brokers}}',
    kafka_topic_list = '{{topic}}',
    kafka_group_name = '{{group}}',
    kafka_format = 'AvroConfluent',
    format_avro_schema_registry_url = '{{registry}}',
    input_format_avro_allow_missing_fields = 1, -- a column that an older schema lacks takes its default
    kafka_handle_error_mode = 'stream', -- a record that cannot be read goes to ingest_errors with its bytes, and the rest goes on
    kafka_num_consumers = 1,
    kafka_thread_per_consumer = 1,
    kafka_commit_every_batch = 0, -- 1 would commit before the rows are written
    kafka_flush_interval_ms = 250,
    kafka_poll_timeout_ms = 100,
    kafka_consumer_reschedule_ms = 50;

CREATE MATERIALIZED VIEW {{ingest}}.deltas_pump TO {{ingest}}.deltas_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.deltas_source
COMMENT '{{fingerprint}}';

-- The book by the exchange's clock: SELECT * FROM positions_at(at = '2026-05-21 13:30:00').
CREATE OR REPLACE VIEW {{database}}.positions_at AS
SELECT account, symbol, book, strategy_id,
    sum(d_quantity) AS quantity, sum(d_open_cost) AS open_cost, sum(d_realized) AS realized_pnl,
    sum(d_fees) AS fees, sum(d_taxes) AS taxes, sum(d_basis) AS basis_adjustment, max(exchange_ts) AS last_exchange_ts, _topic
FROM (
    SELECT account, symbol, book, strategy_id, d_quantity, d_open_cost, d_realized, d_fees, d_taxes, d_basis, exchange_ts, _topic
    FROM {{database}}.deltas FINAL
    UNION ALL
    SELECT account, symbol, book, '*', net_d_quantity, net_d_open_cost, net_d_realized, net_d_fees, net_d_taxes, net_d_basis, exchange_ts, _topic
    FROM {{database}}.deltas FINAL
)
WHERE exchange_ts <= {at:DateTime64(6, 'UTC')}
GROUP BY account, symbol, book, strategy_id, _topic;

-- What each trading date added, as the journal booked it: a later correction counts on its own date. NET is strategy_id '*'.
CREATE OR REPLACE VIEW {{database}}.pnl_daily AS
SELECT trading_date, account, symbol, book, strategy_id,
    sum(d_realized) AS realized, sum(d_fees) AS fees, sum(d_taxes) AS taxes, sum(d_realized) - sum(d_fees) - sum(d_taxes) AS realized_net,
    sum(d_basis) AS basis_adjustment, count() AS deltas, _topic
FROM (
    SELECT trading_date, account, symbol, book, strategy_id, d_realized, d_fees, d_taxes, d_basis, _topic
    FROM {{database}}.deltas FINAL
    UNION ALL
    SELECT trading_date, account, symbol, book, '*', net_d_realized, net_d_fees, net_d_taxes, net_d_basis, _topic
    FROM {{database}}.deltas FINAL
)
GROUP BY trading_date, account, symbol, book, strategy_id, _topic;
