create table organizations (
    -- The proxy injects it into a header. Anything else than these characters is refused there as well.
    id text primary key not null check (length(id) between 1 and 128 and id not glob '*[^A-Za-z0-9._:-]*'),
    name text not null,
    enabled integer not null default 1 check (enabled in (0, 1)),
    created_at timestamp not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
);
create index organizations_name on organizations (name);

-- Times are UTC, in the form that sorts: 2026-01-31T12:00:00.000Z. datetime('now') is understood, too.
create table api_keys (
    id text primary key not null default (lower(hex(randomblob(16)))),
    org_id text not null references organizations (id),
    prefix text not null unique,
    key_hash blob not null check (typeof(key_hash) = 'blob' and length(key_hash) = 32),
    hash_alg text not null default 'sha256' check (hash_alg in ('sha256', 'hmac-sha256')),
    enabled integer not null default 1 check (enabled in (0, 1)),
    expires_at timestamp,
    created_at timestamp not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    revoked_at timestamp
);
create index api_keys_org_id on api_keys (org_id);

create trigger keygate_keys_insert after insert on api_keys
begin
    insert into keygate_changes (prefix) values (new.prefix);
end;

create trigger keygate_keys_update after update on api_keys
begin
    insert into keygate_changes (prefix) select old.prefix union select new.prefix;
end;

create trigger keygate_keys_delete after delete on api_keys
begin
    insert into keygate_changes (prefix) values (old.prefix);
end;

-- Rows that REPLACE removes fire no delete trigger; those of the same prefix are logged by the new row.
create trigger keygate_keys_replace_insert before insert on api_keys
begin
    insert into keygate_changes (prefix) select prefix from api_keys where id = new.id;
end;

create trigger keygate_keys_replace_update before update of id on api_keys
begin
    insert into keygate_changes (prefix) select prefix from api_keys where id = new.id;
end;

-- Inserting an organisation matters where it replaces one, deleting it where foreign keys are off.
create trigger keygate_organizations_insert after insert on organizations
begin
    insert into keygate_changes (prefix) select prefix from api_keys where org_id = new.id;
end;

create trigger keygate_organizations_update after update of id, enabled on organizations
begin
    insert into keygate_changes (prefix) select prefix from api_keys where org_id in (old.id, new.id);
end;

create trigger keygate_organizations_delete after delete on organizations
begin
    insert into keygate_changes (prefix) select prefix from api_keys where org_id = old.id;
end;
