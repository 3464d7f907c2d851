-- exec.corrections: what was to be changed in the book, and requests to the ledger. One row a record; see corrections_done.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.corrections (
    correction_id String,
    account LowCardinality(String),
    kind LowCardinality(String),
    symbol LowCardinality(String),
    book LowCardinality(String),
    strategy_id LowCardinality(String),
    expected_net_version Int64,
    quantity Int64,
    price Decimal(18, 6),
    amount Decimal(18, 6),
    fees Decimal(18, 6),
    taxes Decimal(18, 6),
    to_symbol LowCardinality(String),
    to_book LowCardinality(String),
    to_strategy_id LowCardinality(String),
    numerator Int64,
    denominator Int64,
    fill_id String,
    quality LowCardinality(String),
    read_began_ts DateTime64(6, 'UTC'),
    read_ended_ts DateTime64(6, 'UTC'),
    marker_before String,
    marker_after String,
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    reason LowCardinality(String),
    evidence Map(String, String),
    requested_by LowCardinality(String),
    approved_by LowCardinality(String),
    ts DateTime64(6, 'UTC'),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset);

CREATE TABLE {{ingest}}.corrections_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.corrections_good TO {{database}}.corrections AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.corrections_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.corrections_bad TO {{database}}.ingest_errors AS
SELECT 'corrections' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.corrections_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.corrections_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.corrections_pump TO {{ingest}}.corrections_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.corrections_source
COMMENT '{{fingerprint}}';
