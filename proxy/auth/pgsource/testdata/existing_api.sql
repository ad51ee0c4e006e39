-- The tables of an API that was there before keygate, and whose keys the proxy serves by --key-query.
create table organizations (
    id uuid primary key,
    name text not null,
    api_key_prefix text not null unique,
    api_key_hash bytea not null,
    active boolean not null default true,
    created_at timestamptz not null default now()
);
create table events (
    id uuid primary key,
    org_id uuid not null references organizations (id),
    type text not null,
    payload jsonb not null,
    created_at timestamptz not null default now()
);
