-- The tables of the Postgres chain, for one machine. Ids and times are text, so that people can read them: an id in its
-- canonical form, a time as 2026-01-31T12:00:00.000Z. Both sort as text in the order of time.
--
-- Plain tables with a row id: a payload may be large, and WITHOUT ROWID measured no faster here.

CREATE TABLE events (
    id         TEXT NOT NULL, -- UUIDv7, minted at the edge once per request and kept in retries
    org_id     TEXT NOT NULL,
    type       TEXT NOT NULL,
    dedup_id   TEXT NULL,
    payload    TEXT NOT NULL, -- the JSON object as the client wrote it
    created_at TEXT NOT NULL, -- the millisecond in the id
    PRIMARY KEY (id, org_id)
) STRICT;

CREATE UNIQUE INDEX events_org_id_dedup_id_key ON events (org_id, dedup_id) WHERE dedup_id IS NOT NULL;

CREATE TABLE event_deliveries (
    id              TEXT    NOT NULL, -- the event's id
    org_id          TEXT    NOT NULL,
    event_id        TEXT    NOT NULL,
    status          TEXT    NOT NULL DEFAULT 'pending', -- pending, delivered or dead
    attempts        INTEGER NOT NULL DEFAULT 0,
    next_attempt_at TEXT    NOT NULL,
    created_at      TEXT    NOT NULL,
    PRIMARY KEY (id, org_id)
) STRICT;

CREATE INDEX event_deliveries_due_idx ON event_deliveries (next_attempt_at) WHERE status = 'pending';
