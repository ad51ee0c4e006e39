drop table api_keys;
drop table organizations;
drop function keygate_log_organizations();
