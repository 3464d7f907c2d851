-- exec.discrepancies: differences from the broker, as they are now. The newest record of an id is kept.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.discrepancies (
    discrepancy_id String,
    account LowCardinality(String),
    kind LowCardinality(String),
    symbol LowCardinality(String),
    book LowCardinality(String),
    security_type LowCardinality(String),
    status LowCardinality(String),
    ledger_quantity Int64,
    broker_quantity Int64,
    ledger_average Decimal(18, 6),
    broker_average Decimal(18, 6),
    notional Decimal(18, 6),
    net_version Int64,
    cause LowCardinality(String),
    proposed_kind LowCardinality(String),
    proposed_quantity Int64,
    proposed_price Decimal(18, 6),
    proposed_amount Decimal(18, 6),
    correction_ids Array(String),
    approvals Array(String),
    control_id String,
    rounds Int32,
    first_round String,
    last_round String,
    trading_date Date32,
    evidence Map(String, String),
    history Array(Tuple(
        ts DateTime64(6, 'UTC'),
        status String,
        round_id String,
        by String,
        reason String)),
    opened_ts DateTime64(6, 'UTC'),
    updated_ts DateTime64(6, 'UTC'),
    expires_ts DateTime64(6, 'UTC'),
    ts DateTime64(6, 'UTC'),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree(_offset)
ORDER BY (_topic, discrepancy_id);

CREATE TABLE {{ingest}}.discrepancies_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.discrepancies_good TO {{database}}.discrepancies AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.discrepancies_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.discrepancies_bad TO {{database}}.ingest_errors AS
SELECT 'discrepancies' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.discrepancies_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.discrepancies_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.discrepancies_pump TO {{ingest}}.discrepancies_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.discrepancies_source
COMMENT '{{fingerprint}}';

CREATE OR REPLACE VIEW {{database}}.discrepancies_now AS
SELECT * EXCEPT (_partition, _offset)
FROM {{database}}.discrepancies FINAL;
