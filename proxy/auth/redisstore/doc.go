// Package redisstore is the tier that all proxies share: records in Redis, and what proxies tell each other through it.
//
// One *Cache keeps three contracts of package auth. As auth.Cache it reads, leases, fills and evicts records, which
// stand as JSON under the key prefix, `org:prefix:` by default, so that the DEL that operators know evicts. As
// auth.Changes it hears of every write to those keys (CLIENT TRACKING … BCAST) and of removals that other proxies ask
// for (a bus of PUBLISH). As auth.Fleet it knows which proxies are alive, by a heartbeat each second, and asks them
// all to remove copies.
//
// # What stands in Redis
//
//	org:prefix:<prefix>     {"v":1,"fill","filled_at","read_at","fresh_until","keys":[…],"mac"},
//	                        or {"v":1,"lease"} for two seconds
//	keygate:floor           Redis time in milliseconds; records filled at or before it are void
//	keygate:proxies         sorted set of the living: proxy id, time until which it counts, put off by each heartbeat
//	keygate:bus             channel for removals
//	keygate:bus:<proxy id>  channel for what only one proxy needs to hear: confirmations, and its own echo
//
// With a key prefix other than `org:prefix:`, `keygate:` is followed by that prefix, and the channels' names by the
// number of the database if it is not 0: several fleets may share a server.
//
// A record is sealed with the trust secret, if there is one, over its key's name and its members: whoever can write
// to Redis cannot mint keys. A value of version 1 that cannot be a record of ours (no or a wrong seal, a hash or
// organisation that is none, filled in the future) and one filled at or below the floor are auth.Forged: absent for
// every purpose, and replaced by compare-and-set. Whatever is not a JSON object with "v":1 is auth.Foreign and left
// alone, a later version of ours included, so that two versions side by side do not overwrite each other's records
// for ever. Evict takes out foreign values too, as DEL does.
//
// # Hearing
//
// RESP2 delivers tracking messages only to a subscribed connection, on behalf of a connection that tracks. Here both
// are the same one: it turns tracking on, redirected to itself, before it subscribes. So there is no moment in which
// half of the pair is gone and evictions go unheard. Each heartbeat publishes an echo over the pool of commands; a
// subscription that hears nothing for three seconds is half-open, or connected to another server than the commands,
// and is made anew. In a cluster every master has a subscription, because masters tell only of their own keys.
//
// # Access
//
// docs/redis.md gives the ACL user that is enough, the forms of the URL, and what a shared server means.
package redisstore
