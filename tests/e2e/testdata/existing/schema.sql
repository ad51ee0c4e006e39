-- The tables of an API that is older than keygate: it keeps organisations with one key each, of which it stores the
-- first 17 bytes and the SHA-256 of the whole.
create table organizations (
    id             uuid primary key,
    name           text not null,
    api_key_prefix text not null unique,
    api_key_hash   bytea not null,
    active         boolean not null default true,
    created_at     timestamptz not null default now()
);

create table events (
    id         uuid primary key,
    org_id     uuid not null references organizations (id),
    type       text not null,
    dedup_id   text,
    payload    jsonb not null,
    created_at timestamptz not null default now()
);
create unique index on events (org_id, dedup_id) where dedup_id is not null;
create index on events (org_id, created_at);

create table event_deliveries (
    id              uuid primary key,
    event_id        uuid not null references events (id) on delete cascade,
    status          text not null default 'pending',
    attempts        integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    created_at      timestamptz not null default now()
);
create index on event_deliveries (status, next_attempt_at);
