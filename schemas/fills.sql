-- exec.fills: what a fill is now. One row a record; the highest revision of a fill_id is the one that holds.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.fills (
    fill_id String,
    broker_event_id String,
    digest String,
    revision Int64,
    fill_seq Int64,
    account LowCardinality(String),
    order_key String,
    strategy_id LowCardinality(String),
    intent_id String,
    symbol LowCardinality(String),
    market Enum8('S' = 1, 'F' = 2),
    security_type LowCardinality(String),
    book LowCardinality(String),
    order_cond LowCardinality(String),
    order_lot LowCardinality(String),
    side Enum8('BUY' = 1, 'SELL' = 2),
    quantity Int64,
    price Decimal(18, 6),
    multiplier Int64,
    fee_est Decimal(18, 6),
    tax_est Decimal(18, 6),
    currency LowCardinality(String),
    session_id LowCardinality(String),
    trading_date Date32,
    exchange_ts DateTime64(6, 'UTC'),
    ingest_ts DateTime64(6, 'UTC'),
    normalized_ts DateTime64(6, 'UTC'),
    cause LowCardinality(String),
    voided Bool,
    quality LowCardinality(String),
    fee_quality LowCardinality(String),
    entry_kind LowCardinality(String),
    read_began_ts DateTime64(6, 'UTC'),
    order_id String,
    seqno String,
    ordno String,
    exchange_seq String,
    custom_field String,
    order_cum_filled Int64,
    order_overfilled Bool,
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    bridge_id LowCardinality(String),
    bridge_epoch Int64,
    bridge_seq Int64,
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset);

CREATE TABLE {{ingest}}.fills_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.fills_good TO {{database}}.fills AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.fills_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.fills_bad TO {{database}}.ingest_errors AS
SELECT 'fills' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.fills_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.fills_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.fills_pump TO {{ingest}}.fills_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.fills_source
COMMENT '{{fingerprint}}';

CREATE OR REPLACE VIEW {{database}}.fills_latest AS
SELECT *
FROM {{database}}.fills FINAL
ORDER BY revision DESC, _offset DESC
LIMIT 1 BY _topic, fill_id;
