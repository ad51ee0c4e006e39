create table organizations (
    -- The proxy injects it into a header. Anything else than these characters is refused there as well.
    id text primary key check (id ~ '^[A-Za-z0-9._:-]{1,128}$'),
    name text not null,
    enabled boolean not null default true,
    created_at timestamptz not null default now()
);
create index organizations_name on organizations (name);

create table api_keys (
    id uuid primary key default gen_random_uuid(),
    org_id text not null references organizations (id),
    prefix text not null unique,
    key_hash bytea not null check (octet_length(key_hash) = 32),
    hash_alg text not null default 'sha256' check (hash_alg in ('sha256', 'hmac-sha256')),
    enabled boolean not null default true,
    expires_at timestamptz,
    created_at timestamptz not null default now(),
    revoked_at timestamptz
);
create index api_keys_org_id on api_keys (org_id);

select keygate_watch('api_keys', 'prefix');

-- An organisation is logged as such, and followers look its keys up when they read the row. The keys that this
-- transaction sees are not all: another one may be adding a key at the same time.
create function keygate_log_organizations() returns trigger language plpgsql security definer as $$
declare
    changed text[] := array(select n.id from keygate_new n where not exists (
        select from keygate_old o where o.id = n.id and o.enabled = n.enabled) limit 1001);
begin
    if cardinality(changed) > 1000 then
        insert into keygate_changes default values;
    else
        insert into keygate_changes (org_id) select unnest(changed);
    end if;
    if cardinality(changed) > 0 then
        perform keygate_announce();
    end if;
    return null;
end $$;
do $$
begin
    execute format('alter function keygate_log_organizations() set search_path = pg_catalog, %I, pg_temp',
                   current_schema());
end $$;

create trigger keygate_update after update on organizations
    referencing old table as keygate_old new table as keygate_new
    for each statement execute function keygate_log_organizations();
