drop table keygate_changes;
