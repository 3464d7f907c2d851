-- exec.correction-outcomes: what became of corrections. One row a record.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.correction_outcomes (
    correction_id String,
    account LowCardinality(String),
    kind LowCardinality(String),
    outcome LowCardinality(String),
    reason LowCardinality(String),
    detail String,
    position_key String,
    net_version_found Int64,
    net_version_after Int64,
    seqs Array(Int64),
    entries Array(Tuple(
        symbol String,
        book String,
        strategy_id String,
        seq Int64,
        kind String,
        fill_id String,
        quantity Int64,
        amount Decimal(18, 6),
        fee Decimal(18, 6),
        tax Decimal(18, 6),
        trading_date Date32)),
    session_id LowCardinality(String),
    trading_date Date32,
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    ledger_epoch Int64,
    ts DateTime64(6, 'UTC'),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset);

CREATE TABLE {{ingest}}.correction_outcomes_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.correction_outcomes_good TO {{database}}.correction_outcomes AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.correction_outcomes_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.correction_outcomes_bad TO {{database}}.ingest_errors AS
SELECT 'correction_outcomes' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.correction_outcomes_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.correction_outcomes_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.correction_outcomes_pump TO {{ingest}}.correction_outcomes_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.correction_outcomes_source
COMMENT '{{fingerprint}}';
