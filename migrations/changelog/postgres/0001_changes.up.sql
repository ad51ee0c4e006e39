-- What changed about keys, written by triggers in the transaction of the change itself and read by every proxy.
-- Needs PostgreSQL 13 (xid8).
create table keygate_changes (
    id bigint generated always as identity primary key,
    -- A follower asks of a row whether this transaction was visible to its last snapshot. Ids cannot tell: they become
    -- visible in the order of commits.
    txid xid8 not null default pg_current_xact_id(),
    -- Every transaction below this one had ended when the row was written.
    horizon xid8 not null default pg_snapshot_xmin(pg_current_snapshot()),
    changed_at timestamptz not null default clock_timestamp(),
    -- One prefix, all prefixes of one organisation, or with neither of them: every prefix.
    prefix text,
    org_id text,
    check (prefix is null or org_id is null)
);
create index keygate_changes_txid on keygate_changes (txid);
create index keygate_changes_changed_at on keygate_changes (changed_at);

-- Wakes the followers, and removes what each of them has seen: rows whose transaction had ended before another row was
-- written that is itself older than an hour. Locked rows are skipped, so that nobody waits for another's import. Under
-- repeatable read a concurrent removal would fail the transaction of the change, so there nothing is removed.
create function keygate_announce() returns void language plpgsql security definer as $$
begin
    perform pg_notify('keygate_changes', '');
    if current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        return;
    end if;
    delete from keygate_changes where id in (
        select id from keygate_changes
        where txid < (select horizon from keygate_changes where changed_at < now() - interval '1 hour'
                      order by changed_at desc limit 1)
        order by txid limit 100 for update skip locked);
end $$;

-- Logs prefixes; null, or more than 1,000 of them, is every prefix. For triggers that find prefixes in another table
-- than the one that changed.
create function keygate_log(prefixes text[]) returns void language plpgsql security definer as $$
begin
    if prefixes is null or cardinality(prefixes) > 1000 then
        insert into keygate_changes default values;
    else
        insert into keygate_changes (prefix) select distinct p from unnest(prefixes) p where p is not null;
        if not found then
            return;
        end if;
    end if;
    perform keygate_announce();
end $$;

-- Logs the prefixes of the rows that a statement changed. Arguments: the column of the prefix, then the columns that
-- matter for an update (none given: all columns). keygate_watch makes the triggers.
create function keygate_log_changes() returns trigger language plpgsql security definer as $$
declare
    -- A prefix with what matters about it, as text, because some types have no equality.
    row_of text := format('select r.%I::text as prefix, %s as body from ', tg_argv[0], coalesce(
        (select 'row(' || string_agg(format('r.%I', c), ', ') || ')::text' from unnest(tg_argv[1:]) c), 'r::text'));
    changed text := case tg_op
        when 'INSERT' then row_of || 'keygate_new r'
        when 'DELETE' then row_of || 'keygate_old r'
        when 'UPDATE' then format('(%1$s keygate_old r except all %1$s keygate_new r) union all '
                                  '(%1$s keygate_new r except all %1$s keygate_old r)', row_of)
    end;
    prefixes text[];
begin
    if tg_op <> 'TRUNCATE' then
        execute 'select array(select distinct prefix from (' || changed || ') c where prefix is not null limit 1001)'
            into prefixes;
    end if;
    perform keygate_log(prefixes);
    return null;
end $$;

create function keygate_unwatch(watched regclass) returns void language plpgsql as $$
declare
    event text;
begin
    foreach event in array array['insert', 'update', 'delete', 'truncate'] loop
        execute format('drop trigger if exists keygate_%s on %s', event, watched);
    end loop;
end $$;

-- Logs from now on every change of a table of keys: keygate_watch('organizations', 'api_key_prefix'). Further columns,
-- where given, are those that matter: an update of others only is not logged.
create function keygate_watch(watched regclass, prefix_column text, variadic columns text[] default '{}')
    returns void language plpgsql as $$
declare
    call text := (select 'for each statement execute function keygate_log_changes('
                         || string_agg(quote_literal(c), ', ' order by n) || ')'
                  from unnest(prefix_column || columns) with ordinality u (c, n));
    missing text := (select c from unnest(prefix_column || columns) c where c is null or not exists (
                        select from pg_attribute
                        where attrelid = watched and attname = c and attnum > 0 and not attisdropped) limit 1);
begin
    if missing is not null then
        raise exception 'table % has no column "%"', watched, missing;
    end if;
    perform keygate_unwatch(watched);
    execute format('create trigger keygate_insert after insert on %s referencing new table as keygate_new %s',
                   watched, call);
    execute format('create trigger keygate_update after update on %s '
                   'referencing old table as keygate_old new table as keygate_new %s', watched, call);
    execute format('create trigger keygate_delete after delete on %s referencing old table as keygate_old %s',
                   watched, call);
    execute format('create trigger keygate_truncate after truncate on %s %s', watched, call);
end $$;

-- The functions find their table and each other wherever they are called from.
do $$
declare
    name text;
begin
    foreach name in array array['keygate_announce()', 'keygate_log(text[])', 'keygate_log_changes()',
                                'keygate_unwatch(regclass)', 'keygate_watch(regclass, text, text[])'] loop
        execute format('alter function %s set search_path = pg_catalog, %I, pg_temp', name, current_schema());
    end loop;
end $$;
