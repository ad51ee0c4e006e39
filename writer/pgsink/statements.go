package pgsink

// The statements by number.
const (
	insert = iota
	find
)

var statements = [...]string{insert: insertSQL, find: findSQL}

// One statement is one transaction: there is no COMMIT whose answer could be lost apart from it. ON CONFLICT names no
// index and so means both, the primary key too: a batch that is run again must not fail on its own rows. The rows are
// locked in the order of the arrays.
const insertSQL = `
WITH stored AS (
    INSERT INTO events (id, org_id, type, dedup_id, payload, created_at)
    SELECT id, org_id, type, dedup_id, payload::jsonb, created_at
    FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::timestamptz[])
        AS e (id, org_id, dedup_id, type, payload, created_at)
    ON CONFLICT DO NOTHING
    RETURNING id, org_id, created_at
)
INSERT INTO event_deliveries (id, org_id, event_id, status, attempts, next_attempt_at, created_at)
SELECT id, org_id, id, 'pending', 0, created_at, created_at FROM stored
RETURNING event_id`

// Two point look-ups for each event; the row of its own id comes first. A list of keys would become a scan of the
// organisation once the table is large.
//
// What is found was committed, but on a primary whose synchronous standby is away it may not be replicated: somebody
// cancelled the wait, or the primary restarted in it. To write a message to the log and to wait for that is to wait for
// everything before it.
const findSQL = `
WITH replicated AS MATERIALIZED (
    SELECT CASE WHEN current_setting('synchronous_standby_names') <> ''
        THEN pg_logical_emit_message(true, 'keygate', '') END
)
SELECT wanted.n, found.id, found.type, found.dedup_id, found.payload::text
FROM replicated
CROSS JOIN unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS wanted (id, org_id, dedup_id, n)
CROSS JOIN LATERAL (
    SELECT 1 AS rank, id, type, dedup_id, payload FROM events
    WHERE id = wanted.id AND org_id = wanted.org_id
    UNION ALL
    SELECT 2 AS rank, id, type, dedup_id, payload FROM events
    WHERE org_id = wanted.org_id AND dedup_id = wanted.dedup_id
    ORDER BY rank LIMIT 1
) AS found`

// What would make a commit less durable than it says.
const durabilitySQL = `SELECT current_setting('synchronous_commit'), current_setting('fsync')`
