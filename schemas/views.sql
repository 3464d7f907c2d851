-- Views over several tables, for people.

-- One row a fill that counts, as it is now, with what its order looks like now; a voided fill is not there.
CREATE OR REPLACE VIEW {{database}}.fills_enriched AS
SELECT
    f.*,
    if(f.side = 'BUY', f.quantity, -f.quantity) AS signed_quantity,
    toDecimal128(f.price, 6) * f.quantity * f.multiplier AS notional,
    f.fee_est + f.tax_est AS costs_est,
    dateDiff('microsecond', f.exchange_ts, f.ingest_ts) / 1000 AS capture_ms,
    dateDiff('microsecond', f.ingest_ts, f.normalized_ts) / 1000 AS ledger_ms,
    o.status AS order_status, o.order_type AS order_type, o.price_type AS price_type, o.price AS order_price, o.quantity AS order_quantity,
    o.leaves AS order_leaves
FROM {{database}}.fills_latest AS f
LEFT JOIN {{database}}.orders_latest AS o ON f.order_key = o.order_key
WHERE f.cause != 'VOID';

-- One row a correction with what became of it; outcome is empty while the ledger has not answered.
CREATE OR REPLACE VIEW {{database}}.corrections_done AS
SELECT
    c.*,
    o.outcome AS outcome, o.reason AS rejected_because, o.detail AS outcome_detail, o.position_key AS position_key,
    o.net_version_found AS net_version_found, o.net_version_after AS net_version_after, o.trading_date AS trading_date, o.ts AS answered_ts
FROM {{database}}.corrections AS c FINAL
LEFT JOIN (
    SELECT *
    FROM {{database}}.correction_outcomes FINAL
    ORDER BY _offset
    LIMIT 1 BY account, correction_id -- a repeat is not applied again: the first answer holds
) AS o ON c.account = o.account AND c.correction_id = o.correction_id;
