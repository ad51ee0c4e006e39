package fault

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"time"

	"keygate/tests/link"
)

const (
	// Two ways of this are twice the deadline of a look-up in Redis.
	slowRedis = 50 * time.Millisecond
	// A look-up in the database waits half a second for its answer.
	slowPostgres = 500 * time.Millisecond
	// What a network in between may cost, within every deadline.
	farAway = 5 * time.Millisecond
)

// What /readyz names.
var (
	redisAway    = []string{"redis", "redis_subscription"}
	redisSlow    = []string{"redis"}
	postgresAway = []string{"change_log", "database"}
	bothAway     = []string{"change_log", "database", "redis", "redis_subscription"}
	redisWrites  = []string{"redis_writes"}
)

// outages is the table of what can happen.
var outages = []outage{
	{name: "Redis stopped", begin: stopRedis, end: startRedis, source: true, writable: true, degraded: redisAway},
	{name: "Redis killed", begin: killRedis, end: startRedis, source: true, writable: true, degraded: redisAway},
	{name: "Redis frozen", begin: freezeRedis, end: thawRedis, source: true, writable: true, degraded: redisAway},
	{name: "Redis slow (0.1 s)", begin: redisTakes(slowRedis), end: redisLinks(link.Passes), source: true, writable: true, degraded: redisSlow},
	{name: "Redis far away (10 ms)", begin: redisTakes(farAway), end: redisLinks(link.Passes), redis: true, source: true, writable: true},
	{name: "Redis in a black hole", begin: redisLinks(link.Holds), end: redisLinks(link.Passes), source: true, writable: true, degraded: redisAway},
	{name: "Redis resets connections", begin: redisLinks(link.Refuses), end: redisLinks(link.Passes), source: true, writable: true, degraded: redisAway},
	{name: "Redis read-only (a replica)", begin: beReplica, end: beMaster, source: true, writable: true, degraded: redisWrites},
	{name: "Redis out of memory", begin: noMemory, end: memory, source: true, writable: true, degraded: redisWrites},
	{name: "Redis evicts what is in use", begin: littleMemory, end: memory, redis: true, source: true, writable: true},
	{name: "Redis has another password", begin: changePassword, end: restorePassword, source: true, writable: true, degraded: redisAway},
	{name: "Redis flushed", begin: flush, end: nothing, redis: true, source: true, writable: true},
	{name: "Redis restarted, empty", begin: both(killRedis, startRedis), end: nothing, redis: true, source: true, writable: true},
	{name: "Redis forgets its scripts", begin: flushScripts, end: nothing, redis: true, source: true, writable: true},

	{name: "Postgres stopped", begin: stopPostgres, end: startPostgres, redis: true, degraded: postgresAway},
	{name: "Postgres killed", begin: killPostgres, end: startPostgres, redis: true, degraded: postgresAway},
	{name: "Postgres frozen", begin: freezePostgres, end: thawPostgres, redis: true, degraded: postgresAway},
	{name: "Postgres slow (1 s)", begin: postgresTakes(slowPostgres), end: postgresLinks(link.Passes), redis: true, writable: true,
		degraded: []string{"database"}},
	{name: "Postgres far away (10 ms)", begin: postgresTakes(farAway), end: postgresLinks(link.Passes), redis: true, source: true, writable: true},
	{name: "Postgres in a black hole", begin: postgresLinks(link.Holds), end: postgresLinks(link.Passes), redis: true, writable: true, degraded: postgresAway},
	{name: "Postgres resets connections", begin: postgresLinks(link.Refuses), end: postgresLinks(link.Passes), redis: true, writable: true,
		degraded: postgresAway},
	{name: "Postgres read-only", begin: readOnly, end: readWrite, redis: true, source: true, writable: true},
	{name: "Postgres in recovery (a standby)", begin: beStandby, end: bePrimary, redis: true, degraded: postgresAway},
	{name: "Postgres has too many connections", begin: noConnections, end: connections, redis: true, writable: true, degraded: postgresAway},

	{name: "Both stopped", begin: both(stopRedis, stopPostgres), end: both(startPostgres, startRedis), degraded: bothAway},
	{name: "Both killed", begin: both(killPostgres, killRedis), end: both(startRedis, startPostgres), degraded: bothAway},
	{name: "Both frozen", begin: both(freezeRedis, freezePostgres), end: both(thawPostgres, thawRedis), degraded: bothAway},
	{name: "Both in a black hole", begin: both(redisLinks(link.Holds), postgresLinks(link.Holds)),
		end: both(redisLinks(link.Passes), postgresLinks(link.Passes)), writable: true, degraded: bothAway},
	{name: "Postgres stopped, Redis flushed", begin: both(stopPostgres, flush), end: startPostgres, redis: true, emptied: true,
		degraded: postgresAway},

	{name: "Redis stopped, a proxy restarted", begin: stopRedis, end: startRedis, source: true, writable: true, restart: true, degraded: redisAway},
	{name: "Redis in a black hole, a proxy restarted", begin: redisLinks(link.Holds), end: redisLinks(link.Passes), source: true, writable: true,
		restart: true, degraded: redisAway},
	{name: "Postgres stopped, a proxy restarted", begin: stopPostgres, end: startPostgres, redis: true, restart: true, degraded: postgresAway},
	{name: "Postgres frozen, a proxy restarted", begin: freezePostgres, end: thawPostgres, redis: true, restart: true, degraded: postgresAway},
	{name: "Both stopped, a proxy restarted", begin: both(stopRedis, stopPostgres), end: both(startPostgres, startRedis),
		restart: true, degraded: bothAway},
}

