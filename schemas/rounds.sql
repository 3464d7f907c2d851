-- exec.rounds: comparisons with the broker. One row a record.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.rounds (
    round_id String,
    account LowCardinality(String),
    triggers Array(String),
    verdict LowCardinality(String),
    began_ts DateTime64(6, 'UTC'),
    ended_ts DateTime64(6, 'UTC'),
    reads Int32,
    keys_compared Int32,
    equal Int32,
    moved Int32,
    discrepancies Array(String),
    corrections Array(String),
    broker_calls Int32,
    command_ids Array(String),
    state LowCardinality(String),
    detail String,
    instance LowCardinality(String),
    ts DateTime64(6, 'UTC'),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset);

CREATE TABLE {{ingest}}.rounds_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.rounds_good TO {{database}}.rounds AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.rounds_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.rounds_bad TO {{database}}.ingest_errors AS
SELECT 'rounds' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.rounds_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.rounds_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.rounds_pump TO {{ingest}}.rounds_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.rounds_source
COMMENT '{{fingerprint}}';
