package redisstore

import "github.com/redis/go-redis/v9"

// Scripts and not transactions: one round trip each, routed by their one key in a cluster, and TIME is the clock of the
// very server that holds the value. Pieces are shared by concatenation.
const (
	luaNow = `
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
`
	// A value of another type than a string is read as '', which is no record.
	luaRead = `
local function read(key)
	local value = redis.pcall('GET', key)
	if type(value) == 'table' then
		if not string.find(value.err, 'WRONGTYPE', 1, true) then error(value.err) end
		return ''
	end
	return value
end
local function floor()
	return KEYS[2] ~= nil and redis.call('GET', KEYS[2])
end
`
)

var (
	// KEYS: record, and the floor unless in a cluster. → now, value, floor
	scriptGet = redis.NewScript(luaNow + luaRead + `
return {now, read(KEYS[1]), floor()}
`)
	// KEYS as above; ARGV: lease, its milliseconds. → now, what stood there before, floor
	scriptLease = redis.NewScript(luaNow + luaRead + `
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
	return {now, false, floor()}
end
return {now, read(KEYS[1]), floor()}
`)
	// KEYS: record; ARGV: expected value, new value, time of its end. → 1 if stored
	scriptStore = redis.NewScript(luaNow + luaRead + `
if read(KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', string.format('%.0f', math.max(1, ARGV[3] - now)))
return 1
`)
	// KEYS: record; ARGV: expected value. → 1 if removed
	scriptRelease = redis.NewScript(luaRead + `
if read(KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])
`)
	// KEYS: floor; ARGV: a floor known already, 'raise' to raise it to the present. It rises each time, so that whoever
	// reads it later sees that something happened. → now, floor
	scriptFloor = redis.NewScript(luaNow + `
local known = tonumber(ARGV[1])
local floor = tonumber(redis.call('GET', KEYS[1]) or '0')
if ARGV[2] == 'raise' then known = math.max(known, now, floor + 1) end
if known > floor then
	floor = known
	redis.call('SET', KEYS[1], string.format('%.0f', floor))
end
return {now, floor}
`)
)

const (
	// KEYS: proxies; ARGV: id, milliseconds for which it counts from now on. → 1 if it was not listed, now, the living
	// with the times until which they count
	luaBeat = luaNow + `
local added = redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('PEXPIRE', KEYS[1], 10 * ARGV[2])
return {added, now, redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'WITHSCORES')}
`
	// KEYS: proxies; ARGV: id. → as above
	luaLiving = luaNow + `
local added = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 0 or 1
return {added, now, redis.call('ZRANGEBYSCORE', KEYS[1], now, '+inf', 'WITHSCORES')}
`
)

var scriptLiving = redis.NewScript(luaLiving)
