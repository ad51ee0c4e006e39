-- The tables of the service that keygate replaces.
create table organizations (
    id             uuid primary key,
    api_key_prefix text not null unique,
    api_key_hash   bytea not null
);
create table events (
    id         uuid primary key,
    org_id     uuid not null references organizations (id),
    type       text not null,
    dedup_id   text,
    payload    jsonb not null,
    created_at timestamptz not null
);
create unique index on events (org_id, dedup_id) where dedup_id is not null;
create index on events (org_id, created_at);
create table event_deliveries (
    id              uuid primary key,
    event_id        uuid not null references events (id) on delete cascade,
    status          text not null,
    attempts        integer not null,
    next_attempt_at timestamptz not null default now(),
    created_at      timestamptz not null default now()
);
create index on event_deliveries (status, next_attempt_at);
