-- exec.positions: a position now, of one strategy or NET (strategy_id '*'). The newest (ledger_epoch, version) of a key is kept.
-- Placeholders: {{database}} holds rows and views, {{ingest}} (ENGINE = Memory) what reads Kafka; {{columns}} repeats the columns of the table
-- below without those that begin with an underscore, and without LowCardinality, which doubles the cost of reading a record (a dictionary each).
-- Order matters: rows flow only once the last view is there, so none passes a half-made chain.

CREATE TABLE IF NOT EXISTS {{database}}.positions (
    position_key String,
    account LowCardinality(String),
    symbol LowCardinality(String),
    book LowCardinality(String),
    strategy_id LowCardinality(String),
    security_type LowCardinality(String),
    currency LowCardinality(String),
    multiplier Int64,
    quantity Int64,
    open_cost Decimal(18, 6),
    average_price Decimal(18, 6),
    realized_pnl Decimal(18, 6),
    realized_pnl_day Decimal(18, 6),
    trading_date Date32,
    fees Decimal(18, 6),
    taxes Decimal(18, 6),
    basis_adjustment Decimal(18, 6),
    day_buy_quantity Int64,
    day_buy_amount Decimal(18, 6),
    day_sell_quantity Int64,
    day_sell_amount Decimal(18, 6),
    day_open_cost Decimal(18, 6),
    cost_method LowCardinality(String),
    lots Array(Tuple(
        quantity Int64,
        cost Decimal(18, 6),
        fill_id String)),
    lots_merged Bool,
    quality LowCardinality(String),
    fee_quality LowCardinality(String),
    version Int64,
    previous_version Int64,
    last_fill_id String,
    last_session_id LowCardinality(String),
    last_fill_seq Int64,
    last_exchange_ts DateTime64(6, 'UTC'),
    last_ingest_ts DateTime64(6, 'UTC'),
    inputs Array(Tuple(
        topic LowCardinality(String),
        topic_id LowCardinality(String),
        offset Int64)),
    base Array(Tuple(
        through_seq Int64,
        quantity Int64,
        open_cost Decimal(18, 6),
        realized Decimal(18, 6),
        realized_day Decimal(18, 6),
        trading_date Date32,
        fees Decimal(18, 6),
        taxes Decimal(18, 6),
        basis Decimal(18, 6),
        day_buy_quantity Int64,
        day_buy_amount Decimal(18, 6),
        day_sell_quantity Int64,
        day_sell_amount Decimal(18, 6),
        day_open_cost Decimal(18, 6),
        lots Array(Tuple(
            quantity Int64,
            cost Decimal(18, 6),
            fill_id String)),
        lots_merged Bool)),
    ledger_epoch Int64,
    _topic LowCardinality(String),
    _partition UInt64,
    _offset UInt64,
    _version UInt128
)
ENGINE = ReplacingMergeTree(_version)
ORDER BY (_topic, position_key);

CREATE TABLE {{ingest}}.positions_rows ({{columns}}, _topic LowCardinality(String), _partition UInt64, _offset UInt64, _error String, _raw_message String)
ENGINE = Null;

CREATE MATERIALIZED VIEW {{ingest}}.positions_good TO {{database}}.positions AS
SELECT * EXCEPT (_error, _raw_message),
    bitShiftLeft(toUInt128(ledger_epoch), 64) + toUInt128(version) AS _version
FROM {{ingest}}.positions_rows
WHERE length(_error) = 0;

CREATE MATERIALIZED VIEW {{ingest}}.positions_bad TO {{database}}.ingest_errors AS
SELECT 'positions' AS target, _topic, _partition, _offset, _error AS error, _raw_message AS raw
FROM {{ingest}}.positions_rows
WHERE length(_error) > 0;

CREATE TABLE {{ingest}}.positions_source ({{columns}})
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

CREATE MATERIALIZED VIEW {{ingest}}.positions_pump TO {{ingest}}.positions_rows AS
SELECT *, _topic, _partition, _offset, _error, _raw_message
FROM {{ingest}}.positions_source
COMMENT '{{fingerprint}}';

CREATE OR REPLACE VIEW {{database}}.positions_now AS
SELECT
    account, symbol, book, strategy_id, strategy_id = '*' AS is_net, security_type, quantity, average_price, open_cost, multiplier, currency,
    realized_pnl, realized_pnl_day, trading_date, fees, taxes, basis_adjustment, realized_pnl - fees - taxes AS realized_net,
    quality, fee_quality, version, ledger_epoch, last_fill_id, last_exchange_ts, last_ingest_ts, position_key, _topic
FROM {{database}}.positions FINAL
WHERE symbol != '*'; -- that row marks a whole account and holds nothing