// Links carry what a proxy and its server say to each other.
func onLinks(f *fleet, do func(e *edge)) {
	for _, e := range f.edges {
		do(e)
	}
}

func redisLinks(m link.Mode) func(*fleet) {
	return func(f *fleet) { onLinks(f, func(e *edge) { e.toRedis.Set(m) }) }
}

func postgresLinks(m link.Mode) func(*fleet) {
	return func(f *fleet) { onLinks(f, func(e *edge) { e.toPostgres.Set(m) }) }
}

func redisTakes(d time.Duration) func(*fleet) {
	return func(f *fleet) { onLinks(f, func(e *edge) { e.toRedis.Slow(d) }) }
}

func postgresTakes(d time.Duration) func(*fleet) {
	return func(f *fleet) { onLinks(f, func(e *edge) { e.toPostgres.Slow(d) }) }
}

func both(first, second func(*fleet)) func(*fleet) {
	return func(f *fleet) { first(f); second(f) }
}

func nothing(*fleet) {}

func stopRedis(f *fleet)    { f.redis.Stop() }
func killRedis(f *fleet)    { f.redis.Kill() }
func startRedis(f *fleet)   { f.redis.Start(); f.admit(redisPassword) }
func freezeRedis(f *fleet)  { f.redis.Pause() }
func thawRedis(f *fleet)    { f.redis.Continue() }
func flush(f *fleet)        { f.do("flushall") }
func flushScripts(f *fleet) { f.do("script", "flush") }

// A replica whose master is gone keeps what it has and takes no writes.
func beReplica(f *fleet) { f.do("replicaof", "127.0.0.1", "1") }
func beMaster(f *fleet)  { f.do("replicaof", "no", "one") }

func noMemory(f *fleet) { f.do("config", "set", "maxmemory", "1") }
func memory(f *fleet)   { f.do("config", "set", "maxmemory", "0", "maxmemory-policy", "noeviction") }

// littleMemory leaves room for about half of the records.
func littleMemory(f *fleet) {
	info, _ := f.do("info", "memory").(string)
	used, err := strconv.Atoi(regexp.MustCompile(`used_memory:(\d+)`).FindStringSubmatch(info)[1])
	if err != nil {
		f.tb.Fatal(err)
	}
	const record = 600
	f.do("config", "set", "maxmemory", used-knownKeys/2*record, "maxmemory-policy", "allkeys-lru")
}

func changePassword(f *fleet)  { f.admit("another-password"); f.do("client", "kill", "user", "keygate") }
func restorePassword(f *fleet) { f.admit(redisPassword) }

func stopPostgres(f *fleet)   { f.postgres.Stop() }
func killPostgres(f *fleet)   { f.postgres.Kill() }
func startPostgres(f *fleet)  { f.postgres.Start() }
func freezePostgres(f *fleet) { f.postgres.Pause() }
func thawPostgres(f *fleet)   { f.postgres.Continue() }

const endSessions = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'edge'"

func readOnly(f *fleet) {
	execute(f.tb, f.url, "alter role edge set default_transaction_read_only = on; "+endSessions)
}
func readWrite(f *fleet) { execute(f.tb, f.url, "alter role edge reset default_transaction_read_only") }

// noConnections refuses the proxies, and them alone, as a server does that has given all that it has.
func noConnections(f *fleet) {
	execute(f.tb, f.url, "alter role edge connection limit 0; "+endSessions)
}
func connections(f *fleet) { execute(f.tb, f.url, "alter role edge connection limit -1") }

func beStandby(f *fleet) {
	dir := read(f.tb, f.url, "select current_setting('data_directory')")
	f.postgres.Stop()
	if err := os.WriteFile(filepath.Join(dir, "standby.signal"), nil, 0o644); err != nil {
		f.tb.Fatal(err)
	}
	f.postgres.Start()
}

func bePrimary(f *fleet) {
	if ask(f.tb, f.url, "select pg_promote()::int") != 1 {
		f.tb.Fatal("the standby was not promoted")
	}
}
