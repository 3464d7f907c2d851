-- exec.dead-letters: records that did not become state, with their bytes. One row a record.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.dead_letters (
    source_topic LowCardinality(String),
    source_partition Int32,
    source_offset Int64,
    source_topic_id LowCardinality(String),
    disposition LowCardinality(String),
    reason LowCardinality(String),
    detail String,
    account LowCardinality(String),
    position_key String,
    record_key String,
    record_value String,
    record_timestamp DateTime64(6, 'UTC'),
    ledger_epoch Int64,
    ts DateTime64(6, 'UTC'),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset);

CREATE TABLE {{ingest}}.dead_letters_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.dead_letters_good TO {{database}}.dead_letters AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.dead_letters_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.dead_letters_bad TO {{database}}.ingest_errors AS
SELECT 'dead_letters' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.dead_letters_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.dead_letters_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.dead_letters_pump TO {{ingest}}.dead_letters_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.dead_letters_source
COMMENT '{{fingerprint}}';
