-- exec.control: whether orders may be placed, as each source says it now. The newest record of a scope and source is kept.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.control (
    scope LowCardinality(String),
    source LowCardinality(String),
    state LowCardinality(String),
    control_id String,
    reason LowCardinality(String),
    by LowCardinality(String),
    latched Bool,
    releases String,
    evidence Map(String, String),
    ts DateTime64(6, 'UTC'),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64
)
ENGINE = ReplacingMergeTree(_offset)
ORDER BY (_topic, scope, source);

CREATE TABLE {{ingest}}.control_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.control_good TO {{database}}.control AS
SELECT * EXCEPT (_error, _raw_message)
FROM {{ingest}}.control_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.control_bad TO {{database}}.ingest_errors AS
SELECT 'control' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.control_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.control_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.control_pump TO {{ingest}}.control_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.control_source
COMMENT '{{fingerprint}}';

CREATE OR REPLACE VIEW {{database}}.control_now AS
SELECT
    scope, source, state, control_id, reason, by, latched, evidence, ts, _topic,
    state != 'ACTIVE' AND NOT (latched AND source != 'operator' AND control_id != '' AND has(splitByChar(' ', released), control_id)) AS stands
FROM {{database}}.control FINAL
LEFT JOIN (
    SELECT scope, _topic, releases AS released
    FROM {{database}}.control FINAL
    WHERE source = 'operator'
) AS operator USING (scope, _topic);
