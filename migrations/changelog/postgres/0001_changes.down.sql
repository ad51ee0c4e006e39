-- Stops while triggers still call the functions: keygate_unwatch('…') removes them from a table.
drop function keygate_watch(regclass, text, text[]);
drop function keygate_unwatch(regclass);
drop function keygate_log_changes();
drop function keygate_log(text[]);
drop function keygate_announce();
drop table keygate_changes;
