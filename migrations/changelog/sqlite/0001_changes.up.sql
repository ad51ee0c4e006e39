-- What changed about keys, written by triggers in the transaction of the change itself. SQLite has one writer at a time:
-- ids become visible in their order and without gaps.
create table keygate_changes (
    id integer primary key autoincrement,
    changed_at integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)), -- Unix ms
    prefix text -- null: every prefix
);

create trigger keygate_changes_prune after insert on keygate_changes
begin
    delete from keygate_changes
    where id in (select id from keygate_changes order by id limit 100) and changed_at < new.changed_at - 3600000;
end;
