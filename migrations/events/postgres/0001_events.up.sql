-- What the writer stores: each accepted event, and the one delivery that a consumer claims.
--
-- Every unique key contains org_id, so that hash partitions by organisation, or Citus, stay possible, and begins with a
-- time-ordered id where it can. There is no foreign key, trigger or notification on the insert path: one statement
-- writes both rows, and each thing more would be paid by every event.

CREATE TABLE events (
    id         uuid             NOT NULL, -- UUIDv7, minted at the edge once per request and kept in retries
    org_id     text COLLATE "C" NOT NULL,
    type       text             NOT NULL,
    dedup_id   text COLLATE "C" NULL, -- "C": an upgrade of the system's locales must not break a unique index
    payload    jsonb            NOT NULL,
    created_at timestamptz      NOT NULL, -- the millisecond in the id
    PRIMARY KEY (id, org_id)
);

CREATE UNIQUE INDEX events_org_id_dedup_id_key ON events (org_id, dedup_id) WHERE dedup_id IS NOT NULL;

CREATE TABLE event_deliveries (
    id              uuid             NOT NULL, -- the event's id
    org_id          text COLLATE "C" NOT NULL,
    event_id        uuid             NOT NULL,
    status          text             NOT NULL DEFAULT 'pending', -- pending, delivered or dead
    attempts        integer          NOT NULL DEFAULT 0,
    next_attempt_at timestamptz      NOT NULL,
    created_at      timestamptz      NOT NULL,
    PRIMARY KEY (id, org_id)
);

CREATE INDEX event_deliveries_due_idx ON event_deliveries (next_attempt_at) WHERE status = 'pending';
