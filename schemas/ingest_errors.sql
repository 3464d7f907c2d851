-- Records that ClickHouse could not read, with their bytes: `execpos clickhouse errors list | replay`.
-- A replay writes the row again with one attempt more; the highest attempt is what holds.

CREATE TABLE IF NOT EXISTS {{database}}.ingest_errors (
    target LowCardinality(String),
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64,
    error String,
    raw String,
    attempt UInt32 DEFAULT 0,
    replayed Bool DEFAULT false,
    seen_at DateTime64(3, 'UTC') DEFAULT now64(3, 'UTC')
)
ENGINE = ReplacingMergeTree(attempt)
ORDER BY (_topic, _partition, _offset);
